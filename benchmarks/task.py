"""The task that all contenders are given: files made of a corpus.

    python -m benchmarks.task CORPUS FOLDER [--pairs N] [--held-out N]

`train.en` and `train.fr`, at most 60,000 pairs of at most 25 words a side; `dev.en` and `dev.fr`;
`test.en`, 1,000 sources, with all their translations in `test.fr.ref0`, `test.fr.ref1`, …, an
empty line where a source has no more; `vocab.en` and `vocab.fr`, the 8,000 most frequent words of
the training pairs; `chapter.en` and `chapter.fr`, the first 1,001 pairs as they come. Words are
what the package's own tokenizer makes of the text, with spaces between them, and `?` by itself but
in the chapter's pairs, where the chapter has none. No source stands in two of the parts.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

LONGEST = 25
VOCABULARY = 8000
CHAPTER = 1001


def is_task(folder: Path) -> bool:
    """Whether a folder has the files that training and translation need."""
    names = ("train.en", "train.fr", "dev.en", "dev.fr", "test.en", "test.fr.ref0")
    return all((folder / name).is_file() for name in (*names, "vocab.en", "vocab.fr"))


def make_task(
    pairs: Sequence[tuple[str, str]], folder: Path, num_pairs: int = 60_000, held_out: int = 1000
) -> None:
    """Writes the files.

    Args:
        pairs: source and target, words with spaces between them, in the order of the corpus.
        folder: where the files go.
        num_pairs: how many pairs to train with at most.
        held_out: how many sources for the test, and as many for the development set.

    Raises:
        ValueError: the corpus has too few sources.
    """
    translations: dict[str, dict[str, None]] = {}
    for pair in pairs:
        source, target = (" ".join(text.replace("?", " ?").split()) for text in pair)
        if 0 < len(source.split()) <= LONGEST and 0 < len(target.split()) <= LONGEST:
            translations.setdefault(source, {})[target] = None
    sources = list(translations)
    if len(sources) <= 2 * held_out:
        raise ValueError(f"{len(sources)} different sources are too few to hold out {held_out}")
    generator = random.Random(20)
    generator.shuffle(sources)
    test, dev, rest = sources[:held_out], sources[held_out : 2 * held_out], sources[2 * held_out :]
    train = [(source, target) for source in rest for target in translations[source]]
    train = train[:num_pairs]
    generator.shuffle(train)
    folder.mkdir(parents=True, exist_ok=True)
    for number, side in enumerate(("en", "fr")):
        column = [pair[number] for pair in train]
        write_lines(folder / f"train.{side}", column)
        counts = Counter(word for sentence in column for word in sentence.split())
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[:VOCABULARY]
        write_lines(folder / f"vocab.{side}", frequent)
    write_lines(folder / "dev.en", dev)
    write_lines(folder / "dev.fr", [next(iter(translations[source])) for source in dev])
    write_lines(folder / "test.en", test)
    references = [list(translations[source]) for source in test]
    for number in range(max(map(len, references))):
        column = [row[number] if number < len(row) else "" for row in references]
        write_lines(folder / f"test.fr.ref{number}", column)


def write_chapter(pairs: Sequence[tuple[str, str]], folder: Path) -> None:
    """Writes the chapter's pairs, words with spaces between them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, side in enumerate(("en", "fr")):
        write_lines(folder / f"chapter.{side}", [pair[number] for pair in pairs[:CHAPTER]])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A line each."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_references(task: Path) -> list[list[str | None]]:
    """The references of the test sentences, as sacreBLEU takes them: None where there is none."""
    columns: list[list[str | None]] = []
    while (path := task / f"test.fr.ref{len(columns)}").exists():
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        columns.append([line or None for line in lines])
    return columns


def read_lengths(task: Path, name: str) -> list[tuple[int, int]]:
    """Source tokens, and target tokens with `</s>`, of pairs: those named `train` or `chapter`."""
    sides = [
        (task / f"{name}.{side}").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for side in ("en", "fr")
    ]
    return [
        (len(source.split()), len(target.split()) + 1)
        for source, target in zip(*sides, strict=True)
    ]


def read_words(corpus: str, max_pairs: int | None = None) -> list[tuple[str, str]]:
    """The pairs of a corpus as the package's tokenizer takes them apart.

    Args:
        corpus: as `keras_s2s.load_corpus` takes it.
        max_pairs: read only the first so many.
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
    """Makes a task of a corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="a name, a file, or two aligned ones, as load_corpus takes")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=60_000, help="to train with, at most")
    parser.add_argument("--held-out", type=int, default=1000, help="sources for the test")
    parser.add_argument("--chapter-only", action="store_true", help="only the chapter's pairs")
    options = parser.parse_args()
    try:
        pairs = read_words(options.corpus, CHAPTER if options.chapter_only else None)
        if not options.chapter_only:
            make_task(pairs, options.folder, options.pairs, options.held_out)
    except ValueError as error:  # the package's InputError is one
        sys.exit(f"{options.corpus}: {error}")
    write_chapter(pairs, options.folder)


if __name__ == "__main__":
    main()
