"""The subcommands of `keras-s2s`: where each is defined, and its summary."""

from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: the module in `keras_s2s.cli` whose `add_NAME` adds its parser.
        summary: its description in `--help`.
    """

    module: str
    summary: str


# In the order of `--help`, which imports none of the modules.
COMMANDS = {
    "train": Command("training", "Train a model on a corpus."),
    "prepare": Command(
        "data", "Tokenize large corpora into a folder that `train` takes as its corpus."
    ),
    "translate": Command(
        "translation", "Translate sentences, standard input line by line, or a file."
    ),
    "translate-shards": Command(
        "translation",
        "Translate files in shards, on this machine or a cluster (needs Apache Beam).",
    ),
    "evaluate": Command(
        "evaluation",
        "Score a model on a corpus: BLEU, chrF, exact match, error rates, perplexity. "
        "With several models, test how each differs from the first.",
    ),
    "export": Command("models", "Write a SavedModel for TensorFlow Serving, and verify it."),
    "inspect": Command("models", "Describe an exported version and check its contract."),
    "runs": Command(
        "runs", "Compare training runs: progress, results, and differing hyperparameters."
    ),
    "web": Command("translation", "Try a model, or two side by side, in the browser."),
    "plot": Command(
        "runs",
        "Plot a run: history, lengths, scores by length, errors, attention. "
        "Writes PNG and SVG files, and report.html with all of them.",
    ),
    "corpora": Command("data", "List the built-in corpora and where each is stored."),
}
