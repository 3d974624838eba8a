"""Encoder and decoder as one trainable model."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.data.batching import Batch, Sequences, split_by_length, trim_padding
from keras_s2s.layers import xla
from keras_s2s.layers.attention import Memory
from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
from keras_s2s.layers.stacked_rnn import BLOCK_LSTM_MAX_UNITS, State
from keras_s2s.losses import label_smoothed_loss
from keras_s2s.metrics import Perplexity, TokenMean
from keras_s2s.models.replicas import (
    MultiWorkerMixin,
    clip_over_replicas,
    decorrelate_dropout,
    distribute_arguments,
)
from keras_s2s.models.throughput import TokensPerSecond
from keras_s2s.optimizers import FusedAdam, SkippedSteps, set_fused, sum_over_replicas
from keras_s2s.tokenizers.tokenizer import UNK
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

    `fit` and `evaluate` take datasets as `make_dataset` returns them: elements `((source_ids,
    source_valid_length), (target_ids, target_valid_length))`. Of the n tokens of a target the
    decoder reads the first n - 1 and predicts the last n - 1. The loss is the mean over all target
    tokens but padding, in nats; the logs also hold `accuracy` (the fraction of tokens predicted
    correctly; `<unk>` never is), `perplexity` and `tokens_per_second`, all accumulated per token.

    Args:
        encoder: a `Seq2SeqEncoder`.
        decoder: a `Seq2SeqDecoder` whose `cell`, `encoder_num_layers` and `encoder_num_hiddens`
            are the encoder's.

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
        self._splits_batches = False
        self.loss_metric = TokenMean(name="loss")
        self.accuracy_metric = TokenMean(name="accuracy")
        self.perplexity_metric = Perplexity(name="perplexity")
        # Keras would let XLA compile the predictions of an uncompiled model if it finds a GPU.
        self.jit_compile = False
        # See `MultiWorkerMixin._maybe_symbolic_build`.
        for layer in (encoder, decoder):
            if not layer.built:
                layer.build()
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def call(self, inputs: Batch, training: bool | None = None) -> tf.Tensor:
        """Compute the logits of each next target token from the source and the target's prefix.

        Args:
            inputs: `((source_ids, source_valid_length), (target_ids, target_valid_length))`; ids
                of shape (batch, steps), targets with `<bos>` and `<eos>`.
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
        """Encode a batch of sources for the decoder.

        Args:
            source: ids, int32 of shape (batch, steps), and valid lengths, int32 of shape (batch,).
            training: whether dropout is active.

        Returns:
            The decoder's initial state and its attention memory, None without attention.
        """
        encoder_outputs = self.encoder(*source, training=training)
        return (
            self.decoder.init_state(encoder_outputs),
            self.decoder.setup_memory(encoder_outputs, source[1]),
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
        """Configure training as `keras.Model.compile` does; loss and metrics are built in.

        Args:
            optimizer: an optimizer or its name; by default the chapter's, Adam with a learning
                rate of 0.005 and gradients clipped to a global norm of 1. (The `clipnorm` of a
                Keras optimizer clips each variable by itself; `global_clipnorm` is the chapter's
                clipping.) A `keras.optimizers.Adam` becomes a `keras_s2s.optimizers.FusedAdam`.
            run_eagerly: see `keras.Model.compile`.
            steps_per_execution: see `keras.Model.compile`; 1 with several replicas.
            jit_compile: whether XLA compiles the step. `"auto"` means no: XLA compiles each new
                shape of a batch, which takes longer than the training of a small model.
            auto_scale_loss: see `keras.Model.compile`.
            label_smoothing: probability mass that the training objective takes from each target
                token and spreads over the vocabulary (Szegedy et al., 2016). The `loss` in the
                logs is computed without it, so that runs can be compared.
        """
        check_fraction("label_smoothing", label_smoothing)
        if optimizer is None:
            optimizer = keras.optimizers.Adam(0.005, global_clipnorm=1.0)
        one_replica = self.distribute_strategy.num_replicas_in_sync == 1
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            # WORKAROUND(keras<=3.15.1): its loop over several batches loses the replicas' logs.
            steps_per_execution=steps_per_execution if one_replica else 1,
            jit_compile=False if jit_compile == "auto" else jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self.label_smoothing = label_smoothing
        # Creating variables while the training step is traced would trace it twice.
        self.optimizer.build(self.trainable_variables)
        # On several replicas a loss scaler calls its optimizer in a cross-replica conditional.
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        set_fused(self.optimizer, one_replica or not scaled)
        if not one_replica:
            decorrelate_dropout(self._flatten_layers())
        # The step of a small model is one chain of short operations, which keeps one core busy;
        # two half-batches keep two.
        self._splits_batches = (
            one_replica
            and self.encoder.cell == "lstm"
            and not self.decoder.input_feeding
            and max(self.encoder.num_hiddens, self.decoder.num_hiddens) < BLOCK_LSTM_MAX_UNITS
        )

    @property
    def skipped_steps(self) -> SkippedSteps | None:
        """Counters of steps skipped for a non-finite gradient; None unless `FusedAdam` trains."""
        optimizer = getattr(self, "optimizer", None)  # set by `compile`
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return optimizer.skipped_steps if isinstance(optimizer, FusedAdam) else None

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:  # empty unless compiled
            config["label_smoothing"] = self.label_smoothing
        return {name: config[name] for name in COMPILE_ARGUMENTS if name in config}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_metric, self.accuracy_metric, self.perplexity_metric]

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does, with `tokens_per_second` in the logs of each epoch."""
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            if isinstance(callbacks, keras.callbacks.Callback):
                callbacks = [callbacks]
            # First, so that every other callback finds the throughput in the logs.
            callbacks = [TokensPerSecond(self.loss_metric), *(callbacks or [])]
        if isinstance(args[0] if args else kwargs.get("x"), tf.data.Dataset):
            # Avoid the warning that Keras cannot shuffle a dataset.
            kwargs.setdefault("shuffle", False)
        with self._index_errors_explained():
            args, kwargs = distribute_arguments(args, kwargs, self.distribute_strategy)
            return super().fit(*args, callbacks=callbacks, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `keras.Model.evaluate` does."""
        with self._index_errors_explained():
            args, kwargs = distribute_arguments(args, kwargs, self.distribute_strategy)
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def _index_errors_explained(self) -> Iterator[None]:
        """Turn TensorFlow's out-of-range index errors into one `InputError`."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            # Of the embedding lookup, of `gather_nd`, and of the loss.
            stems = ("is not in [0,", "does not index into", "outside the valid range")
            if not any(stem in str(error) for stem in stems):
                raise
            raise InputError(
                f"the data does not fit the model ({self.encoder.vocab_size} source and "
                f"{self.decoder.vocab_size} target tokens): a token id or valid length is out of "
                "range; use data of the tokenizers that the model was built with"
            ) from error

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss_sum, num_tokens = self._compute_sums(data, training=True)
            # The mean over the tokens of all replicas: each replica divides its sum by the common
            # count, and the optimizer sums the gradients.
            loss = loss_sum / tf.maximum(sum_over_replicas(num_tokens), 1.0)
            loss = self.optimizer.scale_loss(loss)
        # WORKAROUND(keras<=3.15.1): the gradient of an embedding is `tf.IndexedSlices`, one slice
        # per use of a token. Keras's clipping and Adam square every slice by itself rather than
        # the sum of a token's slices: make it dense first.
        gradients = [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(loss, self.trainable_weights)
        ]
        gradients = clip_over_replicas(gradients, self.optimizer)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.step_logs(self.get_metrics_result())

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        self._compute_sums(data, training=False)
        return self.step_logs(self.get_metrics_result())

    def predict_step(self, data: Batch) -> tf.Tensor:
        return self(data, training=False)

    def _compute_sums(self, data: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a batch's sum of the objective and its token count; update the metrics."""
        if xla.is_compiling():
            # XLA needs static shapes.
            batches = [data]
        elif self._splits_batches:
            batches = split_by_length(data)
        else:
            batches = [trim_padding(data)]
        sums = [self._token_sums(batch, training) for batch in batches]
        objective, loss_sum, num_correct, num_tokens = map(tf.add_n, zip(*sums, strict=True))
        self.loss_metric.update_state(loss_sum, num_tokens)
        self.perplexity_metric.update_state(loss_sum, num_tokens)
        self.accuracy_metric.update_state(num_correct, num_tokens)
        return objective, num_tokens

    def _token_sums(self, batch: Batch, training: bool) -> tuple[tf.Tensor, ...]:
        """Return the sums of objective, loss, correct predictions and tokens of a batch."""
        source, (target_ids, target_valid_length) = batch
        state, memory = self.encode(source, training)
        outputs, _ = self.decoder.decode_hidden(target_ids[:, :-1], state, memory, training)
        steps, num_hiddens = tf.shape(outputs)[0], outputs.shape[2]
        outputs = tf.reshape(outputs, (-1, num_hiddens))
        labels = tf.reshape(tf.transpose(target_ids[:, 1:]), (-1,))
        # A row without any token has nothing to predict.
        valid_length = tf.maximum(target_valid_length - 1, 0)
        valid = tf.reshape(tf.transpose(tf.sequence_mask(valid_length, steps)), (-1,))
        if not xla.is_compiling():
            # Skip padding, which can be most of a batch, in the dense layer, which can be most of
            # the work. XLA cannot: it needs static shapes.
            positions = tf.reshape(tf.where(valid), (-1,))
            outputs, labels, valid = (
                tf.gather(values, positions) for values in (outputs, labels, valid)
            )
        logits = self.decoder.logits(outputs)
        smoothing = self.label_smoothing if training else 0.0
        objectives, losses = label_smoothed_loss(labels, logits, smoothing)
        # Comparing with the maximum is several times faster than `argmax`.
        label_logits = tf.gather(logits, labels, axis=1, batch_dims=1)
        correct = (label_logits >= tf.reduce_max(logits, axis=1)) & valid
        # An answer that has `<unk>` where the reference has an unknown word is not right.
        correct &= labels != UNK
        return (
            tf.reduce_sum(tf.where(valid, objectives, 0.0)),
            tf.reduce_sum(tf.where(valid, losses, 0.0)),
            tf.reduce_sum(tf.cast(correct, tf.float32)),
            tf.cast(tf.reduce_sum(valid_length), tf.float32),
        )

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
