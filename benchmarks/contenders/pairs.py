"""The task as token ids, in batches.

Needs only the standard library, since each contender has its own environment.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)

# Size of the windows sorted by length, in batches.
BATCHES_PER_WINDOW = 400


class Pairs(NamedTuple):
    """Training pairs as ids, without special tokens, and the vocabularies.

    Attributes:
        source: ids of each source.
        target: ids of each target.
        source_vocabulary: all tokens, special tokens first.
        target_vocabulary: likewise.
    """

    source: list[list[int]]
    target: list[list[int]]
    source_vocabulary: list[str]
    target_vocabulary: list[str]

    def batches(
        self, batch_size: int, seed: int, by_length: bool = True, endless: bool = True
    ) -> Iterator[list[int]]:
        """Yield the indices of the pairs of each batch, reshuffled each epoch.

        Args:
            batch_size: pairs per batch.
            seed: random seed.
            by_length: whether to bucket pairs by length: sort them within windows of 400 batches,
                then shuffle the batches.
            endless: whether to continue after one epoch.
        """
        generator = random.Random(seed)
        while True:
            order = list(range(len(self.source)))
            generator.shuffle(order)
            if by_length:
                window = batch_size * BATCHES_PER_WINDOW
                order = [
                    i
                    for start in range(0, len(order), window)
                    for i in sorted(
                        order[start : start + window],
                        key=lambda i: (len(self.target[i]), len(self.source[i])),
                    )
                ]
            starts = list(range(0, len(order), batch_size))
            generator.shuffle(starts)
            for start in starts:
                yield order[start : start + batch_size]
            if not endless:
                return

    def target_tokens(self, indices: Iterable[int]) -> int:
        """Return the number of target tokens of some pairs, with `</s>`."""
        return sum(len(self.target[i]) + 1 for i in indices)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, which end with line feeds only."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def read_pairs(task: Path) -> Pairs:
    """Return the training pairs of a task."""
    vocabularies = [[*SPECIAL_TOKENS, *read_lines(task / f"vocab.{side}")] for side in ("en", "fr")]
    sides = [
        to_ids(read_lines(task / f"train.{side}"), vocabulary)
        for side, vocabulary in zip(("en", "fr"), vocabularies, strict=True)
    ]
    return Pairs(*sides, *vocabularies)


def read_chapter(task: Path, min_freq: int = 3, num_steps: int = 10) -> Pairs:
    """Return the chapter's pairs: rare words as `<unk>`, long sentences truncated.

    As in the package, a source has at most `num_steps` tokens, and a target at most `num_steps`
    including `<bos>` and `<eos>`.
    """
    vocabularies, sides = [], []
    for side, max_length in (("en", num_steps), ("fr", num_steps - 2)):
        lines = read_lines(task / f"chapter.{side}")
        counts = Counter(word for line in lines for word in line.split())
        frequent = sorted((-count, word) for word, count in counts.items() if count >= min_freq)
        vocabularies.append([*SPECIAL_TOKENS, *(word for _, word in frequent)])
        sides.append([ids[:max_length] for ids in to_ids(lines, vocabularies[-1])])
    return Pairs(*sides, *vocabularies)


def to_ids(lines: Iterable[str], vocabulary: Sequence[str]) -> list[list[int]]:
    """Return the ids of the words of each line, without special tokens."""
    ids = {word: i for i, word in enumerate(vocabulary)}
    return [[ids.get(word, UNK) for word in line.split()] for line in lines]


def to_text(ids: Iterable[int], vocabulary: Sequence[str]) -> str:
    """Return the words of a translation, up to its `<eos>`."""
    words = []
    for token in ids:
        if token == EOS:
            break
        if token not in (PAD, BOS):
            words.append(vocabulary[token])
    return " ".join(words)
