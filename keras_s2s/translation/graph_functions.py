"""What a model answers to raw text: the graph functions behind the signatures of an export."""

import tensorflow as tf

from keras_s2s.decoding.beam_search import beam_search
from keras_s2s.decoding.config import SearchConfig
from keras_s2s.decoding.greedy_search import greedy_search, score_targets
from keras_s2s.decoding.unknown_replacement import replace_unknown
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import Tokenizer, text_mask

Outputs = dict[str, tf.Tensor]


class GraphFunctions:
    """Raw sentences in, raw sentences out, as graph code.

    A subclass has the attributes; see `Translator`.
    """

    model: Seq2Seq
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    num_steps: int
    search_config: SearchConfig

    def answer(self, text: tf.Tensor) -> Outputs:
        """What the signature `serving_default` computes: greedy search.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            - `translation`: string, (batch,), valid UTF-8; empty for a sentence without a word.
            - `score`: float32, (batch,), the log-probability of the whole answer in nats.
            - `num_tokens`: int32, (batch,), the tokens that the score is the sum of; the end of
              the sentence counts as one.
        """
        source = self._source(text)
        result = greedy_search(self.model, *source, self.num_steps)
        attention = None if result.attention is None else result.attention[:, None]
        return {
            "translation": self._texts(
                text, source[1], result.ids[:, None], result.lengths[:, None], attention
            )[:, 0],
            "score": result.log_probabilities,
            "num_tokens": result.lengths,
        }

    def beam(
        self, text: tf.Tensor, beam_size: int | None = None, n_best: int | None = None
    ) -> Outputs:
        """What the signature `beam` computes: all that beam search ends with.

        Args:
            text: string tensor, shape (batch,); any bytes.
            beam_size: how many translations the search keeps in view; the translator's own when
                left out.
            n_best: how many of them to give; all when left out. The fewer, the sooner the search
                is sure of them.

        Returns:
            - `translations`: string, (batch, n_best), best first; valid UTF-8.
            - `scores`: float32, (batch, n_best), by which they are ranked: log-probabilities
              in nats, divided by the length penalty; see `beam_search`. Where a sentence has fewer
              answers, the others are empty and have the lowest number there is.
        """
        size = self.search_config.beam_size if beam_size is None else beam_size
        source = self._source(text)
        result = beam_search(
            self.model,
            *source,
            self.num_steps,
            size,
            n_best=n_best or size,
            length_penalty=self.search_config.length_penalty,
            coverage_penalty=self.search_config.coverage_penalty,
        )
        return {
            "translations": self._texts(
                text, source[1], result.ids, result.lengths, result.attention
            ),
            # Minus infinity is not a number in JSON.
            "scores": tf.maximum(result.scores, tf.float32.min),
        }

    def score(self, text: tf.Tensor, reference: tf.Tensor) -> Outputs:
        """What the signature `score` computes: how probable a given translation is.

        Args:
            text: string tensor, shape (batch,).
            reference: string tensor, shape (batch,).

        Returns:
            - `score`: float32, (batch,), the log-probability of the reference in nats.
            - `num_tokens`: int32, (batch,), the tokens that it is the sum of; the end of the
              sentence counts as one.
        """
        # One place for <bos> more than an answer needs, so that every answer can be scored.
        target = self.target_tokenizer.encode_target(reference, self.num_steps + 2)
        score, num_tokens = score_targets(self.model, self._source(text), target)
        return {"score": score, "num_tokens": num_tokens}

    def explain(self, text: tf.Tensor) -> Outputs:
        """What the signature `explain` computes: the greedy answer, token by token.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            - `source_tokens`: string, (batch, num_steps), what the encoder reads at each step;
              empty past the end.
            - `target_tokens`: string, (batch, num_steps), the answer as it was found, with
              `<eos>`; empty past the end.
            - `attention`: float32, (batch, num_steps, num_steps): how much each target token
              looks at each source token. The rows of tokens sum to 1.

        Raises:
            ValueError: the model does not attend.
        """
        result = greedy_search(self.model, *self._source(text), self.num_steps)
        if result.attention is None:
            raise ValueError("only a model with attention can explain its answers")
        tokens = self.target_tokenizer.tokens_of(result.ids)
        missing = self.num_steps - tf.shape(result.attention)[2]
        return {
            "source_tokens": self.source_tokenizer.source_tokens(text, self.num_steps),
            "target_tokens": tf.where(tf.sequence_mask(result.lengths, self.num_steps), tokens, ""),
            "attention": tf.ensure_shape(
                tf.pad(result.attention, [[0, 0], [0, 0], [0, missing]]),
                (None, self.num_steps, self.num_steps),
            ),
        }

    def _source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the encoder reads, no longer than the longest sentence."""
        ids, valid_length = self.source_tokenizer.encode_source(text, self.num_steps)
        longest = tf.maximum(tf.reduce_max(valid_length), 1)
        return ids[:, :longest], valid_length

    def _texts(
        self,
        text: tf.Tensor,
        valid_length: tf.Tensor,
        ids: tf.Tensor,
        lengths: tf.Tensor,
        attention: tf.Tensor | None,
    ) -> tf.Tensor:
        """Answers as text, (batch, answers), with words of the source in place of unknown ones.

        Args:
            text: the sources, (batch,).
            valid_length: of the sources, (batch,).
            ids: of the answers, (batch, answers, num_steps).
            lengths: of the answers, (batch, answers).
            attention: (batch, answers, num_steps, source steps), or None.
        """
        answers = ids.shape[1]
        rows = tf.shape(text)[0] * answers
        ids, lengths = tf.reshape(ids, (rows, self.num_steps)), tf.reshape(lengths, (rows,))
        if self.search_config.replace_unknown:
            source_steps = tf.shape(attention)[3]
            source_tokens = self.source_tokenizer.source_tokens(text, self.num_steps)
            tokens = replace_unknown(
                self.target_tokenizer.tokens_of(ids),
                tf.repeat(source_tokens[:, :source_steps], answers, axis=0),
                tf.reshape(attention, (rows, self.num_steps, source_steps)),
                tf.repeat(valid_length, answers),
            )
            texts = self.target_tokenizer.join(tokens, text_mask(ids, lengths))
        else:
            texts = self.target_tokenizer.detokenize(ids, lengths)
        return tf.reshape(texts, (-1, answers))
