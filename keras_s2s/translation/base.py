"""Translation of lists of sentences in batches, by a Keras model or an export."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from keras_s2s.serving.signatures import MIN_SCORE, Answer, ScoredPair, answers_of
from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import encode_texts, string_tensor

if TYPE_CHECKING:
    import tensorflow as tf

    Outputs = dict[str, tf.Tensor]

# Concurrent batches, and hypotheses per batch. More would take more memory, and hardly less time.
NUM_CONCURRENT_BATCHES = 2
MAX_HYPOTHESES = 256

Input = TypeVar("Input")
Output = TypeVar("Output")


class SentenceTranslator:
    """The common interface of a trained model and an export.

    A subclass has functions from string tensors to the outputs of the signatures:
    `_greedy_fn` (`serving_default`), `_score_fn`, with attention `_explain_fn`, and
    `_beam_fn(beam_size, n_best)`, which returns one with `n_best` or more hypotheses.
    """

    _greedy_fn: Callable[[tf.Tensor], Outputs]
    _score_fn: Callable[[tf.Tensor, tf.Tensor], Outputs]
    _explain_fn: Callable[[tf.Tensor], Outputs] | None = None

    def _beam_fn(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], Outputs]:
        raise InputError("this model has no beam search; leave beam out")

    @overload
    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int | None = None,
        beam: int = 1,
        n_best: None = None,
        *,
        return_scores: Literal[False] = False,
    ) -> list[str]: ...

    @overload
    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int | None = None,
        beam: int = 1,
        n_best: None = None,
        *,
        return_scores: Literal[True],
    ) -> tuple[list[str], list[float]]: ...

    @overload
    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int | None = None,
        beam: int = 1,
        *,
        n_best: int,
        return_scores: Literal[False] = False,
    ) -> list[list[str]]: ...

    @overload
    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int | None = None,
        beam: int = 1,
        *,
        n_best: int,
        return_scores: Literal[True],
    ) -> tuple[list[list[str]], list[list[float]]]: ...

    def translate(
        self,
        sentences: Iterable[str | bytes],
        batch_size: int | None = None,
        beam: int = 1,
        n_best: int | None = None,
        return_scores: bool = False,
    ) -> Any:
        """Translate sentences.

        Sentences of similar lengths form a batch; the translations are in the order of the
        sentences.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.
            batch_size: sentences per batch; 256 divided by `beam` by default.
            beam: beam size; 1 is greedy search.
            n_best: translations to return for each sentence, best first; at most `beam`.
            return_scores: also return scores: log-probabilities in nats, with `beam` above 1
                divided by the length penalty.

        Returns:
            A list of translations; with `n_best` a list of lists, shorter if a sentence has fewer
            hypotheses. With `return_scores` a tuple of that and the scores in the same form.

        Raises:
            InputError: `sentences` is not a list of texts, or an option is out of range.
        """
        check_int("beam", beam)
        if n_best is not None and check_int("n_best", n_best) > beam:
            raise InputError(
                f"n_best is {n_best} and beam {beam}; give a beam of {n_best} or more, or a "
                "smaller n_best"
            )
        if batch_size is not None:
            check_int("batch_size", batch_size)
        texts = encode_texts(sentences)
        search = self._greedy_as_beam if beam == 1 else self._beam_fn(beam, n_best or 1)
        translations: list[list[str]] = [[] for _ in texts]
        scores: list[list[float]] = [[] for _ in texts]
        batch_size = batch_size or max(MAX_HYPOTHESES // beam, 1)
        for indices, outputs in _run_batches(search, texts, batch_size):
            columns = indices, outputs["translations"], outputs["scores"].tolist()
            for index, row, row_scores in zip(*columns, strict=True):
                # Each sentence keeps its first translation, even an empty one.
                hypotheses = [
                    (text.decode("utf-8"), score)
                    for rank, (text, score) in enumerate(zip(row, row_scores, strict=True))
                    if rank == 0 or score > MIN_SCORE
                ][:n_best]
                translations[index], scores[index] = map(list, zip(*hypotheses, strict=True))
        if n_best is None:
            best = [row[0] for row in translations], [row[0] for row in scores]
            return best if return_scores else best[0]
        return (translations, scores) if return_scores else translations

    def answers(
        self, sentences: Iterable[str | bytes], batch_size: int | None = None, beam: int = 1
    ) -> list[Answer]:
        """Translate sentences, and tell what each answer is worth.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.
            batch_size: see `translate`.
            beam: beam size; 1 is greedy search.

        Returns:
            An `Answer` for each sentence.

        Raises:
            InputError: `sentences` is not a list of texts, or an option is out of range.
        """
        check_int("beam", beam)
        if batch_size is not None:
            check_int("batch_size", batch_size)
        texts = encode_texts(sentences)
        search = self._greedy_fn if beam == 1 else self._beam_fn(beam, 1)
        results: list[Any] = [None] * len(texts)
        batch_size = batch_size or max(MAX_HYPOTHESES // beam, 1)
        for indices, outputs in _run_batches(search, texts, batch_size):
            columns = {name: value.tolist() for name, value in outputs.items()}
            if beam > 1:
                columns = _best_hypotheses(columns)
            for name in ("translation", "guarded"):
                if name in columns:
                    columns[name] = [text.decode("utf-8") for text in columns[name]]
            for index, answer in zip(indices, answers_of(columns), strict=True):
                results[index] = answer
        return results

    def _greedy_as_beam(self, text: tf.Tensor) -> Outputs:
        outputs = self._greedy_fn(text)
        return {
            "translations": outputs["translation"][:, None],
            "scores": outputs["score"][:, None],
        }

    def explained(self, sentences: Iterable[str | bytes]) -> dict[str, list[Any]] | None:
        """Return the attention of greedy translations.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            The outputs of the signature `explain` as lists; None for a model without attention.

        Raises:
            InputError: `sentences` is not a list of texts.
        """
        texts = encode_texts(sentences)
        if self._explain_fn is None:
            return None
        outputs = self._explain_fn(string_tensor(texts))
        return {
            name: [
                [token.decode("utf-8") if isinstance(token, bytes) else token for token in row]
                for row in value.numpy().tolist()
            ]
            for name, value in outputs.items()
        }

    def score_pairs(
        self,
        sentences: Iterable[str | bytes],
        references: Iterable[str | bytes],
        batch_size: int = 64,
    ) -> list[ScoredPair]:
        """Score given translations.

        Args:
            sentences: raw text.
            references: a translation of each, truncated to the maximum length of a hypothesis.
            batch_size: pairs per batch.

        Returns:
            A `ScoredPair` for each pair.

        Raises:
            InputError: the numbers of sentences and references differ.
        """
        check_int("batch_size", batch_size)
        texts, translations = encode_texts(sentences), encode_texts(references, "references")
        if len(texts) != len(translations):
            raise InputError(
                f"{len(texts)} sentences and {len(translations)} references; give one for each"
            )
        pairs: list[ScoredPair] = []
        for start in range(0, len(texts), batch_size):
            batch = slice(start, start + batch_size)
            outputs = self._score_fn(
                string_tensor(texts[batch]), string_tensor(translations[batch])
            )
            columns = outputs["score"].numpy().tolist(), outputs["num_tokens"].numpy().tolist()
            pairs += map(ScoredPair, *columns)
        return pairs


def _run_batches(
    function: Callable[[tf.Tensor], Outputs], texts: list[bytes], batch_size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Yield the indices of the texts of each batch, and the outputs of a function as arrays."""
    # A batch takes as long as its longest sentence.
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def run(indices: list[int]) -> dict[str, Any]:
        outputs = function(string_tensor([texts[index] for index in indices]))
        return {name: value.numpy() for name, value in outputs.items()}

    yield from zip(batches, concurrent_map(run, batches), strict=True)


def _best_hypotheses(outputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return outputs of `beam` as those of `serving_default`."""
    scores = [row[0] for row in outputs["scores"]]
    # A score with a length penalty is not a log-probability.
    confidences = outputs.get("confidences", [[None]] * len(scores))
    best = {
        "translation": [row[0] for row in outputs["translations"]],
        "score": scores,
        "confidence": [row[0] for row in confidences],
    }
    return best | {key: outputs[key] for key in ("num_unknown",) if key in outputs}


def concurrent_map(
    function: Callable[[Input], Output], inputs: Sequence[Input]
) -> Iterator[Output]:
    """Map a function over inputs, two at a time, in order.

    A single search does not keep all processors busy.
    """
    if len(inputs) < 2:
        yield from map(function, inputs)
        return
    with concurrent.futures.ThreadPoolExecutor(NUM_CONCURRENT_BATCHES) as threads:
        yield from threads.map(function, inputs)
