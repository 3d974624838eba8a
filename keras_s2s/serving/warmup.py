"""Warm-up requests: what a server runs while it loads a version, so that no client waits for it."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from keras_s2s.serving.serving_protos import load_serving_api, predict_request

# What TF Serving looks for in a version's folder.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
BATCH_SIZES = (1, 8, 32)


def write_warmup_requests(
    folder: Path,
    model_name: str,
    sentences: Sequence[bytes],
    references: Sequence[bytes] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> bool:
    """Writes the requests that TF Serving runs before it calls a version available.

    There is one for each signature and batch size. The server gives up a version when one of
    them fails, so that they belong into the folder before the proof of an export, not after.

    Args:
        folder: the version's folder, with the SavedModel in it.
        model_name: the model's name on the server.
        sentences: real ones, used in turn; a small number will do.
        references: a translation of each, for the signature `score`; the sentences themselves
            when left out.
        batch_sizes: sentences in a request.

    Returns:
        Whether they were written: not where `tensorflow-serving-api` is not installed (it comes
        with `keras-s2s[serving]`).

    Raises:
        ValueError: no sentences, or not as many references.

    Example:

    ```python
    if not write_warmup_requests(folder, "en-fr", [b"Go.", b"I won!"]):
        say("no warm-up requests: pip install 'keras-s2s[serving]'")
    ```
    """
    references = sentences if references is None else references
    if not sentences or len(references) != len(sentences):
        raise ValueError(
            f"{len(sentences)} sentences and {len(references)} references; give one for each"
        )
    try:
        api = load_serving_api()
    except ImportError:
        return False
    import tensorflow as tf

    pairs = itertools.cycle(zip(sentences, references, strict=True))
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch_size in batch_sizes:
            text, reference = map(list, zip(*itertools.islice(pairs, batch_size), strict=True))
            for signature, inputs in (
                ("serving_default", {"text": text}),
                ("score", {"text": text, "reference": reference}),
            ):
                log = api.prediction_log_pb2.PredictionLog()
                request = predict_request(api, model_name, signature, inputs)
                log.predict_log.request.CopyFrom(request)
                # In one order of the inputs, so that the same export is the same bytes.
                writer.write(log.SerializeToString(deterministic=True))
    return True
