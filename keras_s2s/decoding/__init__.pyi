from .beam_search import beam_search as beam_search
from .config import SearchConfig as SearchConfig
from .greedy_search import SearchResult as SearchResult
from .greedy_search import greedy_search as greedy_search
from .hypotheses import BeamResult as BeamResult
from .random_sampling import sample_search as sample_search
from .unknown_replacement import replace_unknown as replace_unknown
