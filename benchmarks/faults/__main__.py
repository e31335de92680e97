"""The long forms: python -m benchmarks.faults [ROW ...] [--minutes M] [--count N] [--write docs/reliability.md].

Run at the root of the repository, for the planned models are those of the tests.
"""

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.documents import write_into
from benchmarks.environment import describe
from benchmarks.faults.calls import PLANNED, SHIPPED, Sound, Subject, sound_requests
from benchmarks.faults.cancelling import cancelling
from benchmarks.faults.hostile import Sizes, hostile
from benchmarks.faults.killing import killing
from benchmarks.faults.mutated import mutated
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.overload import overload
from benchmarks.faults.servers import confined, watched
from benchmarks.faults.soak import soak
from benchmarks.faults.stopping import stopping
from benchmarks.faults.swapping import swapping
from benchmarks.faults.troubled import troubled
from benchmarks.faults.watched import Setup
from benchmarks.nginx import NoNginxError, nginx

MODELS: Final = Path(__file__).parents[2] / "models"
GUARD: Final = "127.0.0.1:50060"
GUARDED: Final = 50061
"""Where deploy/guard.conf listens, and where it looks for the server."""
WAITING_SOURCES: Final = 16
WAITING_STEP_S: Final = 0.01
"""An accelerator that this comes to about a hundred answers a second with; its step takes no core."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        run: takes its size: seconds where `unit` is minutes, otherwise a number.
        size: that of the issue, in `unit`.
        unit: "minutes", "count", or "" for a row that has one size alone.
    """

    run: Callable[[float], Awaitable[Outcome]]
    size: float
    unit: str


def _shipped() -> Setup:
    return Setup(str(MODELS), prefer=["translation-en-de"])


async def _mutated(count: float) -> Outcome:
    with watched(Setup("", kind="planned")) as server:
        return await mutated(server, round(count), clients=32)


async def _mutated_shipped(count: float) -> Outcome:
    with watched(_shipped()) as server:
        return await mutated(server, round(count), seed=1, subject=SHIPPED)


async def _overload(seconds: float) -> Outcome:
    with watched(_shipped()) as server:
        return await overload(server, _translation(SHIPPED), seconds=seconds, peak_s=max(4, seconds / 6), clients=64)


async def _overload_waiting(seconds: float) -> Outcome:
    """The step waits, as for an accelerator: what is judged is the serving of calls alone."""
    limits = {"batch_sources": WAITING_SOURCES, "waiting_requests": 2 * WAITING_SOURCES}
    with watched(Setup("", kind="planned", step_s=WAITING_STEP_S, limits=limits)) as server:
        return await overload(
            server,
            _translation(PLANNED),
            seconds=seconds,
            peak_s=max(4, seconds / 6),
            clients=WAITING_SOURCES,
            path=f", {WAITING_SOURCES} sources at a time, whose step waits {1000 * WAITING_STEP_S:g} ms",
        )


async def _overload_guarded(seconds: float) -> Outcome:
    """The same as `overload`, with nginx in front of the server, which has its cores to itself as on a machine of its own."""
    *own, last = sorted(os.sched_getaffinity(0))
    where = f" on {len(own)} of {len(own) + 1} cores; through nginx with deploy/guard.conf, on the last core beside the load"
    try:
        with ExitStack() as stack:
            with confined(own):
                server = stack.enter_context(watched(replace(_shipped(), port=GUARDED)))
            stack.enter_context(confined([last]))
            stack.enter_context(nginx("guard.conf", GUARD))
            return await overload(
                server,
                _translation(SHIPPED),
                seconds=seconds,
                peak_s=max(4, seconds / 6),
                clients=64,
                address=GUARD,
                path=where,
            )
    except NoNginxError as error:
        return Outcome("nothing", (), [str(error)])


def _translation(subject: Subject) -> Sound:
    return next(sound for sound in sound_requests(subject) if sound.rpc == "TranslationService/TranslateText")


async def _cancelling(seconds: float) -> Outcome:
    with watched(Setup("", kind="planned", step_s=0.01)) as server:
        return await cancelling(server, connections=500, seconds=seconds)


