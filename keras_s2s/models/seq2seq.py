"""Encoder and decoder as one trainable model."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.data.batching import Batch, Sequences, split_by_length, trim_padding
from keras_s2s.layers import xla
from keras_s2s.layers.attention import Memory
from keras_s2s.layers.copying import known_source
from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
from keras_s2s.layers.stacked_rnn import BLOCK_LSTM_MAX_UNITS, State
from keras_s2s.layers.state_bridge import check_states
from keras_s2s.metrics import Perplexity, TokenMean
from keras_s2s.models.inputs import as_batch, unpack_batch
from keras_s2s.models.keras_calls import KerasCallsMixin, refuse_hdf5_scope
from keras_s2s.models.replicas import MultiWorkerMixin, decorrelate_dropout
from keras_s2s.models.token_sums import add_sums, sum_over_tokens
from keras_s2s.models.updates import TokenUpdates
from keras_s2s.models.user_functions import UserFunctions, make_user_functions
from keras_s2s.optimizers import FusedAdam, SkippedSteps, set_fused, sum_over_replicas
from keras_s2s.utils.checks import check_fraction, check_int, check_type
from keras_s2s.utils.dtypes import sum_dtype
from keras_s2s.utils.errors import InputError

COMPILE_OPTIONS = ("label_smoothing", "clip_num_steps", "weigh_accumulated")
COMPILE_ARGUMENTS = (
    "optimizer",
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
    "auto_scale_loss",
    *COMPILE_OPTIONS,
)


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2Seq(KerasCallsMixin, MultiWorkerMixin, keras.Model):
    """The encoder–decoder model, trained with teacher forcing.

    `fit`, `evaluate`, `predict` and their `_on_batch` forms take datasets as `make_dataset` returns
    them, elements `((source_ids, source_valid_length), (target_ids, target_valid_length))`, or
    arrays, generators and datasets in Keras's forms: `(x, y)`, `(x, y, sample_weight)`, or x alone
    as `(source, target)`. Ids are integers of any type, (batch, steps). Without valid lengths a
    sentence ends at its last token that is not `<pad>`.

    Of the n tokens of a target the decoder reads the first n - 1 and predicts the last n - 1. The
    loss is the mean over all target tokens but padding, in nats; with `sample_weight`, (batch,) or
    a weight for each target token, the sum of the weighted losses divided by that of the weights.
    The logs also hold `accuracy` (the fraction of tokens predicted correctly; `<unk>` never is),
    `perplexity` (both without weights) and `tokens_per_second`, all accumulated per token.

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
        check_states(encoder, decoder)
        self.encoder = encoder
        self.decoder = decoder
        self.label_smoothing = 0.0
        self._splits_batches = False
        self._functions: UserFunctions | None = None
        self.loss_metric = TokenMean(name="loss")
        self.accuracy_metric = TokenMean(name="accuracy")
        self.perplexity_metric = Perplexity(name="perplexity")
        # Keras would let XLA compile the predictions of an uncompiled model if it finds a GPU.
        self.jit_compile = False
        # See `MultiWorkerMixin._maybe_symbolic_build`.
        for layer in (encoder, decoder):
            if not layer.built:
                layer.build((None, None))  # with a shape, for `summary`
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def call(self, inputs: Batch, training: bool | None = None) -> tf.Tensor:
        """Compute the logits of each next target token from the source and the target's prefix.

        Args:
            inputs: `((source_ids, source_valid_length), (target_ids, target_valid_length))`, or
                `(source_ids, target_ids)`; ids of shape (batch, steps), targets with `<bos>` and
                `<eos>`.
            training: whether dropout is active.

        Returns:
            Float32 or, in a float64 model, float64, shape (batch, target steps - 1, target
            vocab_size): row i predicts target token i + 1.
        """
        source, (target_ids, _) = as_batch(inputs)
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
        ids, valid_length = source
        copying = self.decoder.copying
        outputs = self.encoder(known_source(copying, ids), valid_length, training=training)
        sources = (valid_length,) if copying is None else (valid_length, ids)
        return self.decoder.init_state(outputs), self.decoder.setup_memory(outputs, *sources)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        label_smoothing: float = 0.0,
        clip_num_steps: int | None = None,
        weigh_accumulated: bool = True,
    ) -> None:
        """Configure training as `keras.Model.compile` does.

        Without `loss` and `metrics`, the loss is the cross-entropy, and the logs hold the built-in
        metrics; see the class.

        Args:
            optimizer: an optimizer or its name; by default Adam with a learning rate of 0.005 and
                gradients clipped to a global norm of 1. (The `clipnorm` of a Keras optimizer clips
                each variable by itself.) A `keras.optimizers.Adam` becomes a
                `keras_s2s.optimizers.FusedAdam`.
            loss: a loss or a function of labels, integers of shape (batch, target steps - 1), and
                logits, (batch, target steps - 1, vocab_size), that returns a loss for each token,
                (batch, target steps - 1). The step takes its mean over the tokens that are not
                padding; `perplexity` and `accuracy` stay those of the model. Training with a loss
                or metrics is slower, because they need the logits at padding too.
            loss_weights: not supported: there is one loss.
            metrics: metrics, functions or names of Keras's, of labels and logits as for `loss`;
                their `sample_weight` is 0 at padding and 1 at tokens. `"accuracy"` and
                `"perplexity"` are in the logs in any case.
            weighted_metrics: likewise; their `sample_weight` is that of `fit`, 0 at padding.
            run_eagerly: see `keras.Model.compile`.
            steps_per_execution: see `keras.Model.compile`; 1 with several replicas.
            jit_compile: whether XLA compiles the step. `"auto"` means no: XLA compiles each new
                shape of a batch, which takes longer than the training of a small model.
            auto_scale_loss: see `keras.Model.compile`.
            label_smoothing: probability mass that the training objective takes from each target
                token and spreads over the vocabulary (Szegedy et al., 2016). The `loss` in the
                logs is computed without it, so that runs can be compared.
            clip_num_steps: what the optimizer's clipping refers to. By default that is the
                gradient of the mean over the batch's tokens. With a number of steps it is, as in
                the chapter, the gradient of the sum over the batch's sentences of their mean over
                that many steps: the chapter's are `num_steps - 1`.
            weigh_accumulated: with `gradient_accumulation_steps`, whether an update is that of one
                large batch: batches count by their tokens, and the average of `use_ema` moves once
                an update. With False, which is what Keras does, all batches count the same, and
                the average moves with each.

        Raises:
            InputError: a loss or metric that takes probabilities, returns a mean, or has the name
                of another.
        """
        check_fraction("label_smoothing", label_smoothing)
        if loss_weights is not None:
            raise InputError("loss_weights: there is one loss; leave them out")
        if loss is not None and label_smoothing:
            raise InputError("label_smoothing smooths the built-in loss; leave it out, or loss")
        if clip_num_steps is not None:
            check_int("clip_num_steps", clip_num_steps)
        if optimizer is None:
            optimizer = keras.optimizers.Adam(0.005, global_clipnorm=1.0)
        one_replica = self.distribute_strategy.num_replicas_in_sync == 1
        functions = make_user_functions(
            loss,
            metrics,
            weighted_metrics,
            vocab_size=self.decoder.vocab_size,
            dtype=sum_dtype(self.decoder.compute_dtype),
            strategy=self.distribute_strategy,
        )
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            # WORKAROUND(keras<=3.15.1): its loop over several batches loses the replicas' logs.
            steps_per_execution=steps_per_execution if one_replica else 1,
            jit_compile=False if jit_compile == "auto" else jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self.label_smoothing = label_smoothing
        self.clip_num_steps, self.weigh_accumulated = clip_num_steps, weigh_accumulated
        self._functions = functions
        # On several replicas a loss scaler calls its optimizer in a cross-replica conditional.
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        set_fused(self.optimizer, one_replica or not scaled)
        # Creating variables while the training step is traced would trace it twice.
        self.optimizer.build(self.trainable_variables)
        self._updates = TokenUpdates(
            self.optimizer,
            self.distribute_strategy.num_replicas_in_sync,
            clip_num_steps,
            weigh_accumulated,
        )
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

    @property
    def update_variables(self) -> list[tf.Variable]:
        """State of an incomplete update that is neither the model's nor the optimizer's."""
        updates = getattr(self, "_updates", None)  # set by `compile`
        return [] if updates is None or updates.num_tokens is None else [updates.num_tokens]

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:  # empty unless compiled
            config |= {name: getattr(self, name) for name in COMPILE_OPTIONS}
        config = {name: config[name] for name in COMPILE_ARGUMENTS if name in config}
        return {**config, **(self._functions.get_config() if self._functions else {})}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        # Files of earlier versions have no `weigh_accumulated`; they trained without it.
        options = {"weigh_accumulated": False, **keras.saving.deserialize_keras_object(config)}
        self.compile(**options)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        metrics = [self.loss_metric, self.accuracy_metric, self.perplexity_metric]
        return [*metrics, *(self._functions.all_metrics if self._functions else [])]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss_sum, weight = self._compute_sums(data, training=True)
            # The mean over the tokens of all replicas: each replica divides its sum by the common
            # count, and the optimizer sums the gradients.
            weight = sum_over_replicas(weight)
            loss = tf.math.divide_no_nan(loss_sum, weight)
            loss = self.optimizer.scale_loss(loss)
        # WORKAROUND(keras<=3.15.1): the gradient of an embedding is `tf.IndexedSlices`, one slice
        # per use of a token. Keras's clipping and Adam square every slice by itself rather than
        # the sum of a token's slices: make it dense first.
        gradients = [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(loss, self.trainable_weights)
        ]
        self._updates.apply(gradients, self.trainable_weights, weight)
        return self.step_logs(self.get_metrics_result())

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        self._compute_sums(data, training=False)
        return self.step_logs(self.get_metrics_result())

    def predict_step(self, data: Any) -> tf.Tensor:
        batch, _ = unpack_batch(data)
        return self(batch, training=False)

    def _compute_sums(self, data: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sums of a batch's objective and its weights; update the metrics."""
        batch, weights = unpack_batch(data)
        functions = self._functions
        if xla.is_compiling():
            # XLA needs static shapes.
            batches = [batch]
        elif self._splits_batches and weights is None and functions is None:
            batches = split_by_length(batch)
        else:
            batches = [trim_padding(batch)]
        sums = add_sums(
            [sum_over_tokens(self, part, weights, functions, training) for part in batches]
        )
        self.loss_metric.update_state(sums.loss, sums.weight)
        self.perplexity_metric.update_state(sums.cross_entropy, sums.num_tokens)
        self.accuracy_metric.update_state(sums.num_correct, sums.num_tokens)
        return sums.objective, sums.weight

    def get_config(self) -> dict[str, Any]:
        refuse_hdf5_scope()
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
