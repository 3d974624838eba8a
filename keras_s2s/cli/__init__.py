"""The command `keras-s2s`: parser, subcommands, and the page of `keras-s2s web`.

`main` runs it. No module here imports TensorFlow before a subcommand needs it.
"""

from keras_s2s.cli.main import main

__all__ = ["main"]
