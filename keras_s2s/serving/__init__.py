"""Serving: write, inspect and verify SavedModels in the runtime of TF Serving.

An export gets its version number only after it has been loaded in a fresh process and verified
against the model in Python. Public names are imported on first use.
"""

import contextlib

# The REST client imports modules of this folder on machines with Python alone.
with contextlib.suppress(ModuleNotFoundError):
    import lazy_loader

    __getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
