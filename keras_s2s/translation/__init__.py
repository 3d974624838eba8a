"""Translation: raw text in, raw text out, from a Keras model or from an export of it.

`Translator` is the object to save, load and export; files of any size go through it by lines.
Public names are imported on first use, so that the command line starts without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
