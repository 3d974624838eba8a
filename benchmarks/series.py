"""Records put in order: the rounds of a measurement, their figures, and how these compare."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.plan import OURS, STEPS_OF_EPOCH
from benchmarks.roofline import Sizes, decoded_bytes, forward_operations, training_operations

Record = dict[str, Any]


class Spread(NamedTuple):
    """Of several values, the median and the two ends."""

    median: float
    least: float
    greatest: float

    def shown(self, digits: int = 0, factor: float = 1.0) -> str:
        """The median, with the ends in brackets where there is more than one value."""
        middle, low, high = (f"{value * factor:,.{digits}f}" for value in self)
        return middle if low == high else f"{middle} ({low}–{high})"


def spread(values: Iterable[float]) -> Spread:
    """Median and ends; at least one value is needed."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


@dataclass
class Series:
    """The rounds of one measurement.

    Attributes:
        contender: its name.
        label: tells it from others of the contender in the same part.
        job: what was done.
        records: those that went well, by round.
        error: why there are none.
    """

    contender: str
    label: str
    job: str
    records: dict[int, Record]
    error: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults."""
        return self._first["settings"]

    @property
    def _first(self) -> Record:
        return next(iter(self.records.values()))

    @property
    def through(self) -> str:
        """How this package translates."""
        return self.settings.get("through", "python")

    def values(self, of: Callable[[Record], float]) -> dict[int, float]:
        """A figure of each round."""
        return {number: of(record) for number, record in self.records.items()}

    def spread(self, of: Callable[[Record], float]) -> Spread:
        """A figure's median and ends."""
        return spread(self.values(of).values())


def series(records: Iterable[Record], part: str, job: str) -> list[Series]:
    """The measurements of a part that are of one job, in the order of their first rounds."""
    found: dict[str, Series] = {}
    for record in records:
        if record["part"] != part or record["job"] != job:
            continue
        one = found.setdefault(
            record["key"], Series(record["contender"], record["label"], job, {}, None)
        )
        if record["error"]:
            one.error = one.error or record["error"]
        else:
            one.records[record["round"]] = record
    return list(found.values())


def find(found: Iterable[Series], contender: str, label: str, through: str = "") -> Series | None:
    """A measurement that went well."""
    return next(
        (
            one
            for one in found
            if (one.contender, one.label) == (contender, label)
            and one.records
            and (not through or one.through == through)
        ),
        None,
    )


def best_peer(found: Iterable[Series], of: Callable[[Record], float]) -> Series | None:
    """The contender with the highest median that is not this package."""
    peers = [one for one in found if one.contender != OURS and one.records]
    return max(peers, key=lambda one: one.spread(of).median, default=None)


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """The median over the rounds of the ratios of what was measured next to each other."""
    rounds = sorted(ours.keys() & theirs.keys())
    if not rounds:
        return None
    return statistics.median(ours[number] / theirs[number] for number in rounds)


def compared(
    ours: Series | None, theirs: Series | None, of: Callable[[Record], float]
) -> float | None:
    """Our figure by theirs, None where one of them is missing."""
    if ours is None or theirs is None:
        return None
    return ratio(ours.values(of), theirs.values(of))


def tokens_per_second(record: Record) -> float:
    """Of a record of training."""
    return record["result"]["tokens"] / record["result"]["seconds"]


def seconds_of_epoch(record: Record) -> float:
    """Of a record of training: its steps' mean, for as many as an epoch has."""
    return STEPS_OF_EPOCH * record["result"]["seconds"] / record["result"]["steps"]


def sentences_per_second(way: str) -> Callable[[Record], float]:
    """Of a record of translation, in one of its ways."""
    return lambda record: record["result"][way]["sentences"] / record["result"][way]["seconds"]


def milliseconds(record: Record) -> float:
    """Of a record of translation, the median time of a sentence by itself."""
    return record["result"]["single"]["median_milliseconds"]


def peak_memory(record: Record) -> float:
    """Bytes: of the process, or of another one that did the work for it."""
    return record["result"].get("peak_memory", record["peak_memory"])


def imported_memory(record: Record) -> float:
    """Bytes that were resident once the contender's modules were imported; 0 where unknown."""
    return record["result"].get("imported_memory") or 0


def whole(record: Record) -> float:
    """Seconds of a whole job, from the start of its process."""
    return record["result"].get("whole_seconds", record["wall"])


class Machine:
    """How fast the machine was while a part was measured."""

    def __init__(self, records: Sequence[Record], part: str) -> None:
        self._results = [
            record["result"]
            for record in records
            if record["contender"] == "machine" and record["part"] == part and record["result"]
        ]

    def __bool__(self) -> bool:
        return bool(self._results)

    def operations_per_second(self, dtype: str) -> Spread:
        """Of one large matrix product."""
        return spread(result["operations_per_second"][dtype] for result in self._results)

    def bytes_per_second(self, how: str = "bytes_per_second") -> Spread:
        """Of reading a matrix as large as the decoder's weights."""
        return spread(result[how] for result in self._results)


def sizes_of(record: Record, vocab_size: int) -> Sizes:
    """The model's of a record."""
    settings = record["result"]["settings"]
    if settings["vocab_size"] is not None:
        vocab_size = settings["vocab_size"] + 4
    names = ("embed_size", "num_hiddens", "num_layers")
    return Sizes(*(settings[name] for name in names), vocab_size, settings["attention"])


def share_of_roofline(record: Record, counts: dict[str, int], machine: Machine) -> float:
    """Of a record of training: the speed at which it does what its tokens need.

    Args:
        record: of training.
        counts: of the corpus: sums over its pairs, and its `vocab_size`.
        machine: how fast it was.
    """
    sizes = sizes_of(record, counts["vocab_size"])
    operations = training_operations(
        sizes, counts["source_tokens"], counts["target_tokens"], counts["products"]
    )
    needed = tokens_per_second(record) * operations / counts["target_tokens"]
    dtype = record["result"]["settings"]["dtype"]
    return needed / machine.operations_per_second(dtype).median


def share_in_translation(record: Record, counts: dict[str, int], machine: Machine) -> float:
    """Of a record of translation, whole file: the speed at which it does what its tokens need."""
    found = record["result"]["file"]
    # Of attention's products nearly: those of sentences of mean length.
    products = found["source_tokens"] * found["tokens"] // found["sentences"]
    operations = forward_operations(
        sizes_of(record, counts["vocab_size"]), found["source_tokens"], found["tokens"], products
    )
    dtype = record["result"]["settings"]["dtype"]
    return operations / found["seconds"] / machine.operations_per_second(dtype).median


def reading_time(record: Record, counts: dict[str, int], machine: Machine) -> float:
    """Seconds in which the weights for the sentences one by one could be read."""
    single = record["result"]["single"]
    read = decoded_bytes(
        sizes_of(record, counts["vocab_size"]),
        single["sentences"],
        single["source_tokens"],
        single["tokens"],
    )
    return read / machine.bytes_per_second().median
