"""Subword regularization: random segmentations of words, in Python."""

# WORKAROUND(sentencepiece<=0.2.2): its own sampling differs between processes for the same seed,
# and TensorFlow Text's ops take no seed.

import bisect
import itertools
import math
import random
import re
from array import array
from collections.abc import Iterator, Sequence

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from keras_s2s.tokenizers.symbols import symbol_pattern

SPACE_SYMBOL = "▁"  # SentencePiece's symbol for a space, at the beginning of words
# Sentences with longer words are not sampled: the run time is quadratic in the word length.
MAX_WORD_LENGTH = 100
# SentencePiece scores an unknown character this much below the least probable piece.
UNKNOWN_PENALTY = 10.0


def sample_subwords(
    processor: sentencepiece.SentencePieceProcessor,
    texts: Sequence[bytes],
    seed: int,
    alpha: float,
) -> list[list[int]]:
    """Sample a segmentation of each text.

    Args:
        processor: the SentencePiece model.
        texts: sentences, UTF-8.
        seed: random seed, any integer.
        alpha: see `SentencePieceTokenizer.sample`.

    Returns:
        Ids of subwords for each text.

    Reference: Kudo, "Subword Regularization: Improving Neural Network Translation Models with
    Multiple Subword Candidates", 2018 (sampling from the full lattice); Provilkov, Emelianenko
    and Voita, "BPE-Dropout: Simple and Effective Subword Regularization", 2020.
    """
    pieces = PieceTable(processor)
    sampler = (BpeSampler if pieces.is_bpe else UnigramSampler)(pieces, seed, alpha)
    rows = []
    for text, normalized in zip(texts, processor.normalize(texts), strict=True):
        words = list(pieces.words(normalized.decode("utf-8")))
        if max(map(len, words), default=0) > MAX_WORD_LENGTH:
            rows.append(processor.encode(text))
        else:
            ids = (
                [pieces.symbols[word]] if word in pieces.symbols else sampler.sample(word)
                for word in words
            )
            rows.append(list(itertools.chain.from_iterable(ids)))
    return rows


