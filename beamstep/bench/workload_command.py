"""`beamstep bench workload`: files of requests, made from what is at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from beamstep.bench import making
from beamstep.bench.errors import BadInput
from beamstep.bench.making import Skew, check_range, write_workload
from beamstep.bench.workload import POINT_TASKS, read_workload
from beamstep.failures import BAD_INPUT, failure, failures

workload_app = typer.Typer(help="Make a workload file.", no_args_is_help=True, add_completion=False)

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Write the workload here.")]
Count = Annotated[int, typer.Option(min=1, help="How many requests.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed makes the same file.")]
Lengths = Annotated[Skew, typer.Option(help="How lengths are spread.")]


@workload_app.command()
def sentences(
    *,
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="UTF-8, a sentence a line.")],
    output: Output,
    count: Count = 256,
    lengths: Lengths = Skew.NATURAL,
    shortest: Annotated[int, typer.Option(help="Fewest words.")] = 1,
    longest: Annotated[int, typer.Option(help="Most words.")] = 100,
    seed: Seed = 0,
) -> None:
    """Take sentences of a text, by their length in words."""
    with _told():
        check_range("--shortest", shortest, "--longest", longest, 1)
        print(_write(output, making.sentences(text, count, lengths, shortest=shortest, longest=longest, seed=seed)))


@workload_app.command()
def photos(
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of JPEG, PNG or WebP files.")],
    output: Output,
    count: Annotated[int | None, typer.Option(min=1, help="How many of them; by default all.")] = None,
    popularity: Annotated[Skew, typer.Option(help="How often each of them is asked.")] = Skew.UNIFORM,
    seed: Seed = 0,
) -> None:
    """Take the photos of a folder."""
    with _told():
        print(_write(output, making.photos(folder, output, count, popularity, seed=seed)))


@workload_app.command()
def points(
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help=f"One of {', '.join(POINT_TASKS)}.")],
    output: Output,
    count: Count = 256,
    lengths: Lengths = Skew.UNIFORM,
    fewest: Annotated[int, typer.Option(help="Fewest points of a set.")] = 5,
    most: Annotated[int, typer.Option(help="Most points of a set.")] = 20,
    seed: Seed = 0,
) -> None:
    """Draw sets of points evenly from the unit square."""
    with _told():
        if task not in POINT_TASKS:
            raise BadInput(f"TASK: {task!r}; allowed: {', '.join(POINT_TASKS)}")
        check_range("--fewest", fewest, "--most", most, 1)
        print(_write(output, making.point_sets(task, count, lengths, fewest=fewest, most=most, seed=seed)))


def _write(output: Path, requests: Iterator[dict[str, object]]) -> str:
    count = write_workload(output, requests)
    return f"{output}: {count} requests, sha256 {read_workload(output).sha256[:16]}"


@contextmanager
def _told() -> Iterator[None]:
    with failures(""):
        try:
            yield
        except BadInput as error:
            raise failure(str(error), BAD_INPUT) from None
