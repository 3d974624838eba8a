"""The decoder: from the encoder's state, a sentence word by word."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.attention import Attention, Memory, apply_to_last_axis
from keras_s2s.layers.embedding_rnn import EmbeddingRNN
from keras_s2s.layers.initializers import initializer
from keras_s2s.layers.stacked_rnn import CELLS, State
from keras_s2s.utils.checks import check_fraction, check_ints


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2SeqDecoder(EmbeddingRNN):
    """Embedding, multi-layer LSTM or GRU started from the encoder's state, and a dense layer.

    One layer used two ways: over all steps of a known target in training, and step by step in
    search. Both go through the same weights and give the same logits.

    With attention, each output h of the last layer selects a context c from the encoder's outputs,
    and tanh(W [c; h]) takes its place, as in Luong, Pham and Manning (2015).

    Args:
        vocab_size: number of target tokens.
        embed_size: width of the embedding.
        num_hiddens: width of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: share of the values set to zero between two layers in training.
        attention: None, as in the chapter, or how the encoder's outputs are scored: `"luong"`,
            `"luong-dot"` or `"bahdanau"`; see `keras_s2s.attention.Attention`. "bahdanau" is the
            additive score, in Luong's place: after the recurrent layers.
        input_feeding: with attention, whether what goes into the dense layer is also given to the
            first recurrent layer at the next step. The steps of training then have to be taken
            one by one, which costs time.
        tie_embeddings: whether the dense layer's weights are the embedding's (Press and Wolf,
            2017). What goes into it has `embed_size` values then, else `num_hiddens`.
        output_dropout: share of what goes into the dense layer set to zero in training.
        encoder_num_hiddens: the encoder's; when left out, the decoder's own.
        encoder_num_layers: likewise. An encoder of another shape gives its state by way of a
            dense layer, a "bridge".
        **kwargs: `embed_dropout`, `recurrent_dropout`, `cell`, `residual` and `init_scale` as in
            `Seq2SeqEncoder`, and those of `keras.layers.Layer`.

    Raises:
        ValueError: an unknown attention or cell, input feeding without attention.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`Seq2SeqDecoder`).

    Example:

    >>> from keras_s2s import Seq2SeqEncoder
    >>> encoder = Seq2SeqEncoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> decoder = Seq2SeqDecoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> ids = tf.zeros((4, 7), tf.int32)
    >>> logits, state = decoder(ids, decoder.init_state(encoder(ids)))
    >>> logits.shape, state[0].shape
    (TensorShape([4, 7, 10]), TensorShape([2, 4, 16]))

    With attention it also needs what the encoder put out:

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
        **kwargs: Any,
    ) -> None:
        if input_feeding and attention is None:
            raise ValueError("input_feeding needs attention; give attention='luong'")
        if kwargs.get("bidirectional"):
            raise ValueError(
                "a decoder cannot read what it has yet to write; leave out bidirectional"
            )
        check_fraction("output_dropout", output_dropout)
        of_encoder = {
            "encoder_num_hiddens": encoder_num_hiddens,
            "encoder_num_layers": encoder_num_layers,
        }
        check_ints(**{name: v for name, v in of_encoder.items() if v is not None})
        self.output_size = embed_size if tie_embeddings else num_hiddens
        super().__init__(
            vocab_size,
            embed_size,
            num_hiddens,
            num_layers,
            dropout,
            fed_size=self.output_size if input_feeding else 0,
            **kwargs,
        )
        self.attention = attention
        self.input_feeding = input_feeding
        self.tie_embeddings = tie_embeddings
        self.output_dropout = output_dropout
        self.encoder_num_hiddens = encoder_num_hiddens or num_hiddens
        self.encoder_num_layers = encoder_num_layers or num_layers

        def dense(name: str, units: int, **options: Any) -> keras.layers.Dense:
            return keras.layers.Dense(
                units,
                kernel_initializer=initializer(self.init_scale),
                dtype=self.dtype_policy,
                name=name,
                **options,
            )

        same_shape = (self.encoder_num_layers, self.encoder_num_hiddens) == (
            num_layers,
            num_hiddens,
        )
        self.bridges = (
            []
            if same_shape
            else [
                dense(f"bridge_{part}", num_layers * num_hiddens, activation=activation)
                for part, activation in zip("hc"[: CELLS[self.cell]], ("tanh", None), strict=False)
            ]
        )
        self.attention_layer = None
        self.output_layer = None
        if attention is not None:
            self.attention_layer = Attention(
                attention,
                num_hiddens,
                self.encoder_num_hiddens,
                self.init_scale,
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

    def build(self, input_shape: Any = None) -> None:
        super().build()
        for bridge in self.bridges:
            if not bridge.built:  # by `init_state`
                bridge.build((None, self.encoder_num_layers * self.encoder_num_hiddens))
        width = self.num_hiddens
        if self.attention_layer is not None:
            if not self.attention_layer.built:
                self.attention_layer.build()
            width += self.encoder_num_hiddens
        if self.output_layer is not None:
            self.output_layer.build((None, width))
        if self.dense is not None:
            self.dense.build((None, self.output_size))
        else:
            self.output_bias = self.add_weight(
                shape=(self.vocab_size,), initializer="zeros", name="output_bias"
            )
        self.built = True

    def init_state(self, encoder_outputs: tuple[tf.Tensor, State]) -> State:
        """The state to start from, given what the encoder returned.

        Returns:
            The encoder's own state, or what the bridges make of it: `[h, c]` or, with GRU cells,
            `[h]`, each (num_layers, batch, num_hiddens); with input feeding also zeros in place
            of what went into the dense layer the step before, (1, batch, output_size).
        """
        _, state = encoder_outputs
        if self.bridges:
            batch = tf.shape(state[0])[1]
            width = self.encoder_num_layers * self.encoder_num_hiddens
            state = [
                tf.transpose(
                    tf.reshape(
                        bridge(tf.reshape(tf.transpose(part, (1, 0, 2)), (batch, width))),
                        (batch, self.num_layers, self.num_hiddens),
                    ),
                    (1, 0, 2),
                )
                for bridge, part in zip(self.bridges, state, strict=True)
            ]
        if self.input_feeding:
            nothing = tf.zeros((1, tf.shape(state[0])[1], self.output_size), self.compute_dtype)
            state = [*state, nothing]
        return state

    def setup_memory(
        self, encoder_outputs: tuple[tf.Tensor, State], valid_length: tf.Tensor | None = None
    ) -> Memory | None:
        """What attention looks at, once for all steps; None without attention.

        Args:
            encoder_outputs: what the encoder returned.
            valid_length: of the sources, integers, (batch,).
        """
        if self.attention_layer is None:
            return None
        return self.attention_layer.setup_memory(encoder_outputs[0], valid_length)

    # The name before 0.2.
    remember = setup_memory

    def call(
        self,
        target_ids: tf.Tensor,
        state: State,
        memory: Memory | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Decodes known targets: step i reads token i and predicts token i + 1.

        Args:
            target_ids: integer tensor, shape (batch, steps).
            state: as `init_state` gives it.
            memory: as `setup_memory` gives it; needed with attention.
            training: whether dropout is active.

        Returns:
            Logits, float32, shape (batch, steps, vocab_size), and the state after the last step.
        """
        outputs, state = self.decode_hidden(target_ids, state, memory, training)
        return self.logits(tf.transpose(outputs, (1, 0, 2))), state

    def decode_hidden(
        self,
        target_ids: tf.Tensor,
        state: State,
        memory: Memory | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """What `call` does before the dense layer.

        Training goes on from here, since it needs no logits at padding.

        Returns:
            What goes into the dense layer, steps first: (steps, batch, output_size); and the
            state after the last step.
        """
        embedded = self.embed(tf.transpose(target_ids), training)
        if self.input_feeding:
            outputs, state = self._read_step_by_step(embedded, state, memory, training)
        else:
            outputs, state = self.rnn(embedded, state=state, training=training)
            outputs, _ = self._attend(outputs, memory, steps_first=True)
        return self.output_dropout_layer(outputs, training=training), state

    def _attend(
        self, outputs: tf.Tensor, memory: Memory | None, steps_first: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """From outputs of the last layer to what goes into the dense layer, and the attention."""
        if self.output_layer is None:
            return outputs, None
        if self.attention_layer is None:
            return self.output_layer(outputs), None
        if memory is None:
            raise ValueError("this decoder attends; give it the memory that `setup_memory` makes")
        queries = tf.transpose(outputs, (1, 0, 2)) if steps_first else outputs
        context, weights = self.attention_layer(queries, memory)
        if steps_first:
            context = tf.transpose(context, (1, 0, 2))
        return apply_to_last_axis(
            self.output_layer, tf.concat([context, outputs], axis=-1)
        ), weights

    def _advance(
        self,
        embedded: tf.Tensor,
        state: State,
        memory: Memory | None,
        masks: list[Any] | None = None,
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """One step, from the embeddings of the tokens before, (rows, embed_size).

        Rows can be a multiple of the sentences in the memory: those of one sentence, the branches
        of its search, follow each other.
        """
        given = embedded
        if self.input_feeding:
            *state, fed = state
            given = tf.concat([embedded, tf.cast(fed[0], embedded.dtype)], axis=-1)
        outputs, state = self.rnn.step(given, state, masks)
        weights = None
        if memory is None:
            outputs, _ = self._attend(outputs, None)
        else:
            rows, sentences = tf.shape(outputs)[0], tf.shape(memory.mask)[0]
            branches = rows // tf.maximum(sentences, 1)
            outputs, weights = self._attend(
                tf.reshape(outputs, (sentences, branches, self.num_hiddens)), memory
            )
            outputs = tf.reshape(outputs, (rows, self.output_size))
            weights = tf.reshape(weights, (rows, tf.shape(memory.mask)[1]))
        if self.input_feeding:
            state = [*state, outputs[None]]
        return outputs, state, weights

    def _read_step_by_step(
        self, embedded: tf.Tensor, state: State, memory: Memory | None, training: bool | None
    ) -> tuple[tf.Tensor, State]:
        steps, batch = tf.shape(embedded)[0], tf.shape(embedded)[1]
        masks = self.rnn.dropout_masks(steps, batch, training)
        kind = embedded.dtype
        by_step = tf.TensorArray(kind, steps).unstack(embedded)
        written = tf.TensorArray(kind, steps, element_shape=(None, self.output_size))

        def take_a_step(step: tf.Tensor, written: Any, *state: tf.Tensor) -> Any:
            now = [
                (None if of_input is None else of_input[step], of_state)
                for of_input, of_state in masks
            ]
            outputs, new, _ = self._advance(by_step.read(step), list(state), memory, now)
            new = [tf.cast(part, kind) for part in new]
            for part, before in zip(new, state, strict=True):
                part.set_shape(before.shape)  # where that of the batch is known, it is not inferred
            return step + 1, written.write(step, outputs), *new

        state = [tf.cast(part, kind) for part in state]
        _, written, *state = tf.while_loop(
            lambda step, *_: step < steps,
            take_a_step,
            (0, written, *state),
            maximum_iterations=steps,  # XLA makes room for the gradient's values beforehand
        )
        return written.stack(), list(state)

    def step(
        self, target_ids: tf.Tensor, state: State, memory: Memory | None = None
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """Decodes one step, for search.

        Args:
            target_ids: integer tensor, shape (rows,): the tokens before. The number of rows is
                that of the memory's sentences or a multiple of it, with the rows of a sentence
                next to each other.
            state: as for `call`, for each row.
            memory: as for `call`.

        Returns:
            Logits, float32, shape (rows, vocab_size), the new state, and the attention to the
            source's steps, float32, shape (rows, source steps), or None.
        """
        outputs, state, weights = self._advance(self.embedding(target_ids), state, memory)
        return self.logits(outputs), state, weights

    def logits(self, outputs: tf.Tensor) -> tf.Tensor:
        """The dense layer: (..., output_size) to float32 logits (..., vocab_size)."""
        if self.dense is None:
            weights, bias = self.embedding.embeddings, self.output_bias
        else:
            weights, bias = self.dense.kernel, self.dense.bias
        weights = tf.cast(tf.convert_to_tensor(weights), self.compute_dtype)
        bias = tf.cast(tf.convert_to_tensor(bias), tf.float32)

        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            logits = tf.matmul(rows, weights, transpose_b=self.dense is None)
            # A softmax over thousands of words needs more digits than half precision has, and so
            # does the gradient of the bias, a sum over all tokens.
            return tf.nn.bias_add(tf.cast(logits, tf.float32), bias)

        return apply_to_last_axis(of_rows, tf.cast(outputs, self.compute_dtype))

    def get_config(self) -> dict[str, Any]:
        names = (
            "attention",
            "input_feeding",
            "tie_embeddings",
            "output_dropout",
            "encoder_num_hiddens",
            "encoder_num_layers",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
