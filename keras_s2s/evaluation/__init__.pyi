from .attention_map import AttentionMap as AttentionMap
from .evaluate import compare as compare
from .evaluate import evaluate as evaluate
from .metrics import bleu as bleu
from .report import write_report as write_report
