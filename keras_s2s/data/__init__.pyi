from .catalog import BUILTIN_CORPORA as BUILTIN_CORPORA
from .config import DataConfig as DataConfig
from .dataset import make_dataset as make_dataset
from .parallel_corpus import CorpusSplits as CorpusSplits
from .parallel_corpus import ParallelCorpus as ParallelCorpus
from .parallel_corpus import load_corpus as load_corpus
from .prepared.corpus import PreparedCorpus as PreparedCorpus
from .prepared.prepare import prepare as prepare
