"""Warm-up requests, which a server runs while it loads a version."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_s2s.serving.serving_protos import load_serving_api, predict_request
from keras_s2s.serving.signatures import REQUIRED_SIGNATURES, SIGNATURES, WARMUP_FILE

BATCH_SIZES = (1, 8, 32)


def write_warmup_requests(
    folder: Path,
    model_name: str,
    sentences: Sequence[bytes],
    references: Sequence[bytes] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    signatures: Iterable[str] = REQUIRED_SIGNATURES,
) -> None:
    """Write the requests that TF Serving runs before a version becomes available.

    There is one per required signature and batch size, and one of a single sentence for each
    other signature: what makes its first request slow is that TensorFlow prepares the graph for
    it, whatever the size of the batch. The server rejects the version if one of them fails, so
    write them before `verify_export`.

    Args:
        folder: the version folder, with the SavedModel in it.
        model_name: the model's name on the server.
        sentences: real sentences, repeated as needed.
        references: a translation of each, for the signature `score`; by default the sentences.
        batch_sizes: number of sentences per request, for the required signatures.
        signatures: names of the signatures in `SIGNATURES` that the export has.

    Raises:
        ValueError: no sentences, or not one reference per sentence.

    Example:

    ```python
    write_warmup_requests(folder, "en-fr", [b"Go.", b"I won!"])
    ```
    """
    import tensorflow as tf

    references = sentences if references is None else references
    if not sentences or len(references) != len(sentences):
        raise ValueError(
            f"{len(sentences)} sentences and {len(references)} references; give one for each"
        )
    api = load_serving_api()
    pairs = itertools.cycle(zip(sentences, references, strict=True))
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    others = [signature for signature in signatures if signature not in REQUIRED_SIGNATURES]
    requests = [*((batch_size, REQUIRED_SIGNATURES) for batch_size in batch_sizes), (1, others)]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch_size, names in requests:
            text, reference = map(list, zip(*itertools.islice(pairs, batch_size), strict=True))
            columns = {"text": text, "reference": reference}
            for signature in names:
                inputs = {name: columns[name] for name in SIGNATURES[signature][0]}
                log = api.prediction_log_pb2.PredictionLog()
                request = predict_request(api, model_name, signature, inputs)
                log.predict_log.request.CopyFrom(request)
                # Deterministic: the same export gives the same bytes.
                writer.write(log.SerializeToString(deterministic=True))
