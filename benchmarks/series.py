"""Records grouped into series: the rounds of a measurement, their figures, and comparisons."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.plan import OURS, STEPS_PER_EPOCH
from benchmarks.roofline import Sizes, forward_flops, training_flops, weight_bytes_read

Record = dict[str, Any]
Figure = Callable[[Record], float]


class Spread(NamedTuple):
    """Median and range of several values."""

    median: float
    min: float
    max: float

    def format(self, digits: int = 0, factor: float = 1.0) -> str:
        """Return the median, followed by the range in parentheses if the values differ."""
        median, low, high = (f"{value * factor:,.{digits}f}" for value in self)
        return median if low == high else f"{median} ({low}–{high})"


def spread(values: Iterable[float]) -> Spread:
    """Return median and range of one or more values."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


@dataclass
class Series:
    """The rounds of one measurement.

    Attributes:
        contender: its name.
        label: distinguishes measurements of the contender in the same part.
        job: see `Measurement`.
        records: the successful records by round.
        error: why there are none.
    """

    contender: str
    label: str
    job: str
    records: dict[int, Record]
    error: str | None

    @property
    def first_record(self) -> Record:
        """The first successful record."""
        return next(iter(self.records.values()))

    @property
    def through(self) -> str:
        """How this package translates: by python, session or loop."""
        return self.first_record["settings"].get("through", "python")

    def values(self, figure: Figure) -> dict[int, float]:
        """Return a figure by round."""
        return {index: figure(record) for index, record in self.records.items()}

    def spread(self, figure: Figure) -> Spread:
        """Return median and range of a figure over the rounds."""
        return spread(self.values(figure).values())


def group_series(records: Iterable[Record], part: str, job: str) -> list[Series]:
    """Return the measurements of a part with a job, in the order of their first rounds."""
    result: dict[str, Series] = {}
    for record in records:
        if record["part"] != part or record["job"] != job:
            continue
        series = result.setdefault(
            record["key"], Series(record["contender"], record["label"], job, {}, None)
        )
        if record["error"]:
            series.error = series.error or record["error"]
        else:
            series.records[record["round"]] = record
    return list(result.values())


def find_series(
    group: Iterable[Series], contender: str, label: str, through: str = ""
) -> Series | None:
    """Return a successful measurement, or None."""
    return next(
        (
            series
            for series in group
            if (series.contender, series.label) == (contender, label)
            and series.records
            and (not through or series.through == through)
        ),
        None,
    )


def best_peer(group: Iterable[Series], figure: Figure) -> Series | None:
    """Return the series of another contender with the highest median of a figure."""
    peers = [series for series in group if series.contender != OURS and series.records]
    return max(peers, key=lambda series: series.spread(figure).median, default=None)


def median_ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """Return the median of the ratios within each round; None without a common round."""
    rounds = sorted(ours.keys() & theirs.keys())
    if not rounds:
        return None
    return statistics.median(ours[index] / theirs[index] for index in rounds)


def compare(ours: Series | None, theirs: Series | None, figure: Figure) -> float | None:
    """Return the median ratio of a figure; None if a series is missing."""
    if ours is None or theirs is None:
        return None
    return median_ratio(ours.values(figure), theirs.values(figure))


def tokens_per_second(record: Record) -> float:
    """Return the throughput of a training record."""
    return record["result"]["tokens"] / record["result"]["seconds"]


def epoch_seconds(record: Record) -> float:
    """Return the duration of an epoch, from the mean step time of a training record."""
    return STEPS_PER_EPOCH * record["result"]["seconds"] / record["result"]["steps"]


def sentences_per_second(mode: str) -> Figure:
    """Return the figure for the throughput of a translation record in one of its modes."""
    return lambda record: record["result"][mode]["sentences"] / record["result"][mode]["seconds"]


def latency_ms(record: Record) -> float:
    """Return the median latency of single sentences of a translation record."""
    return record["result"]["single"]["median_milliseconds"]


def peak_memory(record: Record) -> float:
    """Return the peak memory in bytes, of a child process if that did the work."""
    return record["result"].get("peak_memory", record["peak_memory"])


def imported_memory(record: Record) -> float:
    """Return the resident memory after imports in bytes; 0 where unknown."""
    return record["result"].get("imported_memory") or 0


def job_seconds(record: Record) -> float:
    """Return the duration of a whole job, including the start of its process."""
    return record["result"].get("whole_seconds", record["wall"])


class MachineSpeed:
    """The speed of the machine while a part was measured; false if it was not measured."""

    def __init__(self, records: Sequence[Record], part: str) -> None:
        self._results = [
            record["result"]
            for record in records
            if record["contender"] == "machine" and record["part"] == part and record["result"]
        ]

    def __bool__(self) -> bool:
        return bool(self._results)

    def flops_per_second(self, dtype: str) -> Spread:
        """Return the speed of a large matrix product, in FLOP/s."""
        return spread(result["operations_per_second"][dtype] for result in self._results)

    def bytes_per_second(self, key: str = "bytes_per_second") -> Spread:
        """Return the bandwidth of reading a matrix of the size of the decoder's weights."""
        return spread(result[key] for result in self._results)


def sizes_of(record: Record, vocab_size: int) -> Sizes:
    """Return the sizes of the model of a record."""
    settings = record["result"]["settings"]
    if settings["vocab_size"] is not None:
        vocab_size = settings["vocab_size"] + 4
    names = ("embed_size", "num_hiddens", "num_layers")
    return Sizes(*(settings[name] for name in names), vocab_size, settings["attention"])


def roofline_fraction(record: Record, counts: dict[str, int], machine: MachineSpeed) -> float:
    """Return the FLOP/s of a training record as a fraction of the machine's.

    Args:
        record: of training.
        counts: token counts of the corpus, and its `vocab_size`.
        machine: the speed of the machine.
    """
    flops = training_flops(
        sizes_of(record, counts["vocab_size"]),
        counts["source_tokens"],
        counts["target_tokens"],
        counts["products"],
    )
    achieved = tokens_per_second(record) * flops / counts["target_tokens"]
    dtype = record["result"]["settings"]["dtype"]
    return achieved / machine.flops_per_second(dtype).median


def translation_roofline_fraction(
    record: Record, counts: dict[str, int], machine: MachineSpeed
) -> float:
    """Return the FLOP/s of a translation record, whole file, as a fraction of the machine's."""
    result = record["result"]["file"]
    # Approximates the products of attention by those of sentences of mean length.
    products = result["source_tokens"] * result["tokens"] // result["sentences"]
    flops = forward_flops(
        sizes_of(record, counts["vocab_size"]), result["source_tokens"], result["tokens"], products
    )
    dtype = record["result"]["settings"]["dtype"]
    return flops / result["seconds"] / machine.flops_per_second(dtype).median


def weight_reading_ratio(record: Record, counts: dict[str, int], machine: MachineSpeed) -> float:
    """Return the time for single sentences as a multiple of that of reading the weights."""
    single = record["result"]["single"]
    num_bytes = weight_bytes_read(
        sizes_of(record, counts["vocab_size"]),
        single["sentences"],
        single["source_tokens"],
        single["tokens"],
    )
    return single["seconds"] / (num_bytes / machine.bytes_per_second().median)
