"""Decoding: greedy search, beam search and sampling, all in the graph.

The strategies share one `tf.while_loop` (`decode_loop`) and the same constraints on the next
token. A hypothesis never depends on the other sentences of its batch.
"""

from keras_s2s.decoding.beam_search import beam_search
from keras_s2s.decoding.greedy_search import SearchResult, greedy_search
from keras_s2s.decoding.hypotheses import BeamResult
from keras_s2s.decoding.random_sampling import sample_search
from keras_s2s.decoding.unknown_replacement import replace_unknown

__all__ = [
    "BeamResult",
    "SearchResult",
    "beam_search",
    "greedy_search",
    "replace_unknown",
    "sample_search",
]
