"""A model with a tokenizer, to save it in."""

import keras


@keras.saving.register_keras_serializable(package="tests")
class Holder(keras.Model):
    """A minimal model to save a tokenizer in."""

    def __init__(self, tokenizer, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.built = True

    def get_config(self):
        return {"tokenizer": keras.saving.serialize_keras_object(self.tokenizer)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["tokenizer"]))
