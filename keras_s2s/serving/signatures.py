"""What the signatures of an export answer with."""

from typing import NamedTuple

# That of an answer there is none of: minus infinity, but a number in JSON.
LOWEST_SCORE = -3.4028234663852886e38


class ScoredPair(NamedTuple):
    """How probable a given translation is.

    Attributes:
        score: log-probability in nats.
        num_tokens: the tokens that it is the sum of; the end of the sentence counts as one.
    """

    score: float
    num_tokens: int
