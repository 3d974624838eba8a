"""Which modules have examples that can be run here."""

import importlib.util

# It is of no use without Apache Beam, which not everybody has.
collect_ignore = (
    [] if importlib.util.find_spec("apache_beam") else ["keras_s2s/translation/beam_pipeline.py"]
)
