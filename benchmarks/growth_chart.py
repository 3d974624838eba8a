"""A chart of the cost of training against each size."""

from pathlib import Path
from typing import Any

from benchmarks.growth import growth_points
from benchmarks.plan import GROWTH
from benchmarks.series import MachineSpeed


def plot_growth(document: dict[str, Any], path: Path) -> None:
    """Plot a panel for each size: the measured time, and the roofline."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = growth_points(document)
    machine = MachineSpeed(document["records"], "growth")
    figure, panels = pyplot.subplots(
        1, len(points), figsize=(3.2 * len(points), 3.2), squeeze=False, layout="constrained"
    )
    for panel, (name, row) in zip(panels[0], points.items(), strict=True):
        sizes = [point.size for point in row]
        factor = 1 if name == "pairs" else 1000
        medians = [factor * point.seconds.median for point in row]
        errors = [
            [factor * (point.seconds.median - point.seconds.min) for point in row],
            [factor * (point.seconds.max - point.seconds.median) for point in row],
        ]
        panel.errorbar(sizes, medians, errors, marker="o", capsize=3, label="measured")
        if machine:
            speed = machine.flops_per_second("float32").median
            bounds = [factor * point.flops / speed for point in row]
            panel.plot(sizes, bounds, linestyle="--", color="grey", label="roofline")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        panel.set_xlabel(GROWTH[name][0])
        panel.set_ylabel("s per epoch" if name == "pairs" else "ms per step")
        panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
