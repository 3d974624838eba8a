"""What tests of the benchmarks share: a small task, and records as a run writes them."""

from measuring import Settings

from benchmarks.plan import OURS
from benchmarks.task import make_task


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def small_task(folder):
    """Makes the files of a task of 200 pairs, with 20 sources held out twice; returns `folder`."""
    pairs = [
        (
            " ".join(["word", str(number % 40), *["x"] * (number % 7)]),
            f"le mot numéro {number} est là ?",
        )
        for number in range(300)
    ]
    # Too long for the task, and an empty side.
    pairs += [("y " * 26, "z"), ("", "z")]
    make_task(pairs, folder, num_pairs=200, held_out=20)
    return folder


def record(contender, speed, round_number=1, part="train", label="none float32", **more):
    """A record of training for ten seconds."""
    error = more.pop("error", None)
    settings = {**vars(Settings(threads=2)), **more.pop("settings", {})}
    settings["dtype"] = label.split()[-1] if part == "train" else "float32"
    result = {
        "tokens": speed * 10,
        "seconds": 10.0,
        "steps": 20,
        "start_up": 5.0,
        "preparation_seconds": 1.0,
        "settings": settings,
        "versions": {"python": "3.11", "thing": "1.0"},
        **more,
    }
    return {
        "part": part,
        "contender": contender,
        "label": label,
        "job": "train",
        "settings": {},
        "key": f"{part} {contender} {label}",
        "round": round_number,
        "error": error,
        "result": None if error else result,
        "peak_memory": 10**9 if contender == OURS else 2 * 10**9,
        "wall": 15.0,
    }


def speed_record(part="train"):
    found = record("machine", 1, part=part, label="float32")
    found["job"] = "speed"
    found["result"] |= {
        "operations_per_second": {"float32": 2e11, "bfloat16": 4e11},
        "bytes_per_second": 2e10,
        "bytes_per_second_summed": 4e10,
    }
    return found


def document(records, command="bench"):
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
    """What a run of three contenders in three rounds leaves, and of one that is not installed."""
    speeds = {1: (3000, 2000, 500), 2: (1500, 1000, 250), 3: (3300, 2000, 500)}
    records = [speed_record()]
    for number, row in speeds.items():
        for name, speed in zip((OURS, "PyTorch, packed", "PyTorch, padded"), row, strict=True):
            records.append(record(name, speed, number))
    records.append(record("OpenNMT-py", 0, error="ERROR: No matching distribution"))
    return document(records)
