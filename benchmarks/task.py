"""The task of all contenders: files made from a corpus.

    python -m benchmarks.task CORPUS FOLDER [--pairs N] [--held-out N]

- `train.en`, `train.fr`: at most 60,000 pairs of at most 25 words per side.
- `dev.en`, `dev.fr`: 1,000 pairs.
- `test.en`: 1,000 sources; `test.fr.ref0`, `test.fr.ref1`, …: all their translations, with empty
  lines where a source has fewer.
- `vocab.en`, `vocab.fr`: the 8,000 most frequent words of the training pairs.
- `chapter.en`, `chapter.fr`: the first 1,001 pairs of the corpus.

Text is tokenized by the package's word tokenizer, with spaces between words; `?` is a word of its
own except in the chapter's pairs, as in the chapter. The splits have no source in common.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

MAX_WORDS = 25
VOCAB_SIZE = 8000
CHAPTER_PAIRS = 1001


def is_task(folder: Path) -> bool:
    """Return whether a folder has the files for training and translation."""
    names = ("train.en", "train.fr", "dev.en", "dev.fr", "test.en", "test.fr.ref0")
    return all((folder / name).is_file() for name in (*names, "vocab.en", "vocab.fr"))


def make_task(
    pairs: Sequence[tuple[str, str]], folder: Path, num_pairs: int = 60_000, held_out: int = 1000
) -> None:
    """Write the files of a task.

    Args:
        pairs: source and target, words separated by spaces, in the order of the corpus.
        folder: output folder.
        num_pairs: maximum number of training pairs.
        held_out: number of sources of the test set, and of the development set.

    Raises:
        ValueError: the corpus has too few sources.
    """
    translations: dict[str, dict[str, None]] = {}
    for pair in pairs:
        source, target = (" ".join(text.replace("?", " ?").split()) for text in pair)
        if 0 < len(source.split()) <= MAX_WORDS and 0 < len(target.split()) <= MAX_WORDS:
            translations.setdefault(source, {})[target] = None
    sources = list(translations)
    if len(sources) <= 2 * held_out:
        raise ValueError(f"{len(sources)} distinct sources are too few to hold out {held_out}")
    generator = random.Random(20)
    generator.shuffle(sources)
    test, dev = sources[:held_out], sources[held_out : 2 * held_out]
    remaining = sources[2 * held_out :]
    train = [(source, target) for source in remaining for target in translations[source]]
    train = train[:num_pairs]
    generator.shuffle(train)
    folder.mkdir(parents=True, exist_ok=True)
    for i, side in enumerate(("en", "fr")):
        column = [pair[i] for pair in train]
        write_lines(folder / f"train.{side}", column)
        counts = Counter(word for sentence in column for word in sentence.split())
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[:VOCAB_SIZE]
        write_lines(folder / f"vocab.{side}", frequent)
    write_lines(folder / "dev.en", dev)
    write_lines(folder / "dev.fr", [next(iter(translations[source])) for source in dev])
    write_lines(folder / "test.en", test)
    references = [list(translations[source]) for source in test]
    for i in range(max(map(len, references))):
        column = [row[i] if i < len(row) else "" for row in references]
        write_lines(folder / f"test.fr.ref{i}", column)


def write_chapter(pairs: Sequence[tuple[str, str]], folder: Path) -> None:
    """Write the chapter's pairs, words separated by spaces."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, side in enumerate(("en", "fr")):
        write_lines(folder / f"chapter.{side}", [pair[i] for pair in pairs[:CHAPTER_PAIRS]])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines to a file."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_references(task: Path) -> list[list[str | None]]:
    """Return the references of the test set for sacreBLEU, with None for missing ones."""
    columns: list[list[str | None]] = []
    while (path := task / f"test.fr.ref{len(columns)}").exists():
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        columns.append([line or None for line in lines])
    return columns


def read_lengths(task: Path, name: str) -> list[tuple[int, int]]:
    """Return the source tokens and target tokens (with `</s>`) of each pair of a file."""
    sides = [
        (task / f"{name}.{side}").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for side in ("en", "fr")
    ]
    return [
        (len(source.split()), len(target.split()) + 1)
        for source, target in zip(*sides, strict=True)
    ]


def read_words(corpus: str, max_pairs: int | None = None) -> list[tuple[str, str]]:
    """Return the pairs of a corpus, tokenized by the package.

    Args:
        corpus: as for `keras_s2s.load_corpus`.
        max_pairs: read only the first pairs.
    """
    import tensorflow as tf

    from keras_s2s import load_corpus
    from keras_s2s.tokenizers.word_tokenizer import split_words

    loaded = load_corpus(corpus, max_pairs=max_pairs)
    sides = []
    for texts in (loaded.source, loaded.target):
        joined = tf.strings.reduce_join(split_words(tf.constant(texts)), axis=1, separator=" ")
        sides.append([text.decode() for text in joined.numpy().tolist()])
    return list(zip(*sides, strict=True))


def main() -> None:
    """Make a task from a corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="name, file, or two aligned files, as for load_corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--pairs", type=int, default=60_000, help="maximum number of training pairs"
    )
    parser.add_argument("--held-out", type=int, default=1000, help="sources of the test set")
    parser.add_argument("--chapter-only", action="store_true", help="only the chapter's pairs")
    options = parser.parse_args()
    try:
        pairs = read_words(options.corpus, CHAPTER_PAIRS if options.chapter_only else None)
        if not options.chapter_only:
            make_task(pairs, options.folder, options.pairs, options.held_out)
    except ValueError as error:  # the package's InputError is one
        sys.exit(f"{options.corpus}: {error}")
    write_chapter(pairs, options.folder)


if __name__ == "__main__":
    main()
