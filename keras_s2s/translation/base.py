"""Lists of sentences through the graph functions of a model, whatever file it came from."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from keras_s2s.serving.signatures import MIN_SCORE, ScoredPair
from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import encode_texts, string_tensor

if TYPE_CHECKING:
    import tensorflow as tf

    Outputs = dict[str, tf.Tensor]

# Batches that are translated at the same time, and rows of a search, one for each beam of each
# sentence, that a batch has. More would take more memory, and hardly less time.
SIDE_BY_SIDE = 2
ROWS = 256

Given = TypeVar("Given")
Found = TypeVar("Found")


class SentenceTranslator:
    """What a trained model and an exported one have in common.

    A subclass has `_answer` and `_score`, functions from string tensors to the outputs of the
    signatures `serving_default` and `score`, `_explain` for `explain` where it attends, and
    `_beam`, which given a size returns the same for the signature `beam`; it need not give more
    answers than the `n_best` that are wanted.
    """

    _answer: Callable[[tf.Tensor], Outputs]
    _score: Callable[[tf.Tensor, tf.Tensor], Outputs]
    _explain: Callable[[tf.Tensor], Outputs] | None = None

    def _beam(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], Outputs]:
        raise InputError("beam search is not to be had here; leave beam out")

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
        """Translates sentences.

        Sentences of similar lengths go through the model together; the answers are in the order of
        the sentences.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.
            batch_size: sentences at a time; when left out, as many as a search is fastest with:
                256, and with a beam that part of it.
            beam: how many translations the search keeps in view; 1 is greedy search.
            n_best: how many translations of each sentence to return, best first; at most `beam`.
            return_scores: whether to return the scores as well: log-probabilities in nats; with
                `beam` above 1 divided by the length penalty, as the translations are ranked.

        Returns:
            A list of translations; with `n_best` a list of such lists, which are shorter where
            there are fewer. With `return_scores` a tuple of that and the same of scores.

        Raises:
            InputError: one sentence instead of a list of them, something that is no text, a
                number that makes no sense, or more to return than are kept in view.
        """
        check_int("beam", beam)
        if n_best is not None and check_int("n_best", n_best) > beam:
            raise InputError(
                f"n_best is {n_best}, and the beam {beam}; give a beam of {n_best} or more, or a "
                "smaller n_best"
            )
        if batch_size is not None:
            check_int("batch_size", batch_size)
        texts = encode_texts(sentences)
        search = self._greedy_as_beam if beam == 1 else self._beam(beam, n_best or 1)
        translations: list[list[str]] = [[] for _ in texts]
        scores: list[list[float]] = [[] for _ in texts]
        batch_size = batch_size or max(ROWS // beam, 1)
        # Of sentences that are about equally long none has to wait for much longer ones.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

        def answer(numbers: list[int]) -> tuple[Any, Any]:
            found = search(string_tensor([texts[number] for number in numbers]))
            return found["translations"].numpy(), found["scores"].numpy().tolist()

        for numbers, rows in zip(batches, side_by_side(answer, batches), strict=True):
            for number, row, row_scores in zip(numbers, *rows, strict=True):
                # The first answer is one even where there is none; others of that kind are not.
                found = [
                    (text.decode("utf-8"), score)
                    for place, (text, score) in enumerate(zip(row, row_scores, strict=True))
                    if place == 0 or score > MIN_SCORE
                ][:n_best]
                translations[number], scores[number] = map(list, zip(*found, strict=True))
        if n_best is None:
            best = [row[0] for row in translations], [row[0] for row in scores]
            return best if return_scores else best[0]
        return (translations, scores) if return_scores else translations

    def _greedy_as_beam(self, text: tf.Tensor) -> Outputs:
        answer = self._answer(text)
        return {
            "translations": answer["translation"][:, None],
            "scores": answer["score"][:, None],
        }

    def explained(self, sentences: Iterable[str | bytes]) -> dict[str, list[Any]] | None:
        """Where the model looked while it wrote its greedy answers.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            What the signature `explain` answers, as lists with `str` in them; None for a model
            without attention.

        Raises:
            InputError: one sentence instead of a list of them.
        """
        texts = encode_texts(sentences)
        if self._explain is None:
            return None
        outputs = self._explain(string_tensor(texts))
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
        check_int("batch_size", batch_size)
        texts, translations = encode_texts(sentences), encode_texts(references, "references")
        if len(texts) != len(translations):
            raise InputError(
                f"{len(texts)} sentences and {len(translations)} references; give one for each"
            )
        pairs: list[ScoredPair] = []
        for start in range(0, len(texts), batch_size):
            batch = slice(start, start + batch_size)
            outputs = self._score(string_tensor(texts[batch]), string_tensor(translations[batch]))
            columns = outputs["score"].numpy().tolist(), outputs["num_tokens"].numpy().tolist()
            pairs += map(ScoredPair, *columns)
        return pairs


def side_by_side(function: Callable[[Given], Found], values: Sequence[Given]) -> Iterator[Found]:
    """What a function makes of each value, in their order; of several values two at a time.

    No step of a search is divided so evenly that it keeps all processors busy all the time.
    """
    if len(values) < 2:
        yield from map(function, values)
        return
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        yield from threads.map(function, values)
