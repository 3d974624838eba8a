"""Encoder and decoder as one trainable model."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.data.batching import Batch, Sequences, split_by_length, trim_padding
from keras_s2s.layers.attention import Memory
from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
from keras_s2s.layers.stacked_rnn import BLOCK_LSTM_MAX_UNITS, State
from keras_s2s.losses import label_smoothed_loss
from keras_s2s.metrics import Perplexity, TokenMean
from keras_s2s.models.replicas import MultiWorkerMixin, decorrelate_dropout, distribute_dataset
from keras_s2s.models.throughput import TokensPerSecond
from keras_s2s.optimizers import FusedAdam, update_in_one_operation
from keras_s2s.utils.checks import check_fraction, check_type
from keras_s2s.utils.errors import InputError

COMPILE_ARGUMENTS = (
    "optimizer",
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
    "auto_scale_loss",
    "label_smoothing",
)


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2Seq(MultiWorkerMixin, keras.Model):
    """The encoder–decoder model, trained with teacher forcing.

    `fit` and `evaluate` take datasets as `make_dataset` gives them: elements `((source_ids,
    source_valid_length), (target_ids, target_valid_length))`. Of a target of n tokens the first
    n - 1 are what the decoder reads and the last n - 1 what it has to predict. The loss is the
    mean over all target tokens that are not padding, in nats; the logs also hold `accuracy` (the
    share of tokens predicted right), `perplexity` and `tokens_per_second`, all summed by token.

    Args:
        encoder: a `Seq2SeqEncoder`.
        decoder: a `Seq2SeqDecoder` that expects the state of such an encoder: of as many layers
            of the same width as its own, or as its `encoder_num_layers` and `encoder_num_hiddens`.

    Raises:
        ValueError: the decoder cannot start from the encoder's state.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`EncoderDecoder`,
    `train_s2s_ch8`).

    Example:

    >>> import keras_s2s as s2s
    >>> corpus = s2s.ParallelCorpus(["Go.", "I won!"], ["Va !", "J'ai gagné !"], name="two pairs")
    >>> source = s2s.WordTokenizer.fit(corpus.source)
    >>> target = s2s.WordTokenizer.fit(corpus.target)
    >>> model = Seq2Seq(
    ...     Seq2SeqEncoder(len(source), embed_size=8, num_hiddens=8, num_layers=1),
    ...     Seq2SeqDecoder(len(target), embed_size=8, num_hiddens=8, num_layers=1),
    ... )
    >>> model.compile(optimizer=keras.optimizers.Adam(0.005, global_clipnorm=1.0))
    >>> history = model.fit(s2s.make_dataset(corpus, source, target), epochs=2, verbose=0)
    >>> sorted(history.history)
    ['accuracy', 'loss', 'perplexity', 'tokens_per_second']
    """

    def __init__(self, encoder: Seq2SeqEncoder, decoder: Seq2SeqDecoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_type("encoder", encoder, Seq2SeqEncoder, "one, and after it the decoder")
        check_type("decoder", decoder, Seq2SeqDecoder, "one, after the encoder")
        for field, expected in (
            ("num_layers", decoder.encoder_num_layers),
            ("num_hiddens", decoder.encoder_num_hiddens),
        ):
            if getattr(encoder, field) != expected:
                raise ValueError(
                    f"{field} is {getattr(encoder, field)} in the encoder and the decoder expects "
                    f"{expected}; make them equal, or give the decoder encoder_{field}="
                    f"{getattr(encoder, field)}"
                )
        if encoder.cell != decoder.cell:
            raise ValueError(
                f"cell is {encoder.cell!r} in the encoder and {decoder.cell!r} in the decoder, "
                "whose state it gives; make them equal"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.label_smoothing = 0.0
        self._in_halves = False
        # Tells of the steps that were left out because a gradient was no number; None where the
        # optimizer is not the one that leaves them out.
        self.guard: FusedAdam | None = None
        self.loss_metric = TokenMean(name="loss")
        self.accuracy_metric = TokenMean(name="accuracy")
        self.perplexity_metric = Perplexity(name="perplexity")
        # Built at once: a model that has its weights needs no symbolic call.
        for layer in (encoder, decoder):
            if not layer.built:
                layer.build()
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def call(self, inputs: Batch, training: bool | None = None) -> tf.Tensor:
        """Logits of each next target token, given the source and the target before it.

        Args:
            inputs: `((source_ids, source_valid_length), (target_ids, target_valid_length))`; ids
                of shape (batch, steps), each target with its `<bos>` and `<eos>`.
            training: whether dropout is active.

        Returns:
            Float32, shape (batch, target steps - 1, target vocab_size): row i predicts target
            token i + 1.
        """
        source, (target_ids, _) = inputs
        state, memory = self.encode(source, training)
        logits, _ = self.decoder(target_ids[:, :-1], state, memory, training=training)
        return logits

    def encode(
        self, source: Sequences, training: bool | None = None
    ) -> tuple[State, Memory | None]:
        """What the decoder needs of a batch of sources.

        Args:
            source: ids, int32 of shape (batch, steps), and valid lengths, int32 of shape (batch,).
            training: whether dropout is active.

        Returns:
            The decoder's first state, and what it attends to: None without attention.
        """
        encoder_outputs = self.encoder(*source, training=training)
        return (
            self.decoder.init_state(encoder_outputs),
            self.decoder.remember(encoder_outputs, source[1]),
        )

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        """As `keras.Model.compile`, without `loss` and `metrics`, which the model brings along.

        Args:
            optimizer: the chapter's when left out: Adam with a learning rate of 0.005 and
                gradients clipped to a global norm of 1. Note that a Keras optimizer's `clipnorm`
                clips each variable by itself; `global_clipnorm` is the one the chapter means.
            run_eagerly: see `keras.Model.compile`.
            steps_per_execution: see `keras.Model.compile`; 1 with several replicas.
            jit_compile: see `keras.Model.compile`.
            auto_scale_loss: see `keras.Model.compile`.
            label_smoothing: share of each target's probability that is spread over the whole
                vocabulary in what training minimises (Szegedy et al., 2016). The `loss` in the
                logs is that without smoothing, so that it can be compared.
        """
        check_fraction("label_smoothing", label_smoothing)
        if optimizer is None:
            optimizer = keras.optimizers.Adam(0.005, global_clipnorm=1.0)
        one_replica = self.distribute_strategy.num_replicas_in_sync == 1
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            # Keras's loop over several batches loses the shares of the replicas.
            steps_per_execution=steps_per_execution if one_replica else 1,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self.label_smoothing = label_smoothing
        # Variables made while the training step is traced would have it traced twice.
        self.optimizer.build(self.trainable_variables)
        if one_replica or not self._loss_is_scaled():
            self.guard = update_in_one_operation(self.optimizer)
        if not one_replica:
            decorrelate_dropout(self._flatten_layers())
        # A step of a small model is one chain of short operations, which keeps one processor busy.
        # Two shorter chains keep two.
        self._in_halves = (
            not self.jit_compile
            and one_replica
            and self.encoder.cell == "lstm"
            and not self.decoder.input_feeding
            and max(self.encoder.num_hiddens, self.decoder.num_hiddens) < BLOCK_LSTM_MAX_UNITS
        )
        for layer in (self.encoder, self.decoder):
            layer.rnn.fused = not self.jit_compile

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:  # else it is not compiled
            config["label_smoothing"] = self.label_smoothing
        return {name: config[name] for name in COMPILE_ARGUMENTS if name in config}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_metric, self.accuracy_metric, self.perplexity_metric]

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`, with `tokens_per_second` in the logs of each epoch."""
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            if isinstance(callbacks, keras.callbacks.Callback):
                callbacks = [callbacks]
            # First, so that every other callback finds the figure in the logs.
            callbacks = [TokensPerSecond(self.loss_metric), *(callbacks or [])]
        if isinstance(args[0] if args else kwargs.get("x"), tf.data.Dataset):
            # Keras warns that it cannot shuffle a dataset, whose own business that is.
            kwargs.setdefault("shuffle", False)
        if "validation_data" in kwargs:
            kwargs["validation_data"] = self._shares(kwargs["validation_data"])
        args, kwargs = self._with_shares(args, kwargs)
        with self._unfitting_data_reported():
            return super().fit(*args, callbacks=callbacks, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`."""
        args, kwargs = self._with_shares(args, kwargs)
        with self._unfitting_data_reported():
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def _unfitting_data_reported(self) -> Iterator[None]:
        """Tells of ids and lengths that TensorFlow finds no place for, which it says at length."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            # The two that look up by index, and the one of the loss.
            said = ("is not in [0,", "does not index into", "outside the valid range")
            if not any(words in str(error) for words in said):
                raise
            raise InputError(
                f"the data does not fit the model, which knows {self.encoder.vocab_size} source "
                f"tokens and {self.decoder.vocab_size} target tokens: an id or a valid length is "
                "too large; give data of the tokenizers that the model was made for"
            ) from error

    def _shares(self, data: Any) -> Any:
        return distribute_dataset(data, self.distribute_strategy)

    def _with_shares(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of `fit` or `evaluate`, with the data divided among the replicas."""
        if args:
            return (self._shares(args[0]), *args[1:]), kwargs
        return args, {**kwargs, **({"x": self._shares(kwargs["x"])} if "x" in kwargs else {})}

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss_sum, num_tokens = self._losses_of_tokens(data, training=True)
            # With several replicas the mean is over the tokens of all of them: each replica's
            # share is its sum over the common count, and the shares are added up.
            loss = loss_sum / tf.maximum(self._sum_over_replicas(num_tokens), 1.0)
            loss = self.optimizer.scale_loss(loss)
        # The gradient of an embedding comes as slices, one for each use of a word. Keras's clipping
        # and Adam square every slice by itself, which is not the square of their sum.
        gradients = [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(loss, self.trainable_weights)
        ]
        gradients = self._clip_over_replicas(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.step_logs(self.get_metrics_result())

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        self._losses_of_tokens(data, training=False)
        return self.step_logs(self.get_metrics_result())

    def predict_step(self, data: Batch) -> tf.Tensor:
        return self(data, training=False)

    def _losses_of_tokens(self, data: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Sum of the losses of a batch and its number of target tokens; updates the metrics."""
        if self.jit_compile:
            # XLA needs to know all shapes beforehand.
            batches = [data]
        elif self._in_halves:
            batches = split_by_length(data)
        else:
            batches = [trim_padding(data)]
        sums = [self._sums_of_tokens(batch, training) for batch in batches]
        to_minimise, loss_sum, num_right, num_tokens = map(tf.add_n, zip(*sums, strict=True))
        self.loss_metric.update_state(loss_sum, num_tokens)
        self.perplexity_metric.update_state(loss_sum, num_tokens)
        self.accuracy_metric.update_state(num_right, num_tokens)
        return to_minimise, num_tokens

    def _sums_of_tokens(self, batch: Batch, training: bool) -> tuple[tf.Tensor, ...]:
        """What is minimised, the losses, how many are predicted right, and how many there are."""
        source, (target_ids, target_valid_length) = batch
        state, memory = self.encode(source, training)
        outputs, _ = self.decoder.read(target_ids[:, :-1], state, memory, training)
        steps, num_hiddens = tf.shape(outputs)[0], outputs.shape[2]
        outputs = tf.reshape(outputs, (-1, num_hiddens))
        labels = tf.reshape(tf.transpose(target_ids[:, 1:]), (-1,))
        # A row without any token stays without one.
        valid_length = tf.maximum(target_valid_length - 1, 0)
        valid = tf.reshape(tf.transpose(tf.sequence_mask(valid_length, steps)), (-1,))
        if not self.jit_compile:
            # Most of a batch can be padding, and the dense layer most of the work. XLA, which
            # needs to know all shapes beforehand, cannot leave it out.
            positions = tf.reshape(tf.where(valid), (-1,))
            outputs, labels, valid = (
                tf.gather(values, positions) for values in (outputs, labels, valid)
            )
        logits = self.decoder.logits(outputs)
        smoothing = self.label_smoothing if training else 0.0
        to_minimise, losses = label_smoothed_loss(labels, logits, smoothing)
        # The largest value is found several times faster than its place.
        of_labels = tf.gather(logits, labels, axis=1, batch_dims=1)
        right = (of_labels >= tf.reduce_max(logits, axis=1)) & valid
        return (
            tf.reduce_sum(tf.where(valid, to_minimise, 0.0)),
            tf.reduce_sum(tf.where(valid, losses, 0.0)),
            tf.reduce_sum(tf.cast(right, tf.float32)),
            tf.cast(tf.reduce_sum(valid_length), tf.float32),
        )

    def _sum_over_replicas(self, value: Any) -> Any:
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)

    def _loss_is_scaled(self) -> bool:
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)

    def _clip_over_replicas(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Clips the gradient of all replicas together, which a Keras optimizer does not.

        It clips what each replica has by itself and adds up afterwards, so that the step would
        depend on the number of replicas. Here the sum is clipped and handed to the optimizer in
        equal shares: each is short enough to pass its own clipping, and they add up to the sum.
        With `FusedAdam` each replica gets the whole sum, and does the rest by itself.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        if self.guard is not None:
            return self._sum_over_replicas(gradients)
        scaled = self._loss_is_scaled()
        optimizer = self.optimizer.inner_optimizer if scaled else self.optimizer
        if replicas == 1 or optimizer.global_clipnorm is None:
            return gradients
        limit = optimizer.global_clipnorm
        if scaled:
            limit *= tf.convert_to_tensor(self.optimizer.dynamic_scale)
        total = self._sum_over_replicas(gradients)
        clipped, _ = tf.clip_by_global_norm(total, limit)
        return [gradient / replicas for gradient in clipped]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Seq2Seq":
        layers = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("encoder", "decoder")
        }
        return cls(**{**config, **layers})