async def _stopping(times: float) -> Outcome:
    return await stopping(times=round(times), clients=32)


async def _killing(times: float) -> Outcome:
    return await killing(times=round(times), clients=24, loaded_s=2)


async def _swapping(times: float) -> Outcome:
    return await swapping(times=round(times), clients=16)


async def _hostile(_: float) -> Outcome:
    sizes = Sizes(idle=_most_idle(), half_open=200, slow=100, bomb_mebibytes=60, victim_s=2, repeats=3)
    with watched(Setup("", kind="planned", step_s=0.01)) as server:
        return await hostile(server, sizes)


def _most_idle() -> int:
    """Return 10,000, or as many connections as this process may have, some aside for all else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(10_000, max(soft, hard) - 1000)


async def _troubled(times: float) -> Outcome:
    with watched(Setup("", kind="troubled", step_s=0.02)) as server:
        return await troubled(server, times=round(times))


async def _soak(seconds: float) -> Outcome:
    with watched(_shipped()) as server:
        return await soak(server, seconds=seconds)


ROWS: Final[Mapping[str, Row]] = {
    "mutated": Row(_mutated, 1_000_000, "count"),
    "mutated-shipped": Row(_mutated_shipped, 10_000, "count"),
    "overload": Row(_overload, 1, "minutes"),
    "overload-waiting": Row(_overload_waiting, 1, "minutes"),
    "overload-guarded": Row(_overload_guarded, 1, "minutes"),
    "cancelling": Row(_cancelling, 10, "minutes"),
    "stopping": Row(_stopping, 50, "count"),
    "killing": Row(_killing, 20, "count"),
    "swapping": Row(_swapping, 100, "count"),
    "hostile": Row(_hostile, 1, ""),
    "troubled": Row(_troubled, 50, "count"),
    "soak": Row(_soak, 30, "minutes"),
}


def faults(
    rows: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(ROWS)}; all by default.")] = None,
    *,
    minutes: Annotated[float | None, typer.Option(min=0.05, help="How long the rows that last are run.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How much the rows that count do.")] = None,
    write: Annotated[Path | None, typer.Option(help="A document with a place for each row, to put them into.")] = None,
) -> None:
    """Run rows in their long forms, as large as issue 6 says unless told otherwise, and print what came out."""
    unknown = [name for name in rows or () if name not in ROWS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; allowed: {', '.join(ROWS)}", param_hint="ROW")
    machine = describe()
    all_met = True
    for name in rows or ROWS:
        row = ROWS[name]
        given = {"minutes": minutes, "count": count, "": None}[row.unit]
        size = row.size if given is None else given
        began = time.monotonic()
        outcome = asyncio.run(_awaited(row.run(size * 60 if row.unit == "minutes" else size)))
        all_met &= outcome.verdict == "met"
        lines = list(
            as_markdown(outcome, machine, row.size if given is not None and given != row.size else None, row.unit)
        )
        typer.echo("\n".join([f"## {name}, {time.monotonic() - began:.0f} s", "", *lines]))
        if write is not None:
            write_into(write, f"python -m benchmarks.faults {name}", lines)
    if not all_met:
        raise typer.Exit(1)


async def _awaited(outcome: Awaitable[Outcome]) -> Outcome:
    return await outcome


def as_markdown(outcome: Outcome, machine: Mapping[str, str], whole: float | None, unit: str) -> Iterator[str]:
    """Yield the lines of a row.

    Args:
        outcome: what came out.
        machine: where.
        whole: the size that the row has by itself, where another was run.
        unit: of it.
    """
    other = "" if whole is None else f" (the whole row is {whole:,.10g} {unit})"
    yield ""
    yield f"**{outcome.verdict}**"
    yield ""
    yield f"- {outcome.done}{other}."
    for figure in outcome.figures:
        yield f"- {figure}."
    where = (
        f"{machine['processor']}; {machine['versions']}; code {machine['code']}; load before {machine['load before']}"
    )
    yield f"- {datetime.now(UTC).date().isoformat()}, {where}."
    yield ""


if __name__ == "__main__":
    typer.run(faults)
