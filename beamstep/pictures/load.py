"""Latency over load, and the percentiles of every load, from its median to its slowest request."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from beamstep.pictures.style import FAINT, RUNS, plain, styled


class LoadCurve(NamedTuple):
    """Latencies of a sweep: `points` are (load, achieved rate, median, 99th percentile), in ms, by load."""

    name: str
    axis: str
    points: Sequence[tuple[float, float, float, float]]


class PercentileCurve(NamedTuple):
    """The latency of one load at each percentile, which are below 100; in ms."""

    name: str
    percentiles: Sequence[float]
    latencies: Sequence[float]


def draw_load(loads: Sequence[LoadCurve], percentiles: Sequence[PercentileCurve]) -> Figure:
    """Draw both panels; time is logarithmic, and percentiles so that each further nine takes as much room."""
    with styled():
        figure = Figure(figsize=(11, 4.4))
        over_load, over_percentile = figure.subplots(1, 2)
        for number, curve in enumerate(loads):
            colour = RUNS[number % len(RUNS)]
            places = [point[0] for point in curve.points]
            name = plain(f"{curve.name}: " if curve.name else "")
            over_load.plot(places, [point[3] for point in curve.points], color=colour, marker="o", label=f"{name}p99")
            half = [point[2] for point in curve.points]
            over_load.plot(places, half, color=colour, marker="o", linestyle="--", label=f"{name}p50")
        over_load.set_xlabel(loads[0].axis)
        over_load.set_title("latency over load, ms")
        for number, share in enumerate(percentiles):
            colour = RUNS[number % len(RUNS)]
            rest = [1 / (1 - percentile / 100) for percentile in share.percentiles]
            over_percentile.plot(rest, share.latencies, color=colour, label=plain(share.name))
        over_percentile.set_xscale("log")
        ticks = {1: "0", 2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99", 100_000: "99.999"}
        most = max((1 / (1 - curve.percentiles[-1] / 100) for curve in percentiles), default=1)
        shown = {place: label for place, label in ticks.items() if place <= most}
        over_percentile.set_xticks(list(shown), list(shown.values()))
        over_percentile.minorticks_off()
        over_percentile.set_xlabel("percentile")
        over_percentile.set_title("latency up to each percentile, ms")
        for axes in (over_load, over_percentile):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.grid(visible=True)
            axes.legend(labelcolor=FAINT, fontsize=8)
    return figure
