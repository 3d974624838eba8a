"""Client for a translator in TensorFlow Serving, over gRPC or REST; does not import TensorFlow.

`python -m keras_s2s.client` is the same on the command line.
"""

from keras_s2s.client.recorded_answers import read_answers
from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.client.transport import Credentials

__all__ = ["Credentials", "TranslationClient", "read_answers"]
