from .cluster import DistributionConfig as DistributionConfig
from .data_source import CorpusChoice as CorpusChoice
from .data_source import CorpusSpec as CorpusSpec
from .train import resume as resume
from .train import train as train
