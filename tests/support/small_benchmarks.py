"""Shared by the tests of the benchmarks: a small task, and records as of a run."""

from measuring import Settings

from benchmarks.plan import OURS
from benchmarks.task import make_task


def read_lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def small_task(folder):
    """Make a task of 200 pairs, with 20 sources in each of dev and test; return `folder`."""
    pairs = [
        (
            " ".join(["word", str(i % 40), *["x"] * (i % 7)]),
            f"le mot numéro {i} est là ?",
        )
        for i in range(300)
    ]
    # Dropped: too long, and an empty side.
    pairs += [("y " * 26, "z"), ("", "z")]
    make_task(pairs, folder, num_pairs=200, held_out=20)
    return folder


def make_record(contender, speed, round_index=1, part="train", label="none float32", error=None):
    """Return a record of training for ten seconds."""
    settings = vars(Settings(threads=2))
    settings["dtype"] = label.split()[-1] if part == "train" else "float32"
    result = {
        "tokens": speed * 10,
        "seconds": 10.0,
        "steps": 20,
        "start_up": 5.0,
        "preparation_seconds": 1.0,
        "settings": settings,
        "versions": {"python": "3.11", "thing": "1.0"},
    }
    return {
        "part": part,
        "contender": contender,
        "label": label,
        "job": "train",
        "settings": {},
        "key": f"{part} {contender} {label}",
        "round": round_index,
        "error": error,
        "result": None if error else result,
        "peak_memory": 10**9 if contender == OURS else 2 * 10**9,
        "wall": 15.0,
    }


def machine_record(part="train"):
    """Return a record of the machine's speed."""
    record = make_record("machine", 1, part=part, label="float32")
    record["job"] = "speed"
    record["result"] |= {
        "operations_per_second": {"float32": 2e11, "bfloat16": 4e11},
        "bytes_per_second": 2e10,
        "bytes_per_second_summed": 4e10,
    }
    return record


def make_document(records, command="bench"):
    counts = {"pairs": 10, "source_tokens": 80, "target_tokens": 100, "products": 900}
    return {
        "meta": {
            "command": command,
            "date": "2026-01-01",
            "machine": {"processor": "a chip", "cores": 2, "memory": 8e9, "system": "Linux"},
            "threads": 2,
            "task": "pairs.tsv",
            "train": {**counts, "vocab_size": 8004},
            "chapter": {**counts, "vocab_size": 200},
        },
        "records": records,
    }


def three_rounds():
    """Return a document of three contenders in three rounds, and of one that is not installed."""
    speeds = {1: (3000, 2000, 500), 2: (1500, 1000, 250), 3: (3300, 2000, 500)}
    records = [machine_record()]
    for round_index, row in speeds.items():
        for name, speed in zip((OURS, "PyTorch, packed", "PyTorch, padded"), row, strict=True):
            records.append(make_record(name, speed, round_index))
    records.append(make_record("OpenNMT-py", 0, error="ERROR: No matching distribution"))
    return make_document(records)
