"""Small SavedModels, written with plain TensorFlow and edited."""

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

TEXT = tf.TensorSpec([None], tf.string, name="text")
REFERENCE = tf.TensorSpec([None], tf.string, name="reference")


def answer(text):
    """The smallest `serving_default` that follows the contract: it echoes its input."""
    length = tf.strings.length(text)
    return {
        "translation": tf.strings.unicode_transcode(text, "UTF-8", "UTF-8"),
        "score": -tf.cast(length, tf.float32),
        "num_tokens": length,
    }


def score(text, reference):
    length = tf.strings.length(reference)
    return {"score": -tf.cast(length, tf.float32), "num_tokens": length}


def save(folder, answer=answer, score=score, tracked=(), **others):
    """Write a SavedModel with plain TensorFlow; `others` are further signatures of a text."""
    module = tf.Module()
    module.tracked = list(tracked)
    module.serving_default = tf.function(answer, input_signature=[TEXT])
    signatures = {"serving_default": module.serving_default}
    if score is not None:
        module.score = tf.function(score, input_signature=[TEXT, REFERENCE])
        signatures["score"] = module.score
    for name, function in others.items():
        setattr(module, name, tf.function(function, input_signature=[TEXT]))
        signatures[name] = getattr(module, name)
    tf.saved_model.save(module, folder, signatures=signatures)
    return folder


def change(folder, edit):
    """Edit `saved_model.pb`."""
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    edit(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    return folder
