"""Serving: SavedModels written, checked and verified in the runtime that TF Serving uses.

An export gets its name only after a fresh process has loaded it and answered as Python does.
Public names are imported on first use; `session` runs a SavedModel without TensorFlow in Python.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
