"""Training: runs that can be killed and resumed, on one device or many.

A resumed run ends with the same weights as one that was never interrupted.
Public names are imported on first use, so that the command line starts without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
