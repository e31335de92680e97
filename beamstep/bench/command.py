"""`beamstep bench`: run, search, compare, show, workload."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from beamstep.bench.comparison import METRICS, Ratio, compare
from beamstep.bench.environment import describe
from beamstep.bench.errors import BadInput, GeneratorFailed, ServerFailed
from beamstep.bench.generators import Generators
from beamstep.bench.judging import bears, tail_ms
from beamstep.bench.local_server import serving
from beamstep.bench.measure import Bench, prepare_bench
from beamstep.bench.options import LoadCall
from beamstep.bench.plan import Point, labels, numbers, per_second, sweep, variants
from beamstep.bench.record import ENVIRONMENT, FORMAT, Run, read_recording, write_line
from beamstep.bench.searching import Goal
from beamstep.bench.searching import search as search_rates
from beamstep.bench.tables import print_runs
from beamstep.bench.workload import Workload, read_workload
from beamstep.bench.workload_command import workload_app
from beamstep.call_options import with_options
from beamstep.channel import RetryPolicy
from beamstep.failures import BAD_INPUT, OTHER, failure, failures
from beamstep.output import output_console
from beamstep.pictures.file import check_picture

app = typer.Typer(
    help="Measure a server's latency and throughput.",
    epilog="Exit status: 0 done, 2 bad input, 3 no server there, 1 anything else, a regression among it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(workload_app, name="workload")

WorkloadFile = Annotated[
    Path, typer.Argument(metavar="WORKLOAD", help="JSON lines, as `beamstep bench workload` makes.")
]
Recorded = Annotated[Path, typer.Argument(metavar="FILE", help="Written by --json.")]
Plot = Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw latency over load, and its percentiles.")]


@app.command()
@with_options(LoadCall)
def run(
    workload: WorkloadFile,
    call: LoadCall,
    rate: Annotated[str, typer.Option(metavar="N,...", help="Open loops: requests a second.")] = "",
    concurrency: Annotated[str, typer.Option(metavar="N,...", help="Closed loops: clients.")] = "",
    beam: Annotated[str, typer.Option(metavar="N,...", help="Beam sizes, instead of the requests' own.")] = "",
) -> None:
    """Measure one load or a sweep of them."""
    with _told(call), _Output(call) as output:
        recorded = call.recorded
        rates, clients = numbers("rate", rate), numbers("concurrency", concurrency)
        points = sweep(rates, clients, numbers("beam", beam), recorded=recorded is not None)
        if clients and recorded is not None:
            raise BadInput(
                "--arrivals: a recording beside --concurrency; allowed: poisson or constant, or no --concurrency"
            )
        asked = read_workload(workload)
        servers = list(variants(call.serve or [])) or [""]
        with Generators(call.settings.processes) as generators:
            for repeat in range(call.settings.repeats):
                for server in servers:
                    with _bench(call, asked, points, server, generators) as bench:
                        for point in points:
                            output.add(bench.measure(replace(point, serve=server), repeat))
        output.finish()


@app.command()
@with_options(LoadCall)
def search(
    *,
    workload: WorkloadFile,
    call: LoadCall,
    p99_ms: Annotated[float, typer.Option("--p99-ms", help="The bound on the 99th percentile of latency.")],
    percentile: Annotated[float, typer.Option(help="Bound this percentile instead.")] = 99.0,
    start: Annotated[float, typer.Option(help="The first rate to try.")] = 10.0,
    limit: Annotated[float, typer.Option(help="The highest rate to try.")] = 10_000.0,
    resolution: Annotated[float, typer.Option(help="Stop once the answer is known within this factor.")] = 1.05,
    beam: Annotated[str, typer.Option(metavar="N,...", help="Beam sizes; a search for each.")] = "",
) -> None:
    """Find the highest rate that keeps a percentile of latency under a bound; a failed call counts as longer than any."""
    with _told(call), _Output(call) as output:
        if call.objective_ms is None:
            call = replace(call, objective_ms=p99_ms)
        goal = Goal(percentile, p99_ms, start, limit, resolution)
        if call.recorded is not None:
            raise BadInput(f"--arrivals: {call.arrivals}; allowed in a search: poisson or constant")
        asked = read_workload(workload)
        found = Table()
        for name in ("load", "holds", "fails", "good", "ms"):
            found.add_column(name, justify="left" if name == "load" else "right")
        with Generators(call.settings.processes) as generators:
            for server in list(variants(call.serve or [])) or [""]:
                for point in sweep([start], [], numbers("beam", beam)):
                    with _bench(call, asked, [point], server, generators) as bench:
                        place = replace(point, serve=server)
                        found.add_row(*_search(bench, place, output, goal))
        output.finish()
        output_console().print(f"highest rate with p{percentile:g} of latency within {p99_ms:g} ms", found, sep="\n")


@app.command()
def show(recording: Recorded, plot: Plot = None) -> None:
    """Print the tables of a recording again, or draw it."""
    with _told(None):
        if plot is not None:
            check_picture(plot, ("matplotlib",), "bench")
        runs = read_recording(recording).runs
        print_runs(output_console(), runs)
        _draw(runs, plot)


@app.command("compare")
def compare_recordings(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="Compare with this one.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="Judge this one.")],
    bound: Annotated[float, typer.Option(help="How many times worse B may be.")] = 1.1,
    metric: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(METRICS)}; repeatable. All by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap's draws.")] = 0,
) -> None:
    """Compare two recordings load by load; exit status 1 where B is worse beyond the bound, and not by chance."""
    with _told(None):
        if not bound >= 1:
            raise BadInput(f"--bound: {bound:g}; allowed: from 1")
        for name in metric or ():
            if name not in METRICS:
                raise BadInput(f"--metric: {name!r}; allowed: {', '.join(METRICS)}")
        ratios = compare(read_recording(before), read_recording(after), bound, metric or METRICS, seed)
        _print_ratios(output_console(), ratios)
        worse = [ratio for ratio in ratios if ratio.worse]
        if worse:
            told = "; ".join(f"{ratio.point}: {ratio.metric} {_times(ratio)}" for ratio in worse)
            raise failure(f"worse beyond the bound of {bound:g}: {told}", OTHER)


class _Output:
    """Where runs go: into the file at once, and at the end onto the console and into the picture."""

    def __init__(self, call: LoadCall) -> None:
        self._call = call
        self._stack = ExitStack()
        self._console = Console(stderr=True)
        self.runs: list[Run] = []

    def __enter__(self) -> "_Output":
        if self._call.plot is not None:
            check_picture(self._call.plot, ("matplotlib",), "bench")
        if self._call.json is not None:
            self._file = self._stack.enter_context(self._call.json.open("w", encoding="utf-8"))
            write_line(self._file, {"kind": ENVIRONMENT, "format": FORMAT, **describe()})
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, run: Run) -> None:
        """Keep one run, and say on a terminal that it is done."""
        self.runs.append(run)
        if self._call.json is not None:
            write_line(self._file, run.as_json())
        if self._console.is_terminal:
            p99 = run.latency.percentile_ms(99)
            self._console.print(f"{run.point}, run {run.repeat + 1}: p99 {p99:.3g} ms", style="dim", highlight=False)

    def finish(self) -> None:
        """Print and draw them all; fail where nothing was answered at all."""
        if not any(run.latency.count for run in self.runs):
            codes = sorted({code for run in self.runs for code in run.tally.errors})
            raise failure(f"not one call was answered: {', '.join(codes) or 'none was due'}", OTHER)
        print_runs(output_console(), self.runs)
        _draw(self.runs, self._call.plot)


@contextmanager
def _told(call: LoadCall | None) -> Iterator[None]:
    """Turn whatever a user can cause into one sentence on stderr and an exit status."""
    with failures("" if call is None else call.address):
        try:
            yield
        except BadInput as error:
            raise failure(str(error), BAD_INPUT) from None
        except (ServerFailed, GeneratorFailed) as error:
            raise failure(str(error), OTHER) from None


@contextmanager
def _bench(
    call: LoadCall, asked: Workload, points: Iterable[Point], server: str, generators: Generators
) -> Iterator[Bench]:
    """Make ready to measure these points on the server that is there, or on one of our own."""
    beams = {point.beam_size for point in points}
    with serving(server) if server else nullcontext(call.endpoint(RetryPolicy(attempts=1))) as endpoint:
        yield prepare_bench(endpoint, call.settings, asked, recorded=call.recorded, beams=beams, generators=generators)


def _search(bench: Bench, point: Point, output: _Output, goal: Goal) -> Sequence[str]:
    """Search and return a row of the table."""
    measured: dict[float, list[Run]] = {}

    def holds(rate: float) -> bool:
        measured[rate] = [bench.measure(replace(point, rate=rate), repeat) for repeat in range(bench.settings.repeats)]
        for run in measured[rate]:
            output.add(run)
        return bears(measured[rate], goal.percentile, goal.bound_ms)

    found = search_rates(holds, goal)
    label = str(replace(point, rate=None)).removeprefix("as recorded").removeprefix(", ") or "any"
    if found.holds is None:
        return label, "none", per_second(found.fails or 0), "", ""
    runs = measured[found.holds]
    good = sum(run.goodput for run in runs) / len(runs)
    fails = "" if found.fails is None else per_second(found.fails)
    return label, per_second(found.holds), fails, per_second(good), f"{tail_ms(runs, goal.percentile):.3g}"


def _print_ratios(console: Console, ratios: Sequence[Ratio]) -> None:
    console.print("B over A, and where 95 % of a bootstrap's draws lie")
    table = Table()
    for name in ("load", "metric", "A", "B", "B / A", "95 %", ""):
        table.add_column(name, justify="left" if name in ("load", "metric", "") else "right")
    names = labels([ratio.point for ratio in ratios])
    for ratio in ratios:
        unit = {"rate": "/s", "failed": ""}.get(ratio.metric, " ms")
        spread = "" if math.isnan(ratio.low) else f"{ratio.low:.3f}-{ratio.high:.3f}"
        table.add_row(
            names[ratio.point],
            ratio.metric,
            f"{ratio.before:.4g}{unit}",
            f"{ratio.after:.4g}{unit}",
            _times(ratio),
            spread,
            "worse" if ratio.worse else "",
        )
    console.print(table)


def _times(ratio: Ratio) -> str:
    return f"{ratio.ratio:.3f}" if math.isfinite(ratio.ratio) else "-"


def _draw(runs: Sequence[Run], plot: Path | None) -> None:
    if plot is not None:
        from beamstep.bench.curves import curves
        from beamstep.pictures.load import draw_load
        from beamstep.pictures.style import write

        write(draw_load(*curves(runs)), plot)
