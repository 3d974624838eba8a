"""Evaluation: scores, significance tests, plots and the report of a run.

sacreBLEU computes BLEU and chrF, RapidFuzz edit distances; perplexity is exact by token.
Public names are imported on first use, so that the command line starts without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
