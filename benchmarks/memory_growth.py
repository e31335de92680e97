"""Sends many short requests and says how much the server's memory grew: python -m benchmarks.memory_growth --requests 100000.

Requests differ in everything that decides the sizes of tensors: length of the source and of the answer, beam, attention. Growth
counts from the memory held after the first 1,000 of them.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks import environment
from benchmarks.bare_loop import BareLoop
from benchmarks.clients import ClientProcess
from benchmarks.engine_table import SUBJECTS
from benchmarks.serving_process import serving
from benchmarks.workload import Request, Workload

WARM_UP: Final = 1000
TARGET_PERCENT: Final = 2.0
LOOKS: Final = 20
"""How often the memory is read on the way."""
SHAPES: Final = 400
"""Requests that differ; they are sent over and over."""


@dataclass(frozen=True)
class Look:
    """The server's memory after so many requests."""

    requests: int
    mebibytes: float


def memory_growth(
    *,
    requests: Annotated[int, typer.Option(min=2 * LOOKS, help="Requests after the first 1,000.")] = 100_000,
    clients: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 32,
    most_pieces: Annotated[int, typer.Option(min=3, help="Longest source.")] = 8,
    most_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 2,
    bundle: Annotated[str, typer.Option(help=f"One of {','.join(SUBJECTS)}.")] = "shipped",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here too.")] = None,
) -> None:
    """Print the server's memory as it goes, and its growth."""
    if bundle not in SUBJECTS:
        raise typer.BadParameter(f"given {bundle!r}; allowed: one of {','.join(SUBJECTS)}", param_hint="--bundle")
    subject = SUBJECTS[bundle]
    machine = environment.describe()
    for name, value in machine.items():
        typer.echo(f"{name}: {value}")
    workload = Workload(BareLoop(subject.models / subject.key).task, ends=subject.ends)
    sent = short_requests(workload, most_pieces, most_tokens)
    looks: list[Look] = []
    began = time.monotonic()
    with (
        serving(subject.models, ["--prefer", subject.key.partition("/")[0]]) as server,
        ClientProcess(server.address) as calling,
    ):

        def send(count: int) -> None:
            calling.measure(sent, clients=clients, skip=0, count=count)
            done = looks[-1].requests + count if looks else 0
            looks.append(Look(done, server.resident_bytes / 2**20))
            typer.echo(f"{done:7} requests, {looks[-1].mebibytes:.1f} MiB, {time.monotonic() - began:.0f} s")

        send(WARM_UP)
        for _ in range(LOOKS):
            send(requests // LOOKS)
    grown = growth_percent(looks)
    verdict = "met" if grown <= TARGET_PERCENT else "NOT met"
    typer.echo(f"growth after the first {WARM_UP}: {grown:.2f} % (target: at most {TARGET_PERCENT:g} %, {verdict})")
    if json_file is not None:
        document = {"environment": machine, "looks": [asdict(look) for look in looks], "growth_percent": grown}
        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def short_requests(workload: Workload, most_pieces: int, most_tokens: int, seed: int = 0) -> list[Request]:
    """Return requests of every shape: beams of 1 to 5, lengths up to what is given, one in ten with all an answer can bring."""
    generator = random.Random(seed)
    made = []
    for _ in range(SHAPES):
        one = workload.request(generator.randint(3, most_pieces), generator.randint(1, most_tokens))
        beam_size, everything = generator.randint(1, 5), generator.random() < 0.1
        made.append(Request(one.text, one.pieces, one.answer_length, one.banning, beam_size, everything))
    return made


def growth_percent(looks: Sequence[Look]) -> float:
    """Return how much more memory the last look found than the first."""
    return 100 * (looks[-1].mebibytes / looks[0].mebibytes - 1)


if __name__ == "__main__":
    typer.run(memory_growth)
