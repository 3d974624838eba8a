"""The files of the task as ids, and the order of the batches.

Only the standard library, since each contender runs in an environment of its own.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)

# Batches whose pairs are sorted by length among each other.
BATCHES_SORTED_TOGETHER = 400


class Pairs(NamedTuple):
    """Training pairs as ids, without special tokens, and the vocabularies.

    Attributes:
        source: for each pair the ids of the source.
        target: likewise.
        source_vocabulary: all tokens, the special ones first.
        target_vocabulary: likewise.
    """

    source: list[list[int]]
    target: list[list[int]]
    source_vocabulary: list[str]
    target_vocabulary: list[str]

    def batches(
        self, batch_size: int, seed: int, by_length: bool = True, endless: bool = True
    ) -> Iterator[list[int]]:
        """Numbers of the pairs of each batch.

        Args:
            batch_size: pairs in a batch.
            seed: of the order.
            by_length: whether the pairs of a batch have similar lengths: as many pairs as make
                400 batches are sorted together, and the batches are mixed afterwards. Otherwise
                chance decides which pairs meet.
            endless: whether to go on with the next epoch, in another order.
        """
        generator = random.Random(seed)
        while True:
            numbers = list(range(len(self.source)))
            generator.shuffle(numbers)
            if by_length:
                window = batch_size * BATCHES_SORTED_TOGETHER
                numbers = [
                    number
                    for start in range(0, len(numbers), window)
                    for number in sorted(
                        numbers[start : start + window],
                        key=lambda number: (len(self.target[number]), len(self.source[number])),
                    )
                ]
            starts = list(range(0, len(numbers), batch_size))
            generator.shuffle(starts)
            for start in starts:
                yield numbers[start : start + batch_size]
            if not endless:
                return

    def target_tokens(self, numbers: Iterable[int]) -> int:
        """Target tokens of some pairs, with `</s>`."""
        return sum(len(self.target[number]) + 1 for number in numbers)


def read_lines(path: Path) -> list[str]:
    """The lines of a file; only a line feed ends one."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def read_pairs(task: Path) -> Pairs:
    """The training pairs of a task, with the vocabularies that are part of it."""
    vocabularies = [[*SPECIAL_TOKENS, *read_lines(task / f"vocab.{side}")] for side in ("en", "fr")]
    sides = [
        numbered(read_lines(task / f"train.{side}"), vocabulary)
        for side, vocabulary in zip(("en", "fr"), vocabularies, strict=True)
    ]
    return Pairs(*sides, *vocabularies)


def read_chapter(task: Path, min_freq: int = 3, num_steps: int = 10) -> Pairs:
    """The chapter's pairs: words seen less than three times are unknown, long sentences cut.

    As in the package, a source has `num_steps` tokens at most, and a target that many with its
    `<bos>` and `<eos>`.
    """
    vocabularies, sides = [], []
    for side, longest in (("en", num_steps), ("fr", num_steps - 2)):
        lines = read_lines(task / f"chapter.{side}")
        counts = Counter(word for line in lines for word in line.split())
        frequent = sorted((-count, word) for word, count in counts.items() if count >= min_freq)
        vocabularies.append([*SPECIAL_TOKENS, *(word for _, word in frequent)])
        sides.append([ids[:longest] for ids in numbered(lines, vocabularies[-1])])
    return Pairs(*sides, *vocabularies)


def numbered(lines: Iterable[str], vocabulary: Sequence[str]) -> list[list[int]]:
    """Ids of the words of each line, without special tokens."""
    ids = {word: number for number, word in enumerate(vocabulary)}
    return [[ids.get(word, UNK) for word in line.split()] for line in lines]


def as_text(ids: Iterable[int], vocabulary: Sequence[str]) -> str:
    """The words of an answer, up to its `<eos>`."""
    words = []
    for number in ids:
        if number == EOS:
            break
        if number not in (PAD, BOS):
            words.append(vocabulary[number])
    return " ".join(words)