class PieceTable:
    """The pieces of a model.

    Attributes:
        ids: the id of each piece that can occur in text.
        symbols: the id of each user-defined symbol, which is never split.
        scores: the score of a piece: a log-probability (unigram) or minus the rank of its merge
            (BPE).
        is_bpe: whether it is a BPE model.
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor) -> None:
        model = sentencepiece_model_pb2.ModelProto.FromString(processor.serialized_model_proto())
        piece_types = sentencepiece_model_pb2.ModelProto.SentencePiece
        self.is_bpe = model.trainer_spec.model_type == model.trainer_spec.BPE
        self.ids: dict[str, int] = {}
        self.symbols: dict[str, int] = {}
        self.scores: dict[str, float] = {}
        self._byte_ids: list[int] = []
        for piece_id, piece in enumerate(model.pieces):
            if piece.type == piece_types.USER_DEFINED:
                self.symbols[piece.piece] = piece_id
            elif piece.type == piece_types.NORMAL:
                self.ids[piece.piece] = piece_id
                self.scores[piece.piece] = piece.score
            elif piece.type == piece_types.BYTE:
                self._byte_ids.append(piece_id)
        self._unknown_id = processor.unk_id()
        self._symbol_pattern = symbol_pattern(self.symbols)
        self._crosses_words = any(SPACE_SYMBOL in piece[1:] for piece in self.ids)

    def words(self, normalized: str) -> Iterator[str]:
        """Yield the segments of a text that are segmented independently, and its symbols."""
        if not self.symbols:
            yield from self._words(normalized)
            return
        for index, segment in enumerate(re.split(self._symbol_pattern, normalized)):
            if index % 2:
                yield segment
            elif segment:
                yield from self._words(segment)

    def _words(self, normalized: str) -> Iterator[str]:
        segments = [normalized] if self._crosses_words else normalized.split(SPACE_SYMBOL)
        if segments[0]:
            yield segments[0]
        for segment in segments[1:]:
            yield SPACE_SYMBOL + segment

    def code(self, piece: str) -> int:
        """Return the id of a piece, or a negative code for an unknown character."""
        return self.ids[piece] if piece in self.ids else -1 - ord(piece)

    def to_ids(self, codes: list[int]) -> list[int]:
        """Replace the codes of unknown characters by their bytes, or by `<unk>`.

        Consecutive unknown characters become one `<unk>`.
        """
        if min(codes) >= 0:
            return codes
        ids: list[int] = []
        for code in codes:
            if code >= 0:
                ids.append(code)
            elif self._byte_ids:
                ids += [self._byte_ids[byte] for byte in chr(-1 - code).encode("utf-8")]
            elif ids[-1:] != [self._unknown_id]:
                ids.append(self._unknown_id)
        return ids


class UnigramSampler:
    """Samples segmentations with their probability to the power of `alpha`.

    Forward filtering, backward sampling on the lattice of a word. The lattices of all words are
    cached in one graph: its nodes are positions in a word, the edges into a node are the pieces
    that end there.
    """

    def __init__(self, pieces: PieceTable, seed: int, alpha: float) -> None:
        self._pieces, self._alpha = pieces, alpha
        self._random = random.Random(seed).random
        self._max_piece_length = max(map(len, pieces.ids), default=1)
        self._unknown_score = min(pieces.scores.values(), default=0.0) - UNKNOWN_PENALTY
        self._final_nodes: dict[str, int] = {}
        # By node: the index of its first edge; a last element marks the end. A node without
        # edges starts a word.
        self._first_edge = array("q", [0])
        # By edge: the node where its piece begins, the piece's code, and the cumulative
        # probability among the edges of its node.
        self._start_nodes = array("q")
        self._codes = array("q")
        self._cumulative = array("d")

    def sample(self, word: str) -> list[int]:
        """Sample a segmentation and return its ids."""
        node = self._final_nodes[word] if word in self._final_nodes else self._add(word)
        first_edge, codes = self._first_edge, []
        low, high = first_edge[node], first_edge[node + 1]
        while low < high:
            edge = bisect.bisect(self._cumulative, self._random(), low, high - 1)
            codes.append(self._codes[edge])
            node = self._start_nodes[edge]
            low, high = first_edge[node], first_edge[node + 1]
        codes.reverse()
        return self._pieces.to_ids(codes)

    def _add(self, word: str) -> int:
        """Add the lattice of a word and return its final node."""
        scores, alpha = self._pieces.scores, self._alpha
        start_node = len(self._first_edge) - 1
        self._first_edge.append(self._first_edge[-1])
        forward = [0.0]  # log-sum-exp of the scores of all paths to a position
        for end in range(1, len(word) + 1):
            log_weights = []
            for start in range(max(0, end - self._max_piece_length), end):
                piece = word[start:end]
                if piece in scores or start == end - 1:
                    score = alpha * scores.get(piece, self._unknown_score)
                    log_weights.append(forward[start] + score)
                    self._start_nodes.append(start_node + start)
                    self._codes.append(self._pieces.code(piece))
            maximum = max(log_weights)
            cumulative = list(itertools.accumulate(math.exp(w - maximum) for w in log_weights))
            forward.append(maximum + math.log(cumulative[-1]))
            self._cumulative.extend(value / cumulative[-1] for value in cumulative)
            self._first_edge.append(len(self._codes))
        self._final_nodes[word] = start_node + len(word)
        return start_node + len(word)


class BpeSampler:
    """Merges the characters of a word, and skips each merge with probability `alpha`.

    As in SentencePiece, a skipped pair stays skipped until one of its pieces changes.
    """

    def __init__(self, pieces: PieceTable, seed: int, alpha: float) -> None:
        self._pieces, self._alpha = pieces, alpha
        self._random = random.Random(seed).random

    def sample(self, word: str) -> list[int]:
        """Sample a segmentation and return its ids."""
        score = self._pieces.scores.get
        symbols = list(word)
        # Of each symbol and the next one; None if they cannot be merged.
        scores = [score(left + right) for left, right in itertools.pairwise(symbols)]
        while True:
            best_score, best = -math.inf, -1
            for index, value in enumerate(scores):
                if value is not None and value > best_score:
                    best_score, best = value, index
            if best < 0:
                return self._pieces.to_ids([self._pieces.code(symbol) for symbol in symbols])
            if self._random() < self._alpha:
                scores[best] = None
                continue
            symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
            del scores[best]
            for left in (best - 1, best):
                if 0 <= left < len(scores):
                    scores[left] = score(symbols[left] + symbols[left + 1])
