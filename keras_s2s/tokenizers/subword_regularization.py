"""Subwords drawn at random: ways to cut a text other than the most probable one.

SentencePiece draws too, but (as of its version 0.2.2) what a seed gives is another draw in each
process; and TensorFlow Text's ops take no seed.
"""

import bisect
import itertools
import math
import random
from array import array
from collections.abc import Iterator, Sequence

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

SPACE = "▁"  # what SentencePiece writes for a space; a word begins with it
# Only sentences of shorter words are cut at random: the time it takes grows with their square.
LONGEST_WORD = 100
# What SentencePiece takes off the least probable piece's score for an unknown character.
UNKNOWN_PENALTY = 10.0


def draw_subwords(
    processor: sentencepiece.SentencePieceProcessor,
    texts: Sequence[bytes],
    seed: int,
    alpha: float,
) -> list[list[int]]:
    """Cuts each text at random.

    Args:
        processor: a model in SentencePiece.
        texts: sentences, UTF-8.
        seed: any whole number. The same one gives the same draw for the same texts.
        alpha: see `SentencePieceTokenizer.sample`.

    Returns:
        Ids of subwords for each text.

    Reference: Kudo, "Subword Regularization: Improving Neural Network Translation Models with
    Multiple Subword Candidates", 2018 (drawing from all ways to cut); Provilkov, Emelianenko and
    Voita, "BPE-Dropout: Simple and Effective Subword Regularization", 2020.
    """
    pieces = Pieces(processor)
    sampler = (BpeSampler if pieces.merges else UnigramSampler)(pieces, seed, alpha)
    rows = []
    for text, normalized in zip(texts, processor.normalize(texts), strict=True):
        words = list(pieces.words(normalized.decode("utf-8")))
        if max(map(len, words), default=0) > LONGEST_WORD:
            rows.append(processor.encode(text))
        else:
            rows.append([number for word in words for number in sampler.draw(word)])
    return rows


class Pieces:
    """What a model knows of its pieces.

    Attributes:
        ids: the id of each piece that text can have.
        scores: its score: a log-probability, or which merge comes first.
        merges: whether the scores are those of merges (BPE).
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor) -> None:
        model = sentencepiece_model_pb2.ModelProto.FromString(processor.serialized_model_proto())
        kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
        self.merges = model.trainer_spec.model_type == model.trainer_spec.BPE
        self.ids: dict[str, int] = {}
        self.scores: dict[str, float] = {}
        self._bytes: list[int] = []
        for number, piece in enumerate(model.pieces):
            if piece.type in (kinds.NORMAL, kinds.USER_DEFINED):
                self.ids[piece.piece] = number
                self.scores[piece.piece] = piece.score
            elif piece.type == kinds.BYTE:
                self._bytes.append(number)
        self._unknown = processor.unk_id()
        self._across_words = any(SPACE in piece[1:] for piece in self.ids)

    def words(self, normalized: str) -> Iterator[str]:
        """The parts of a text that are cut independently of each other."""
        first, *others = [normalized] if self._across_words else normalized.split(SPACE)
        if first:
            yield first
        for other in others:
            yield SPACE + other

    def code(self, part: str) -> int:
        """The id of a piece; a negative number for a character that is none."""
        return self.ids[part] if part in self.ids else -1 - ord(part)

    def decoded(self, codes: list[int]) -> list[int]:
        """Ids in place of codes: an unknown character is its bytes, or unknown.

        Unknown ones that follow each other are one.
        """
        if min(codes) >= 0:
            return codes
        ids: list[int] = []
        for code in codes:
            if code >= 0:
                ids.append(code)
            elif self._bytes:
                ids += [self._bytes[byte] for byte in chr(-1 - code).encode("utf-8")]
            elif ids[-1:] != [self._unknown]:
                ids.append(self._unknown)
        return ids


class UnigramSampler:
    """Draws from all ways to cut a word, by their probability to the power of `alpha`.

    The words that were seen are kept as one graph. A node is a place in a word, and its edges are
    the pieces that end there.
    """

    def __init__(self, pieces: Pieces, seed: int, alpha: float) -> None:
        self._pieces, self._alpha = pieces, alpha
        self._random = random.Random(seed).random
        self._longest = max(map(len, pieces.ids), default=1)
        self._unknown_score = min(pieces.scores.values(), default=0.0) - UNKNOWN_PENALTY
        self._ends: dict[str, int] = {}
        # By node, with one more at the end: the first of its edges. None begins a word.
        self._first_edge = array("q", [0])
        # By edge: the node where its piece begins, the piece's code, and how probable the edges
        # of its node are up to this one.
        self._begins = array("q")
        self._codes = array("q")
        self._cumulative = array("d")

    def draw(self, word: str) -> list[int]:
        """Ids of the subwords of one way to cut a word."""
        node = self._ends[word] if word in self._ends else self._add(word)
        first_edge, codes = self._first_edge, []
        low, high = first_edge[node], first_edge[node + 1]
        while low < high:
            edge = bisect.bisect(self._cumulative, self._random(), low, high - 1)
            codes.append(self._codes[edge])
            node = self._begins[edge]
            low, high = first_edge[node], first_edge[node + 1]
        codes.reverse()
        return self._pieces.decoded(codes)

    def _add(self, word: str) -> int:
        """Adds the nodes of a word, and returns the last one."""
        scores, alpha = self._pieces.scores, self._alpha
        begin = len(self._first_edge) - 1
        self._first_edge.append(self._first_edge[-1])
        totals = [0.0]  # the logarithm of the sum over all ways to get to a place
        for end in range(1, len(word) + 1):
            ways = []
            for start in range(max(0, end - self._longest), end):
                part = word[start:end]
                if part in scores or start == end - 1:
                    ways.append(totals[start] + alpha * scores.get(part, self._unknown_score))
                    self._begins.append(begin + start)
                    self._codes.append(self._pieces.code(part))
            most = max(ways)
            reached = list(itertools.accumulate(math.exp(way - most) for way in ways))
            totals.append(most + math.log(reached[-1]))
            self._cumulative.extend(value / reached[-1] for value in reached)
            self._first_edge.append(len(self._codes))
        self._ends[word] = begin + len(word)
        return begin + len(word)


class BpeSampler:
    """Merges the characters of a word, and leaves out each merge with probability `alpha`.

    As in SentencePiece, a pair that was left out stays so until one of the two is another.
    """

    def __init__(self, pieces: Pieces, seed: int, alpha: float) -> None:
        self._pieces, self._alpha = pieces, alpha
        self._random = random.Random(seed).random

    def draw(self, word: str) -> list[int]:
        """Ids of the subwords of one way to cut a word."""
        score = self._pieces.scores.get
        parts = list(word)
        # Of each part with the next one; None where they cannot be merged.
        scores = [score(left + right) for left, right in itertools.pairwise(parts)]
        while True:
            best, place = -math.inf, -1
            for position, found in enumerate(scores):
                if found is not None and found > best:
                    best, place = found, position
            if place < 0:
                return self._pieces.decoded([self._pieces.code(part) for part in parts])
            if self._random() < self._alpha:
                scores[place] = None
                continue
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
            del scores[place]
            for left in (place - 1, place):
                if 0 <= left < len(scores):
                    scores[left] = score(parts[left] + parts[left + 1])
