"""The scores of answers: their names, labels and directions, from which all else is derived.

Options, the history, the report, plots and tables take their names from here; how a score is
computed is in `keras_s2s.evaluation.metrics`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from keras_s2s.utils.errors import InputError, did_you_mean


class ScoreInfo(NamedTuple):
    """A score of a corpus, in percent.

    Attributes:
        name: in options (`--metrics`, `--early-stopping`), and after `val_` in the history.
        key: in the results of `evaluate` and their JSON.
        label: for tables and plots.
        title: a noun phrase, for texts.
        higher_is_better: false for error rates.
    """

    name: str
    key: str
    label: str
    title: str
    higher_is_better: bool = True

    @property
    def column(self) -> str:
        """Its column of `history.csv`."""
        return f"val_{self.name}"

    @property
    def mode(self) -> str:
        """The `mode` of Keras's callbacks."""
        return "max" if self.higher_is_better else "min"


SCORES = {
    score.name: score
    for score in (
        ScoreInfo("bleu", "bleu", "BLEU", "BLEU"),
        ScoreInfo("chrf", "chrf", "chrF", "chrF"),
        ScoreInfo("exact", "exact_match", "exact", "exact match"),
        ScoreInfo("wer", "word_error_rate", "WER", "word error rate", False),
        ScoreInfo("ter", "token_error_rate", "TER", "token error rate", False),
    )
}

# What answers are: whole sentences, or single words, such as a pronunciation or an inflected form;
# with the scores that fit them, the one to show first being first.
SENTENCE, WORD = "sentence", "word"
FITTING_SCORES = {SENTENCE: ("bleu", "chrf"), WORD: ("exact", "wer", "ter")}


def scores_in(columns: Iterable[str]) -> list[ScoreInfo]:
    """Return the scores among some columns of `history.csv`, in their order.

    Example:

    >>> [score.label for score in scores_in(["epoch", "val_wer", "val_bleu"])]
    ['WER', 'BLEU']
    """
    by_column = {score.column: score for score in SCORES.values()}
    return [by_column[column] for column in columns if column in by_column]


def check_names(names: Iterable[str]) -> list[str]:
    """Return names of scores, each once.

    Raises:
        InputError: there is none, or one is not in `SCORES`.

    Example:

    >>> check_names(["wer", "bleu", "wer"])
    ['wer', 'bleu']
    """
    chosen = list(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        if name not in SCORES:
            raise InputError(
                f"no metric {name!r}; give one or more of {', '.join(SCORES)}"
                f"{did_you_mean(str(name), SCORES)}"
            )
    if not chosen:
        raise InputError(f"no metric; give one or more of {', '.join(SCORES)}")
    return chosen
