"""The decoder: from the encoder's state to the logits of the target tokens."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.attention import Attention, Memory, apply_to_last_axis
from keras_s2s.layers.copying import CopyMemory, known_target, make_copying
from keras_s2s.layers.embedding_rnn import EmbeddingRNN
from keras_s2s.layers.initializers import make_dense
from keras_s2s.layers.input_feeding import loop_over_steps
from keras_s2s.layers.output_projection import OutputProjectionMixin
from keras_s2s.layers.stacked_rnn import LayerMasks, State
from keras_s2s.layers.state_bridge import bridge_state, build_bridges, make_bridges
from keras_s2s.utils.checks import check_fraction, check_ints


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2SeqDecoder(OutputProjectionMixin, EmbeddingRNN):
    """Embedding, multi-layer LSTM or GRU started from the encoder's state, and a dense layer.

    One layer used two ways: over all steps of a known target in training, and step by step in
    search. Both use the same weights and compute the same logits.

    With attention, the attentional hidden state tanh(W [c; h]) replaces each output h of the last
    layer, with its context vector c (Luong, Pham and Manning, 2015).

    Args:
        vocab_size: number of target tokens.
        embed_size: width of the embedding.
        num_hiddens: width of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: dropout rate between two recurrent layers.
        attention: None, as in the chapter, or the score function: `"luong"`, `"luong-dot"` or
            `"bahdanau"`; see `keras_s2s.layers.Attention`. "bahdanau" is the additive score,
            applied after the recurrent layers like Luong's.
        input_feeding: with attention, whether the attentional hidden state is also fed to the
            first recurrent layer at the next step. Training is slower: it loops over the steps.
        tie_embeddings: whether the dense layer shares the embedding's weights (Press and Wolf,
            2017). Its inputs then have the width `embed_size`, else `num_hiddens`.
        output_dropout: dropout rate of the dense layer's inputs.
        encoder_num_hiddens: the encoder's, if it is not the decoder's.
        encoder_num_layers: likewise. Dense layers ("bridges") convert the state of an encoder of
            another shape.
        embed_dropout: see `Seq2SeqEncoder`, like `recurrent_dropout`, `cell`, `residual` and
            `init_scale`.
        copy: whether source tokens can be copied: True if both sides have one vocabulary, else
            `copy_map(source_tokenizer, target_tokenizer)`; see `layers.copying.Copying`.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an unknown attention or cell; input feeding or copying without attention.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`Seq2SeqDecoder`).

    Example:

    >>> from keras_s2s import Seq2SeqEncoder
    >>> encoder = Seq2SeqEncoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> decoder = Seq2SeqDecoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> ids = tf.zeros((4, 7), tf.int32)
    >>> logits, state = decoder(ids, decoder.init_state(encoder(ids)))
    >>> logits.shape, state[0].shape
    (TensorShape([4, 7, 10]), TensorShape([2, 4, 16]))

    With attention it also needs the encoder's outputs:

    >>> decoder = Seq2SeqDecoder(10, embed_size=8, num_hiddens=16, num_layers=2, attention="luong")
    >>> encoded = encoder(ids)
    >>> memory = decoder.setup_memory(encoded, valid_length=tf.constant([7, 5, 3, 0]))
    >>> logits, state = decoder(ids, decoder.init_state(encoded), memory)
    >>> logits, state, weights = decoder.step(ids[:, 0], state, memory)
    >>> weights.shape, weights[2].numpy().sum().round(3), weights[2, 3:].numpy().sum()
    (TensorShape([4, 7]), np.float32(1.0), np.float32(0.0))
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        num_hiddens: int,
        num_layers: int,
        dropout: float = 0.0,
        attention: str | None = None,
        input_feeding: bool = False,
        tie_embeddings: bool = False,
        output_dropout: float = 0.0,
        encoder_num_hiddens: int | None = None,
        encoder_num_layers: int | None = None,
        *,
        embed_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        cell: str = "lstm",
        residual: bool = False,
        init_scale: float | None = None,
        copy: bool | Sequence[int] = False,
        **kwargs: Any,
    ) -> None:
        for name, given in (("copy", copy is not False), ("input_feeding", input_feeding)):
            if given and attention is None:
                raise ValueError(f"{name} needs attention; give attention='luong'")
        if kwargs.pop("bidirectional", False):
            raise ValueError("a decoder cannot be bidirectional; remove bidirectional")
        check_fraction("output_dropout", output_dropout)
        encoder_num_hiddens = num_hiddens if encoder_num_hiddens is None else encoder_num_hiddens
        encoder_num_layers = num_layers if encoder_num_layers is None else encoder_num_layers
        self.output_size = embed_size if tie_embeddings else num_hiddens
        super().__init__(
            vocab_size,
            embed_size,
            num_hiddens,
            num_layers,
            dropout=dropout,
            embed_dropout=embed_dropout,
            recurrent_dropout=recurrent_dropout,
            cell=cell,
            residual=residual,
            init_scale=init_scale,
            feed_size=self.output_size if input_feeding else 0,
            **kwargs,
        )
        check_ints(encoder_num_hiddens=encoder_num_hiddens, encoder_num_layers=encoder_num_layers)
        self.output_shape = (None, None, vocab_size)
        self.attention = attention
        self.input_feeding = input_feeding
        self.tie_embeddings = tie_embeddings
        self.output_dropout = output_dropout
        self.encoder_num_hiddens = encoder_num_hiddens
        self.encoder_num_layers = encoder_num_layers

        def dense(name: str, units: int, **options: Any) -> keras.layers.Dense:
            return make_dense(name, units, init_scale, self.dtype_policy, **options)

        self.bridges = []
        if (encoder_num_layers, encoder_num_hiddens) != (num_layers, num_hiddens):
            self.bridges = make_bridges(cell, num_layers * num_hiddens, dense)
        self.attention_layer = None
        self.output_layer = None
        if attention is not None:
            self.attention_layer = Attention(
                attention,
                num_hiddens,
                encoder_num_hiddens,
                init_scale,
                dtype=self.dtype_policy,
                name="attention",
            )
            self.output_layer = dense(
                "attentional", self.output_size, activation="tanh", use_bias=False
            )
        elif self.output_size != num_hiddens:
            self.output_layer = dense("output", self.output_size, use_bias=False)
        self.output_dropout_layer = keras.layers.Dropout(output_dropout, dtype=self.dtype_policy)
        self.dense = None if tie_embeddings else dense("dense", vocab_size)
        self.copying = make_copying(copy, self)

    def build(self, input_shape: Any = None) -> None:
        super().build()
        build_bridges(self.bridges, self.encoder_num_layers * self.encoder_num_hiddens)
        width = self.num_hiddens
        if self.attention_layer is not None:
            if not self.attention_layer.built:
                self.attention_layer.build()
            width += self.encoder_num_hiddens
        if self.output_layer is not None:
            self.output_layer.build((None, width))
        if self.copying is not None:
            self.copying.build()
        self.build_projection()
        self.built = True

    def init_state(self, encoder_outputs: tuple[tf.Tensor, State]) -> State:
        """Compute the initial state from the encoder's outputs and state.

        Returns:
            The encoder's state, converted by the bridges if there are any: `[h, c]` or, with GRU
            cells, `[h]`, each (num_layers, batch, num_hiddens); with input feeding also zeros for
            the attentional hidden state of the step before, (1, batch, output_size).
        """
        _, state = encoder_outputs
        state = bridge_state(self.bridges, state, self.num_layers, self.num_hiddens)
        if self.input_feeding:
            feed = tf.zeros((1, tf.shape(state[0])[1], self.output_size), self.compute_dtype)
            state = [*state, feed]
        return state

    def setup_memory(
        self,
        encoder_outputs: tuple[tf.Tensor, State],
        valid_length: tf.Tensor | None = None,
        source_ids: tf.Tensor | None = None,
    ) -> Memory | CopyMemory | None:
        """Compute the attention memory, once for all steps; None without attention.

        Args:
            encoder_outputs: the encoder's outputs and state.
            valid_length: of the sources, integers, (batch,); None if there is no padding.
            source_ids: of the sources, integers, (batch, source steps); for a copying decoder.
        """
        if self.attention_layer is None:
            return None
        memory = self.attention_layer.setup_memory(encoder_outputs[0], valid_length)
        return memory if self.copying is None else self.copying.setup_memory(memory, source_ids)

    remember = setup_memory  # earlier name

    def call(
        self,
        target_ids: tf.Tensor,
        state: State,
        memory: Memory | CopyMemory | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Decode known targets: step i reads token i and predicts token i + 1.

        Args:
            target_ids: integers, (batch, steps).
            state: of `init_state`.
            memory: of `setup_memory`; needed with attention.
            training: whether dropout is active.

        Returns:
            Logits, float32 or float64, (batch, steps, vocab_size), and the state after all steps.
            With copying log-probabilities, (batch, steps, vocab_size + source steps).
        """
        outputs, state, attention = self.decode_attending(target_ids, state, memory, training)
        outputs = tf.transpose(outputs, (1, 0, 2))
        logits = self.logits(outputs)
        if self.copying is not None:
            logits = self.copying.log_probabilities(outputs, logits, attention, memory)
        return logits, state

    def decode_hidden(
        self,
        target_ids: tf.Tensor,
        state: State,
        memory: Memory | CopyMemory | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Compute `decode_attending` without the attention weights."""
        return self.decode_attending(target_ids, state, memory, training)[:2]

    read = decode_hidden  # earlier name

    def decode_attending(
        self,
        target_ids: tf.Tensor,
        state: State,
        memory: Memory | CopyMemory | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """Compute `call` up to the dense layer, for training, which needs no logits at padding.

        Returns:
            The inputs of the dense layer, time-major, (steps, batch, output_size), the state after
            the last step, and the attention weights, (batch, steps, source steps), or None.
        """
        embedded = self.embed(tf.transpose(known_target(self.copying, target_ids)), training)
        if self.input_feeding:
            step_fn = functools.partial(self._hidden_step, memory=memory)
            masks = self.rnn.dropout_masks(tf.shape(embedded)[0], tf.shape(embedded)[1], training)
            outputs, state, weights = loop_over_steps(
                step_fn, embedded, state, masks, self.output_size, self.copying is not None
            )
        else:
            outputs, state = self.rnn(embedded, state=state, training=training)
            outputs, weights = self._attend(outputs, memory, time_major=True)
        return self.output_dropout_layer(outputs, training=training), state, weights

    def _attend(
        self, outputs: tf.Tensor, memory: Memory | CopyMemory | None, time_major: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Convert the last layer's outputs to the dense layer's inputs and attention weights."""
        if self.output_layer is None:
            return outputs, None
        if self.attention_layer is None:
            return self.output_layer(outputs), None
        if memory is None:
            raise ValueError("a decoder with attention needs memory; give that of `setup_memory`")
        queries = tf.transpose(outputs, (1, 0, 2)) if time_major else outputs
        context, weights = self.attention_layer(queries, memory)
        if time_major:
            context = tf.transpose(context, (1, 0, 2))
        attentional = tf.concat([context, outputs], axis=-1)
        return apply_to_last_axis(self.output_layer, attentional), weights

    def _hidden_step(
        self,
        embedded: tf.Tensor,
        state: State,
        masks: list[LayerMasks] | None = None,
        memory: Memory | CopyMemory | None = None,
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """Compute `step` up to the dense layer, from embeddings (rows, embed_size)."""
        inputs = embedded
        if self.input_feeding:
            *state, feed = state
            inputs = tf.concat([embedded, tf.cast(feed[0], embedded.dtype)], axis=-1)
        outputs, state = self.rnn.step(inputs, state, masks)
        weights = None
        if memory is None:
            outputs, _ = self._attend(outputs, None)
        else:
            rows, sentences = tf.shape(outputs)[0], tf.shape(memory.mask)[0]
            hypotheses = rows // tf.maximum(sentences, 1)
            outputs, weights = self._attend(
                tf.reshape(outputs, (sentences, hypotheses, self.num_hiddens)), memory
            )
            outputs = tf.reshape(outputs, (rows, self.output_size))
            weights = tf.reshape(weights, (rows, tf.shape(memory.mask)[1]))
        if self.input_feeding:
            state = [*state, outputs[None]]
        return outputs, state, weights

    def step(
        self, target_ids: tf.Tensor, state: State, memory: Memory | CopyMemory | None = None
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """Decode one step, for search.

        Args:
            target_ids: integers, (rows,): the previous tokens. The rows are those of the memory,
                or as many adjacent ones for each of them: the hypotheses of a sentence.
            state: as for `call`, for each row.
            memory: as for `call`.

        Returns:
            Logits, (rows, vocab_size), the new state, and the attention weights, (rows, source
            steps), or None.
        """
        embedded = self.embedding(known_target(self.copying, target_ids))
        outputs, state, weights = self._hidden_step(embedded, state, memory=memory)
        logits = self.logits(outputs)
        if self.copying is not None:
            logits = self.copying.log_probabilities(outputs, logits, weights, memory)
        return logits, state, weights

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "attention": self.attention,
            "input_feeding": self.input_feeding,
            "tie_embeddings": self.tie_embeddings,
            "output_dropout": self.output_dropout,
            "encoder_num_hiddens": self.encoder_num_hiddens,
            "encoder_num_layers": self.encoder_num_layers,
            "copy": self.copying is not None and list(self.copying.source_to_target),
        }
