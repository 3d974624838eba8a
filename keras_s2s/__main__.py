"""Run the command `keras-s2s` as `python -m keras_s2s`."""

import sys

from keras_s2s.cli.main import main

sys.exit(main())
