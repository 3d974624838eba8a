"""Graph functions from raw text to raw text: the signatures of an export."""

from typing import Any

import tensorflow as tf

from keras_s2s.decoding.beam_search import beam_search
from keras_s2s.decoding.config import SearchConfig
from keras_s2s.decoding.greedy_search import greedy_search, score_targets, score_tokens
from keras_s2s.decoding.unknown_replacement import replace_unknown
from keras_s2s.layers.copying import known_source
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.copied_tokens import copying_ids, tokens_of_extended
from keras_s2s.tokenizers.tokenizer import BOS, UNK, Tokenizer, text_mask

Outputs = dict[str, tf.Tensor]


class GraphFunctions:
    """The signatures of a translator; a subclass has the attributes."""

    model: Seq2Seq
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    num_steps: int
    search_config: SearchConfig
    min_confidence: float | None = None

    def answer(self, text: tf.Tensor) -> Outputs:
        """Compute the signature `serving_default`: greedy search.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            - `translation`: string, (batch,), valid UTF-8; empty for an empty sentence.
            - `score`: float32, (batch,), the log-probability of the hypothesis in nats.
            - `num_tokens`: int32, (batch,), its number of tokens, `<eos>` included.
            - `confidence`: float32, (batch,), the probability of the hypothesis, 0 to 1.
            - `num_unknown`: int32, (batch,), the number of source tokens that the model does not
              know.
            - `guarded`, in an export with a `min_confidence`: string, (batch,), the translation, or
              "" where the confidence is lower.
        """
        source = self._encode(text)
        result = greedy_search(self.model, *source, self.num_steps)
        attention = None if result.attention is None else result.attention[:, None]
        outputs = {
            "translation": self._detokenize(
                text, source[1], result.ids[:, None], result.lengths[:, None], attention
            )[:, 0],
            "score": result.log_probabilities,
            "num_tokens": result.lengths,
            "confidence": tf.exp(result.log_probabilities),
            "num_unknown": tf.reduce_sum(self._is_unknown(*source), axis=1),
        }
        if self.min_confidence is not None:
            is_sure = outputs["confidence"] >= self.min_confidence
            outputs["guarded"] = tf.where(is_sure, outputs["translation"], "")
        return outputs

    def beam(
        self, text: tf.Tensor, beam_size: int | None = None, n_best: int | None = None
    ) -> Outputs:
        """Compute the signature `beam`: the hypotheses of a beam search.

        Args:
            text: string tensor, shape (batch,); any bytes.
            beam_size: by default that of the translator.
            n_best: number of hypotheses to return; all by default. The search stops earlier with
                fewer.

        Returns:
            - `translations`: string, (batch, n_best), best first; valid UTF-8.
            - `scores`: float32, (batch, n_best), log-probabilities in nats, divided by the length
              penalty; see `beam_search`. Missing hypotheses are empty and have the lowest float32.
            - `confidences`: float32, (batch, n_best), the probability of each hypothesis, 0 to 1.
            - `num_unknown`: int32, (batch,), the number of source tokens that the model does not
              know.
        """
        config = self.search_config
        size = config.beam_size if beam_size is None else beam_size
        source = self._encode(text)
        result = beam_search(
            self.model,
            *source,
            self.num_steps,
            size,
            n_best=n_best or size,
            length_penalty=config.length_penalty,
            coverage_penalty=config.coverage_penalty,
        )
        return {
            "translations": self._detokenize(
                text, source[1], result.ids, result.lengths, result.attention
            ),
            # JSON has no infinity.
            "scores": tf.maximum(result.scores, tf.float32.min),
            "confidences": tf.exp(result.log_probabilities),
            "num_unknown": tf.reduce_sum(self._is_unknown(*source), axis=1),
        }

    def score(self, text: tf.Tensor, reference: tf.Tensor) -> Outputs:
        """Compute the signature `score`: the log-probability of given translations.

        Args:
            text: string tensor, shape (batch,).
            reference: string tensor, shape (batch,).

        Returns:
            - `score`: float32, (batch,), the log-probability of the reference in nats.
            - `num_tokens`: int32, (batch,), its number of tokens, `<eos>` included.
        """
        # Room for <bos> and <eos>, so that every hypothesis can be scored.
        num_steps = self.num_steps + 2
        if self.model.decoder.copying is None:
            source = self._encode(text)
            target = self.target_tokenizer.encode_target(reference, num_steps)
        else:
            ids, target_ids = self._copying_ids(text, reference)
            source = _trim(self.source_tokenizer.pad(ids, self.num_steps))
            target = self.target_tokenizer.frame(target_ids, num_steps)
        score, num_tokens = score_targets(self.model, source, target)
        return {"score": score, "num_tokens": num_tokens}

    def explain(self, text: tf.Tensor) -> Outputs:
        """Compute the signature `explain`: the attention of the greedy hypothesis.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            - `source_tokens`: string, (batch, num_steps), the input of the encoder, padded with "".
            - `target_tokens`: string, (batch, num_steps), the hypothesis with `<eos>`, padded
              with "".
            - `attention`: float32, (batch, num_steps, num_steps): the weights of each target token
              over the source tokens, which sum to 1.
            - `probabilities`: float32, (batch, num_steps): the probability of each target token
              given the ones before it, 0 at padding.
            - `unknown_source`: int32, (batch, num_steps): 1 at source tokens that the model does
              not know, else 0.

        Raises:
            ValueError: the model has no attention.
        """
        source = self._encode(text)
        result = greedy_search(self.model, *source, self.num_steps)
        if result.attention is None:
            raise ValueError("explain needs a model with attention, and this one has none")
        tokens = self._tokens_of(result.ids, text)
        is_token = tf.sequence_mask(result.lengths, self.num_steps)
        with_bos = tf.pad(result.ids, [[0, 0], [1, 0]], constant_values=BOS)
        log_probabilities, _ = score_tokens(self.model, source, (with_bos, result.lengths + 1))
        padding = self.num_steps - tf.shape(result.attention)[2]
        return {
            "source_tokens": self.source_tokenizer.source_tokens(text, self.num_steps),
            "target_tokens": tf.where(is_token, tokens, ""),
            "attention": tf.ensure_shape(
                tf.pad(result.attention, [[0, 0], [0, 0], [0, padding]]),
                (None, self.num_steps, self.num_steps),
            ),
            "probabilities": tf.ensure_shape(
                tf.where(is_token, tf.exp(tf.cast(log_probabilities, tf.float32)), 0.0),
                (None, self.num_steps),
            ),
            "unknown_source": tf.ensure_shape(
                tf.pad(self._is_unknown(*source), [[0, 0], [0, padding]]), (None, self.num_steps)
            ),
        }

    def _encode(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ids and valid lengths, trimmed to the longest sentence."""
        if self.model.decoder.copying is None:
            return _trim(self.source_tokenizer.encode_source(text, self.num_steps))
        return _trim(self.source_tokenizer.pad(self._copying_ids(text)[0], self.num_steps))

    def _is_unknown(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Return 1 at source tokens that are `<unk>` to the encoder, int32, (batch, steps)."""
        is_unknown = known_source(self.model.decoder.copying, ids) == UNK
        return tf.cast(tf.sequence_mask(valid_length, tf.shape(ids)[1]) & is_unknown, tf.int32)

    def _copying_ids(self, text: tf.Tensor, reference: tf.Tensor | None = None) -> Any:
        """Return ids of the extended vocabularies; see `copying_ids`."""
        tokenizers = self.source_tokenizer, self.target_tokenizer
        return copying_ids(*tokenizers, text, reference, self.num_steps)

    def _tokens_of(self, ids: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        """Return the tokens of hypotheses, (rows, num_steps), as many for each text."""
        if self.model.decoder.copying is None:
            return self.target_tokenizer.tokens_of(ids)
        tokens = self.source_tokenizer.split_text(text).to_tensor("", shape=(None, self.num_steps))
        hypotheses = tf.shape(ids)[0] // tf.maximum(tf.shape(text)[0], 1)
        source_tokens = tf.repeat(tokens, hypotheses, axis=0)
        return tokens_of_extended(self.target_tokenizer, ids, source_tokens)

    def _detokenize(
        self,
        text: tf.Tensor,
        valid_length: tf.Tensor,
        ids: tf.Tensor,
        lengths: tf.Tensor,
        attention: tf.Tensor | None,
    ) -> tf.Tensor:
        """Convert hypotheses to text, (batch, n_best), replacing `<unk>` if the options say so.

        Args:
            text: the sources, (batch,).
            valid_length: of the sources, (batch,).
            ids: of the hypotheses, (batch, n_best, num_steps).
            lengths: of the hypotheses, (batch, n_best).
            attention: (batch, n_best, num_steps, source steps), or None.
        """
        n_best = ids.shape[1]
        rows = tf.shape(text)[0] * n_best
        ids, lengths = tf.reshape(ids, (rows, self.num_steps)), tf.reshape(lengths, (rows,))
        if self.search_config.replace_unknown:
            source_steps = tf.shape(attention)[3]
            source_tokens = self.source_tokenizer.source_tokens(text, self.num_steps)
            tokens = replace_unknown(
                self._tokens_of(ids, text),
                tf.repeat(source_tokens[:, :source_steps], n_best, axis=0),
                tf.reshape(attention, (rows, self.num_steps, source_steps)),
                tf.repeat(valid_length, n_best),
            )
            texts = self.target_tokenizer.join(tokens, text_mask(ids, lengths))
        elif self.model.decoder.copying is not None:
            texts = self.target_tokenizer.join(self._tokens_of(ids, text), text_mask(ids, lengths))
        else:
            texts = self.target_tokenizer.detokenize(ids, lengths)
        return tf.reshape(texts, (-1, n_best))


def _trim(source: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    ids, valid_length = source
    longest = tf.maximum(tf.reduce_max(valid_length), 1)
    return ids[:, :longest], valid_length
