"""Decoding: greedy search, beam search and random sampling as TensorFlow graph code.

The strategies share one `tf.while_loop` (`decode_loop`) and one set of token constraints. A
hypothesis never depends on the other sentences of its batch.
Public names are imported on first use, so that the command line starts without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
