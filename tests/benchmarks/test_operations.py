"""The profile of a training step."""

import tensorflow as tf

from benchmarks.operations import Event, read_threads, self_times, table


def test_self_times_exclude_nested_events():
    events = [
        Event("while/body/mul:Mul", 20, 30),
        Event("while:While", 0, 100),
        Event("while/body/dot:MatMul", 30, 80),
        Event("dot_1:MatMul", 100, 140),
    ]
    assert self_times(events) == {"While": 40, "Mul": 10, "MatMul": 90}


def test_table_is_sorted_by_share():
    times = self_times([Event("a:MatMul", 0, 3 * 10**9), Event("b:Mul", 3 * 10**9, 4 * 10**9)])
    assert table(times, steps=2).splitlines()[2:] == [
        "| MatMul | 1.50 | 75.0% |",
        "| Mul | 0.50 | 25.0% |",
        "| all | 2.00 | |",
    ]


def test_read_threads_of_a_trace(tmp_path):
    matrix = tf.random.normal((300, 300))
    square = tf.function(lambda matrix: matrix @ matrix)
    square(matrix)
    tf.profiler.experimental.start(str(tmp_path))
    square(matrix)
    tf.profiler.experimental.stop()
    times = [self_times(events) for events in read_threads(tmp_path)]
    # oneDNN's operation has another name.
    products = {"MatMul", "_MklMatMul"}
    assert sum(time[name] for time in times for name in products) > 0
    assert not any("Run" in time for time in times)
