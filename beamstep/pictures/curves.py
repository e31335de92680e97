"""Learning curves: what `beamstep train` wrote into each run's metrics.jsonl."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from beamstep.pictures.file import BadPicture, Over
from beamstep.pictures.style import FAINT, RUNS, plain, styled

METRICS_FILE: Final = "metrics.jsonl"
PANEL_INCHES: Final = (4.6, 3.3)
UNITS: Final = {
    "loss": "validation loss, nats a token",
    "token_accuracy": "validation token accuracy, %",
    "perplexity": "validation perplexity",
    "training_loss": "training loss (smoothed), nats a token",
}
"""How an axis is labelled; another metric by its own name."""


@dataclass(frozen=True)
class Curve:
    """One run's validations, in order, and that of its averaged weights, which it has when it is over."""

    name: str
    validations: Sequence[dict[str, Any]]
    averaged: Sequence[dict[str, Any]]


def read_curves(runs: Sequence[Path]) -> list[Curve]:
    """Read what runs said of themselves; a run is called as its folder, or by its path where two folders are called alike.

    Raises:
        FileNotFoundError: a folder has no metrics.jsonl.
        BadPicture: a file has a line that `beamstep train` does not write, or no validation yet.
    """
    names = [run.resolve().name for run in runs]
    return [_read(run, name if names.count(name) == 1 else str(run)) for run, name in zip(runs, names, strict=True)]


def draw_curves(curves: Sequence[Curve], metrics: Sequence[str], over: Over, title: str = "") -> Figure:
    """Draw a panel for each metric, with a line for each run that has it; a star is the average of a run's checkpoints.

    Raises:
        BadPicture: no run has the metric.
    """
    width, height = PANEL_INCHES
    with styled():
        figure = Figure(figsize=(width * len(metrics), height + 0.4))
        for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False).flat, metrics, strict=True):
            _check_metric(curves, metric)
            for number, curve in enumerate(curves):
                colour = RUNS[number % len(RUNS)]
                lines = [line for line in curve.validations if metric in line]
                places, values = [_place(line, over) for line in lines], [line[metric] for line in lines]
                marker = "o" if len(lines) == 1 else ""  # a line of one point would not be seen
                axes.plot(places, values, color=colour, linewidth=1.6, marker=marker, label=plain(curve.name))
                averages = [line for line in curve.averaged if metric in line]
                places, values = [_place(line, over) for line in averages], [line[metric] for line in averages]
                axes.plot(places, values, color=colour, linestyle="", marker="*", markersize=11)
            axes.grid(visible=True)
            axes.margins(x=0.04)
            axes.set_xlabel("updates" if over is Over.STEPS else "minutes of training")
            axes.set_title(UNITS.get(metric, plain(metric)))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        if any(curve.averaged for curve in curves):
            handles.append(Line2D([], [], color=FAINT, linestyle="", marker="*", markersize=9))
            labels += ["average of checkpoints"]
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        if title:
            figure.suptitle(plain(title), x=0.02, ha="left", fontsize=12)
    return figure


def _read(run: Path, name: str) -> Curve:
    file = run / METRICS_FILE
    lines = [_parse(file, number, text) for number, text in enumerate(file.read_text("utf-8").splitlines(), start=1)]
    validations = [line for line in lines if line["kind"] == "validation"]
    if not validations:
        raise BadPicture(f"{file}: no validation yet; allowed: a run that has been validated once")
    return Curve(name, validations, [line for line in lines if line["kind"] == "averaged"])


def _place(line: dict[str, Any], over: Over) -> float:
    return float(line["step"]) if over is Over.STEPS else float(line["seconds"]) / 60


def _parse(file: Path, number: int, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
        line["kind"], float(line["step"]), float(line["seconds"])
    except (ValueError, TypeError, KeyError):
        allowed = "an object with kind, step and seconds, as beamstep train writes it"
        raise BadPicture(f"{file}, line {number}: {text[:60]!r}; allowed: {allowed}") from None
    return dict(line)


def _check_metric(curves: Sequence[Curve], metric: str) -> None:
    known = {name for curve in curves for line in curve.validations for name in line} - {
        "kind",
        "step",
        "epoch",
        "seconds",
    }
    if metric not in known:
        raise BadPicture(f"metric: given {metric!r}; allowed for these runs: {', '.join(sorted(known))}")
