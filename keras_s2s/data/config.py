"""What is decided when a corpus is tokenized."""

from dataclasses import dataclass

from keras_s2s.utils.fields import config_field

# Where sizes of layers that no machine holds begin.
MAX_LAYER_SIZE = 2**16


@dataclass(frozen=True)
class DataConfig:
    """How text becomes tokens, and what is held out."""

    tokenizer: str = config_field("word", "what a token is", choices=("word", "sentencepiece"))
    min_freq: int = config_field(3, "words seen less often are not in the vocabularies", 1)
    max_tokens: int | None = config_field(
        None, "the most tokens that a vocabulary may have, 8000 if subwords", 5
    )
    joint_vocabulary: bool = config_field(False, "one vocabulary for both sides (sentencepiece)")
    lowercase: bool = config_field(True, "fold case (sentencepiece; words always are)")
    num_steps: int = config_field(10, "tokens after which a sentence is cut", 3, MAX_LAYER_SIZE)
    drop_long: bool = config_field(False, "leave out the pairs that would be cut")
    valid_fraction: float = config_field(0.0, "share of the sources kept for validation", lt=1)
    test_fraction: float = config_field(0.0, "share of the sources kept for testing", lt=1)
    split_seed: int = config_field(0, "another one keeps other sources for validation and testing")
    subword_sampling: float = config_field(
        0.0, "draw subwords anew each epoch: SentencePiece's alpha, 0 for never; 0.2 is usual", 0, 1
    )
    max_pairs: int | None = config_field(None, "use only the first so many pairs of the corpus", 1)


# What is decided when a corpus is prepared.
PREPARED_FIELDS = (
    *("tokenizer", "min_freq", "max_tokens", "joint_vocabulary", "lowercase"),
    *("num_steps", "drop_long", "valid_fraction", "test_fraction", "split_seed"),
)
