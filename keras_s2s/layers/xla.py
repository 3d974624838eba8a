"""Whether XLA compiles the graph that is being built."""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def is_compiling() -> bool:
    """Return whether the current graph is that of a function with `jit_compile=True`.

    XLA has no kernel for some operations, such as `BlockLSTM`, and needs static shapes. Code that
    uses them asks here, since such a function may be the caller's own.

    Example:

    >>> def run():
    ...     return tf.constant(is_compiling())
    >>> [bool(tf.function(run, jit_compile=jit)()) for jit in (False, True)]
    [False, True]
    """
    # WORKAROUND(tensorflow<=2.21): no public function tells.
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
