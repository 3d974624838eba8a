from .cluster import DistributionConfig as DistributionConfig
from .train import CorpusSpec as CorpusSpec
from .train import resume as resume
from .train import train as train
