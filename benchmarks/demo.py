"""`make demo`: starts a server on the shipped bundles, calls it as any program would, and stops it.

    python -m benchmarks.demo [--models models]

Text, a photo and points go over gRPC through `beamstep.client.Client`; nothing here knows how the server works.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from beamstep.client import Client
from beamstep.errors import ServiceError
from beamstep.v1.decoding_pb2 import Decoding, ModelReference, Timings
from beamstep.v1.model_pb2 import Task
from benchmarks.serving_process import ServingError, serving

SENTENCES: Final = (
    "Two dogs are playing in the snow.",
    "A little girl in a red coat is eating an apple.",
    "Three men are sitting on a bench and talking.",
)
TRANSLATOR: Final = "translation-en-de"
POINT_COUNT: Final = 12
TRIANGULATED: Final = 8  # few enough for one line
SEED: Final = 7
PLOT_COLUMNS: Final = 48
PLOT_ROWS: Final = 16

Point = tuple[float, float]


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def demo(models: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("models")) -> None:
    """Translate, caption a photo and answer questions about points, on a server that this command starts and stops."""
    console = Console(highlight=False)
    began = time.monotonic()
    try:
        with serving(models, services="") as server, Client(server.address) as client:
            console.print(f"The server is up on {server.address} after {time.monotonic() - began:.1f} s.")
            show_everything(client, console)
        console.print("\nThe server has stopped. `make serve` starts it for you to call.")
    except (DemoError, ServiceError, ServingError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def show_everything(client: Client, console: Console) -> None:
    """Call every service that a model is loaded for."""
    tasks = {model.task for model in client.list_models().models}
    needed = {Task.TASK_TRANSLATION, Task.TASK_CAPTIONING, Task.TASK_CONVEX_HULL}
    if missing := needed - tasks:
        raise DemoError(f"no model is loaded for {', '.join(sorted(_task_name(task) for task in missing))}")
    show_translations(client, console)
    show_caption(client, console)
    generator = random.Random(SEED)
    points = [(generator.random(), generator.random()) for _ in range(POINT_COUNT)]
    show_hull(client, console, points)
    if Task.TASK_TOUR in tasks:
        show_tour(client, console, points)
    if Task.TASK_DELAUNAY in tasks:
        show_triangulation(client, console, points[:TRIANGULATED])


def show_translations(client: Client, console: Console) -> None:
    """Translate a few sentences."""
    for number, sentence in enumerate(SENTENCES):
        answer = client.translate(sentence, model=TRANSLATOR)
        if number == 0:
            _print_title(console, "A German translation", answer.model)
        best = answer.hypotheses[0]
        console.print(Text(f"  {sentence}"))
        _print_answer(console, best.text, best.decoding, answer.timings)


def show_caption(client: Client, console: Console) -> None:
    """Caption the photo of Grace Hopper in matplotlib's sample data."""
    try:
        from matplotlib.cbook import get_sample_data
    except ModuleNotFoundError:
        raise DemoError("the photo is in matplotlib, which is not installed: pip install 'beamstep[demo]'") from None
    photo = get_sample_data("grace_hopper.jpg", asfileobj=False)
    answer = client.caption(photo)
    _print_title(console, f"A caption of {Path(photo).name}", answer.model)
    best = answer.hypotheses[0]
    _print_answer(console, best.caption, best.decoding, answer.timings)


def show_hull(client: Client, console: Console, points: Sequence[Point]) -> None:
    """Find the convex hull of points and draw it."""
    answer = client.find_convex_hull(points)
    best = answer.hypotheses[0]
    _print_title(console, f"The convex hull of {len(points)} points", answer.model)
    for row in plot(points, best.point_indices):
        console.print(row)
    size = f"area {best.area:.3f}" if best.valid else "not a simple polygon"
    _print_answer(console, f"corners {_listed(best.point_indices)}; {size}", best.decoding, answer.timings)


def show_tour(client: Client, console: Console, points: Sequence[Point]) -> None:
    """Find a short tour through the points."""
    answer = client.find_tour(points)
    best = answer.hypotheses[0]
    _print_title(console, "A short tour through them", answer.model)
    size = f"length {best.length:.3f}" if best.valid else "not every point once"
    _print_answer(console, f"{_listed(best.point_indices)}; {size}", best.decoding, answer.timings)


def show_triangulation(client: Client, console: Console, points: Sequence[Point]) -> None:
    """Find the Delaunay triangulation of the points."""
    answer = client.find_delaunay_triangulation(points)
    best = answer.hypotheses[0]
    _print_title(console, f"The Delaunay triangulation of the first {len(points)}", answer.model)
    triangles = " ".join(f"{triangle.a}-{triangle.b}-{triangle.c}" for triangle in best.triangles)
    size = "covers the hull" if best.valid else "has gaps or overlaps"
    _print_answer(console, f"{triangles}; {size}", best.decoding, answer.timings)


def plot(points: Sequence[Point], corners: Sequence[int]) -> list[Text]:
    """Draw points of the unit square as their numbers, corners in bold and the others dim."""
    rows = [Text(" " * PLOT_COLUMNS) for _ in range(PLOT_ROWS)]
    for index, (x, y) in enumerate(points):
        label = str(index)
        column = round(x * (PLOT_COLUMNS - 2))
        row = round((1 - y) * (PLOT_ROWS - 1))
        style = "bold green" if index in corners else "dim"
        rows[row] = rows[row][:column] + Text(label, style) + rows[row][column + len(label) :]
    return rows


def _print_title(console: Console, title: str, model: ModelReference) -> None:
    console.print(Text.assemble("\n", (title, "bold"), f" from {model.name}/{model.version}"))


def _print_answer(console: Console, answer: str, decoding: Decoding, timings: Timings) -> None:
    total_ms = timings.total_time.ToTimedelta().total_seconds() * 1000
    note = f"  score {decoding.score:.3f}, {timings.step_count} steps, {total_ms:.0f} ms"
    console.print(Text.assemble("  → ", (answer, "bold green"), (note, "dim")), soft_wrap=True)


def _listed(indices: Sequence[int]) -> str:
    return " ".join(map(str, indices))


def _task_name(task: int) -> str:
    return Task.Name(Task.ValueType(task)).removeprefix("TASK_").lower().replace("_", " ")


if __name__ == "__main__":
    typer.run(demo)
