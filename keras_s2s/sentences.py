"""Lists of sentences through the graph functions of a model, whatever file it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

from keras_s2s.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

    Outputs = dict[str, tf.Tensor]


class ScoredPair(NamedTuple):
    """How probable a given translation is.

    Attributes:
        score: log-probability in nats.
        num_tokens: the tokens that it is the sum of; the end of the sentence counts as one.
    """

    score: float
    num_tokens: int


class SentenceTranslator:
    """What a trained model and an exported one have in common.

    A subclass has `_answer` and `_score`, functions from string tensors to the outputs of the
    signatures `serving_default` and `score`.
    """

    _answer: Callable[[tf.Tensor], Outputs]
    _score: Callable[[tf.Tensor, tf.Tensor], Outputs]

    @overload
    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int = 64,
        return_scores: Literal[False] = False,
    ) -> list[str]: ...

    @overload
    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int = 64,
        *,
        return_scores: Literal[True],
    ) -> tuple[list[str], list[float]]: ...

    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int = 64,
        return_scores: bool = False,
    ) -> list[str] | tuple[list[str], list[float]]:
        """Translates sentences.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.
            batch_size: sentences at a time.
            return_scores: whether to return the log-probabilities as well.

        Returns:
            A list of translations; with `return_scores` a tuple of that and a list of
            log-probabilities in nats.

        Raises:
            InputError: one sentence instead of a list of them.
        """
        translations: list[str] = []
        scores: list[float] = []
        for texts in in_batches(as_list(sentences), batch_size):
            answer = self._answer(texts)
            translations += [text.decode("utf-8") for text in answer["translation"].numpy()]
            scores += answer["score"].numpy().tolist()
        return (translations, scores) if return_scores else translations

    def score_pairs(
        self,
        sentences: Iterable[str | bytes],
        references: Iterable[str | bytes],
        batch_size: int = 64,
    ) -> list[ScoredPair]:
        """Scores given translations.

        Args:
            sentences: raw text.
            references: a translation of each; one that is too long to be an answer is cut.
            batch_size: pairs at a time.

        Returns:
            A `ScoredPair` for each.

        Raises:
            InputError: as many references as sentences are needed.
        """
        texts, translations = as_list(sentences), as_list(references)
        if len(texts) != len(translations):
            raise InputError(
                f"{len(texts)} sentences and {len(translations)} references; give one for each"
            )
        pairs: list[ScoredPair] = []
        for text, reference in zip(
            in_batches(texts, batch_size), in_batches(translations, batch_size), strict=True
        ):
            outputs = self._score(text, reference)
            columns = outputs["score"].numpy().tolist(), outputs["num_tokens"].numpy().tolist()
            pairs += map(ScoredPair, *columns)
        return pairs


def as_list(sentences: Iterable[str | bytes]) -> list[bytes]:
    """UTF-8 of each sentence; what is not text in it passes as the bytes it was read from."""
    if isinstance(sentences, (str, bytes)):
        raise InputError("a list of sentences is wanted, not one; put it in brackets")
    return [
        sentence if isinstance(sentence, bytes) else sentence.encode("utf-8", "surrogateescape")
        for sentence in sentences
    ]


def in_batches(texts: Sequence[bytes], batch_size: int) -> Iterator[tf.Tensor]:
    """String tensors of at most `batch_size` texts."""
    # Only here: the client of a server uses this module where there is no TensorFlow.
    import tensorflow as tf

    for start in range(0, len(texts), batch_size):
        yield tf.constant(texts[start : start + batch_size], tf.string)
