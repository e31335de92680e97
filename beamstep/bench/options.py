"""The options that `run` and `search` share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer

from beamstep.bench.arrivals import Kind, Times, read_arrivals
from beamstep.bench.plan import Protocol, Settings
from beamstep.call_options import Connection

DEFAULTS: Final = Settings()
ASKED: Final = "What is asked"
MEASURED: Final = "What is measured"
SENT: Final = "How it is sent"
OUTPUT: Final = "Output"


@dataclass(frozen=True, kw_only=True)
class LoadCall(Connection):
    """What is asked of which server, how, and where the figures go."""

    as_json: bool = field(init=False, default=False)  # here --json names a file
    protocol: Annotated[
        Protocol, typer.Option(help="Our typed API, or KServe v2 of any server.", rich_help_panel=ASKED)
    ] = DEFAULTS.protocol
    model: Annotated[
        str, typer.Option(help="NAME or NAME/VERSION, where a request names none.", rich_help_panel=ASKED)
    ] = ""
    tensor: Annotated[
        str, typer.Option(help="KServe: the input that a request goes into; by default found.", rich_help_panel=ASKED)
    ] = ""
    stream: Annotated[
        bool, typer.Option("--stream", help="Ask for answers in parts, as texts have them.", rich_help_panel=ASKED)
    ] = False
    arrivals: Annotated[
        str,
        typer.Option(
            metavar="poisson|constant|FILE",
            help="When requests of an open loop are due; a FILE has a time in seconds on each line.",
            rich_help_panel=SENT,
        ),
    ] = DEFAULTS.arrivals
    processes: Annotated[int, typer.Option(help="Processes that send.", rich_help_panel=SENT)] = DEFAULTS.processes
    channels: Annotated[int, typer.Option(help="Connections of each.", rich_help_panel=SENT)] = DEFAULTS.channels
    seed: Annotated[
        int, typer.Option(help="Of arrivals and of the choice among requests; repeat r adds r.", rich_help_panel=SENT)
    ] = DEFAULTS.seed
    warm_up: Annotated[
        float, typer.Option(help="Seconds at the same load that do not count.", rich_help_panel=MEASURED)
    ] = DEFAULTS.warm_up_s
    duration: Annotated[float, typer.Option(help="Seconds that do.", rich_help_panel=MEASURED)] = DEFAULTS.duration_s
    windows: Annotated[
        int, typer.Option(help="Parts of them, to see whether they are alike.", rich_help_panel=MEASURED)
    ] = DEFAULTS.windows
    repeats: Annotated[
        int, typer.Option(help="Measurements of each point, all points in turn.", rich_help_panel=MEASURED)
    ] = DEFAULTS.repeats
    objective_ms: Annotated[
        float | None, typer.Option(help="Count answers within so many ms as good.", rich_help_panel=MEASURED)
    ] = None
    serve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTIONS",
            help="Start a server here with these options of beamstep serve, and measure that one. Repeatable; {1,2} within them is"
            " each in turn.",
        ),
    ] = None
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every run as a line of JSON.", rich_help_panel=OUTPUT)
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw latency over load, and its percentiles.", rich_help_panel=OUTPUT),
    ] = None

    @property
    def settings(self) -> Settings:
        """Return what holds for every point. BadInput names the option at fault."""
        return Settings(
            protocol=self.protocol,
            model=self.model,
            tensor=self.tensor,
            stream=self.stream,
            arrivals=self.arrivals,
            warm_up_s=self.warm_up,
            duration_s=self.duration,
            windows=self.windows,
            repeats=self.repeats,
            seed=self.seed,
            processes=self.processes,
            channels=self.channels,
            objective_ms=self.objective_ms,
            timeout_s=self.timeout,
        )

    @property
    def recorded(self) -> Times | None:
        """Return the recording to replay; None where arrivals are made. BadInput names the line at fault."""
        return None if self.arrivals in list(Kind) else read_arrivals(Path(self.arrivals))
