from .devices import Devices as Devices
from .train import CorpusChoice as CorpusChoice
from .train import resume as resume
from .train import train as train
