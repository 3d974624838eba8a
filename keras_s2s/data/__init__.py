"""Data: corpora from files, archives and the catalog, to batches of ids and valid lengths.

`prepared/` is the same for corpora that do not fit in memory.
Public names are imported on first use, so that the command line starts without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
