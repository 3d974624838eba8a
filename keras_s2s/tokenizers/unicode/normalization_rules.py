"""Normalization of text by rules inside a SentencePiece model, so that servers apply the same.

NFKC, SentencePiece's default, suits text that is only read. Text that a model writes would lose
what NFKC replaces: full-width punctuation, ellipses, the zero-width non-joiners of Persian words.
"""

import functools
import itertools
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def trainer_options(normalization: str, lowercase: bool) -> Iterator[dict[str, str]]:
    """Yield the options of SentencePiece's trainer, which are valid within the block.

    Args:
        normalization: one of `utils.text.NORMALIZATIONS`.
        lowercase: whether capitals become small letters.

    Example:

    >>> with trainer_options("nfkc", lowercase=True) as options:
    ...     options
    {'normalization_rule_name': 'nmt_nfkc_cf'}
    """
    if normalization == "nfkc":
        yield {"normalization_rule_name": "nmt_nfkc_cf" if lowercase else "nmt_nfkc"}
    elif normalization == "none" and not lowercase:
        yield {"normalization_rule_name": "identity"}
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rules.tsv"
            rules = normalization_rules(normalization == "nfc", lowercase)
            file.write_text(
                "".join(
                    f"{_code_points(old)}\t{_code_points(new)}\n" for old, new in rules.items()
                ),
                encoding="ascii",
            )
            yield {"normalization_rule_tsv": str(file)}


def _code_points(text: str) -> str:
    return " ".join(f"{ord(character):X}" for character in text)


@functools.cache
def normalization_rules(compose: bool, lowercase: bool) -> dict[str, str]:
    """Return replacements of characters and sequences; the longest that matches is applied.

    Args:
        compose: whether a letter and its combining marks, in any order, become one character, as in
            Unicode's normalization form C.
        lowercase: whether capitals become small letters; those that would become two characters
            (İ) are kept.

    Example:

    >>> rules = normalization_rules(compose=True, lowercase=True)
    >>> rules["e\\u0301"], rules["E\\u0301"], rules["É"], "…" in rules
    ('é', 'é', 'é', False)
    """

    def lower(text: str) -> str:
        return small if lowercase and len(small := text.lower()) == len(text) else text

    rules: dict[str, str] = {}
    for character in map(chr, itertools.chain(range(0xD800), range(0xE000, 0x110000))):
        if lower(character) != character:
            rules[character] = lower(character)
        is_hangul = "\uac00" <= character <= "\ud7a3"
        if not compose or not (is_hangul or unicodedata.decomposition(character)):
            continue
        composed = unicodedata.normalize("NFC", character)
        if composed != character:  # such as the Kelvin sign
            rules[character] = lower(composed)
            continue
        decomposed = unicodedata.normalize("NFD", character)
        base = decomposed[0]
        for order in itertools.permutations(decomposed[1:]):
            for start in range(len(order)):
                # Some of the marks may be composed with the letter already.
                first = unicodedata.normalize("NFC", base + "".join(order[:start]))
                sequence = first + "".join(order[start:])
                if len(first) == 1 and unicodedata.normalize("NFC", sequence) == character:
                    rules[sequence] = lower(character)
    return rules
