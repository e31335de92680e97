"""Remakes the pictures of docs/pictures.md from the shipped bundles, and learning curves from runs.

    python -m benchmarks.pictures [--models models] [--output docs/pictures] [--run runs/A --run runs/B]

Which points are drawn is stated by their seeds and not by what the models make of them: the first so many sets, right or wrong.
The photo is matplotlib's sample of Grace Hopper, taken by the U.S. Navy and in the public domain.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from beamstep.client import Client, DecodingOptions
from beamstep.pictures.answers import PointingAnswer, drawing_of
from beamstep.pictures.attention import draw_alignment, draw_looks
from beamstep.pictures.curves import draw_curves, read_curves
from beamstep.pictures.file import Over
from beamstep.pictures.points import draw_panels
from beamstep.pictures.style import write
from beamstep.points import Point
from benchmarks.demo import TRANSLATOR
from benchmarks.serving_process import serving

SENTENCE: Final = "A woman is holding a child who is wearing a white hat."
HULLS: Final = 6
HULL_POINTS: Final = 50
TRIANGULATIONS: Final = 3
TRIANGULATED: Final = 10
TOURS: Final = 3
TOURED: Final = 20
FIRST_SEED: Final = 1
LOOK: Final = DecodingOptions(include_attention=True)
COLOURS: Final = 64
JPEG_QUALITY: Final = 85


def pictures(
    models: Annotated[Path, typer.Option(help="The folder of bundles.")] = Path("models"),
    output: Annotated[Path, typer.Option(help="Write the pictures into this folder.")] = Path("docs/pictures"),
    run: Annotated[
        list[Path] | None, typer.Option(help="A run folder to draw the learning curve of. Repeatable.")
    ] = None,
) -> None:
    """Draw what the documentation shows."""
    console = Console(highlight=False)
    output.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    if run:
        figures["curves"] = draw_curves(read_curves(run), ["loss", "token_accuracy"], Over.STEPS)
    with serving(models, services="") as server, Client(server.address) as client:
        figures["alignment"] = alignment(client)
        figures["caption"] = looks(client)
        hulls = [(points, client.find_convex_hull(points)) for points in sets(HULLS, HULL_POINTS)]
        figures["hulls"] = panels(hulls, f"Hulls of {HULL_POINTS} points")
        found = [(points, client.find_delaunay_triangulation(points)) for points in sets(TRIANGULATIONS, TRIANGULATED)]
        figures["triangulations"] = panels(found, f"Triangulations of {TRIANGULATED} points")
        tours = [(points, client.find_tour(points)) for points in sets(TOURS, TOURED)]
        figures["tours"] = panels(tours, f"Tours of {TOURED} points")
    for name, figure in figures.items():
        file = output / f"{name}.png"
        write(figure, file)
        file = _shrink(file, photo=name == "caption")
        console.print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def alignment(client: Client) -> Figure:
    """Draw the alignment matrix of a sentence."""
    answer = client.translate(SENTENCE, model=TRANSLATOR, options=LOOK)
    best = answer.hypotheses[0]
    return draw_alignment(best.decoding, answer.source_pieces, best.text)


def looks(client: Client) -> Figure:
    """Draw where a captioner looks for each word."""
    photo = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
    answer = client.caption(photo, options=LOOK)
    best = answer.hypotheses[0]
    return draw_looks(photo, best.decoding, answer.attention_grid, best.caption)


def panels(answers: Sequence[tuple[list[Point], PointingAnswer]], title: str) -> Figure:
    """Draw answers beside each other, whatever they are."""
    return draw_panels([(points, drawing_of(answer)[1], "") for points, answer in answers], title)


def sets(count: int, size: int) -> Iterator[list[Point]]:
    """Yield sets of points drawn evenly from the unit square, those of the seeds from `FIRST_SEED` on."""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        generator = random.Random(seed)
        yield [(generator.random(), generator.random()) for _ in range(size)]


def _shrink(file: Path, photo: bool) -> Path:
    """Write a PNG again so that it loads fast: in a palette, or with a photo in it as JPEG; return what it became."""
    with Image.open(file) as image:
        drawn = image.convert("RGB")
    if photo:
        file.unlink()
        file = file.with_suffix(".jpg")
        drawn.save(file, quality=JPEG_QUALITY, optimize=True)
    else:
        drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return file


if __name__ == "__main__":
    typer.run(pictures)
