"""Fixtures of the evaluation tests."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def texts():
    """250 sentences with one to three references, and translations by a good and a poor system."""
    words = [f"mot{index}" for index in range(12)]
    random = np.random.default_rng(0)
    references = [
        [" ".join(random.choice(words, 3 + index % 9)) + "." for _ in range(1 + index % 3)]
        for index in range(250)
    ]

    def worse(sentence, share):
        return " ".join(word if random.random() > share else "FAUX" for word in sentence.split(" "))

    good, poor = ([worse(options[-1], share) for options in references] for share in (0.2, 0.4))
    return references, good, poor
