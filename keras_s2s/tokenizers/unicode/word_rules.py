"""What a word is: the chapter's rules, or Unicode's spaces and punctuation. Core TensorFlow ops.

By Unicode's rules every mark of punctuation and every symbol is a word of its own, but

- apostrophes and hyphens within a word: `j'ai`, `don’t`, `well-known`;
- points, commas and colons within a number: `3.14`, `1,000`, `10:30`;
- a row of these, such as `...` or `--`, which is one word.
"""

import functools
import unicodedata

import tensorflow as tf

from keras_s2s.tokenizers.unicode.composition import character_class, compose

# Spaces of all widths, line ends, and the zero-width space, which separates words too.
_SPACES = r"[\pZ\x{85}\x{180E}\x{200B}]+"
# Soft hyphens, marks of direction and joining, language tags: nothing that can be seen. The
# zero-width joiner and non-joiner stay, since Persian and Indian words differ by them.
_INVISIBLE = (
    r"[\x{80}-\x{84}\x{86}-\x{9F}\x{AD}\x{61C}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}-\x{206F}"
    r"\x{FEFF}\x{FFF9}-\x{FFFB}\x{E0000}-\x{E007F}]+"
)
_WITHIN_WORDS = "'\u2019-\u2010\u2011"
_WITHIN_NUMBERS = ".,:"
# Written without a space before it, or after it.
_CLOSING = r"([.,;:!?…%、。，．：；！？％\p{Pe}\p{Pf}]+)"
_OPENING = r"([¿¡\p{Ps}\p{Pi}]+)"
_QUOTED = r'" ([^"]*) "'


def split_chapter_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Normalize text as in the chapter and split it on spaces.

    Args:
        text: string tensor, shape (batch,); valid UTF-8 without control characters.

    Returns:
        Ragged string tensor, shape (batch, (words)); valid UTF-8.
    """
    text = tf.strings.regex_replace(text, r"[\x{A0}\x{202F}]", " ")
    text = tf.strings.regex_replace(_lower(text), r"[,!.]", r" \0")
    return tf.strings.split(text)


def split_unicode_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Normalize text to lower case and form C and split it at spaces and punctuation.

    Args:
        text: string tensor, shape (batch,); valid UTF-8 without control characters.

    Returns:
        Ragged string tensor, shape (batch, (words)); valid UTF-8.

    Example:

    >>> words = split_unicode_words(tf.constant(["Don't (go!)...\\u3000It costs 3.50"])).to_list()
    >>> [word.decode() for word in words[0]]
    ["don't", '(', 'go', '!', ')', '...', 'it', 'costs', '3.50']
    """
    text = tf.strings.regex_replace(text, _INVISIBLE, "")
    text = tf.strings.regex_replace(text, _SPACES, " ")
    text = compose(_lower(text))
    for pattern, replacement in _splits():
        text = tf.strings.regex_replace(text, pattern, replacement)
    return tf.strings.split(text)


@functools.cache
def _splits() -> tuple[tuple[str, str], ...]:
    """Return the replacements that put spaces around what is a word of its own."""
    joining = set(_WITHIN_WORDS + _WITHIN_NUMBERS)
    marks = (
        code
        for code in range(0x30000)
        if unicodedata.category(chr(code))[0] in "PS" and chr(code) not in joining
    )
    points, all_joining = (
        character_class(map(ord, characters)) for characters in (_WITHIN_NUMBERS, joining)
    )
    return (
        (f"[{character_class(marks)}]", r" \0 "),
        # A point that does not follow a digit, or precede one, is no part of a number.
        (rf"([^\pN{all_joining}])([{points}])", r"\1 \2"),
        (rf"([{points}])([^\pN{all_joining}])", r"\1 \2"),
        (rf"(^|\s)([{all_joining}]+)", r"\1\2 "),
        (rf"([{all_joining}]+)(\s|$)", r" \1\2"),
    )


def attach_punctuation(text: tf.Tensor) -> tf.Tensor:
    """Write words that are joined by spaces as text, without spaces inside of marks.

    Marks that close follow a word, marks that open precede one, and `"` encloses every second part.
    Spaces before marks, as in French, are not restored.

    Args:
        text: string tensor, shape (batch,).

    Example:

    >>> attach_punctuation(tf.constant(["go ( now ) , please !"])).numpy()
    array([b'go (now), please!'], dtype=object)
    """
    text = tf.strings.regex_replace(text, f" {_CLOSING}", r"\1")
    text = tf.strings.regex_replace(text, f"{_OPENING} ", r"\1")
    return tf.strings.regex_replace(text, _QUOTED, r'"\1"')


def _lower(text: tf.Tensor) -> tf.Tensor:
    # WORKAROUND(tensorflow<=2.21.0): its UTF-8 lower-casing depends on the locale of the process
    # ("I" may become a dotless "ı"), so lower-case the letters that differ first: ASCII and these.
    text = tf.strings.lower(text)
    for letter in "İÌÍĨĮ":
        text = tf.strings.regex_replace(text, letter, letter.lower())
    return tf.strings.lower(text, encoding="utf-8")


SPLITS = {"chapter": split_chapter_words, "unicode": split_unicode_words}
