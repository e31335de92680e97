"""`beamstep serve`."""

import asyncio
import logging
import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from serving.config import SERVICE_TASKS, ServerConfig
from serving.cores import cores
from serving.errors import BadBundle, BadConfiguration
from serving.manifest import Precision
from serving.observation.config import LogFormat, ObservationConfig
from serving.observation.log import JsonFormatter
from serving.runtime.config import SessionConfig
from serving.runtime.providers import SHORT_NAMES, provider_names
from serving.scheduler import Limits
from serving.server import serve as run_server

logger = logging.getLogger(__name__)

DEFAULTS = ServerConfig(Path("models"))


def serve(
    *,
    models: Annotated[Path, typer.Option(help="The folder of bundles, models/NAME/VERSION/.")] = DEFAULTS.models,
    port: Annotated[int, typer.Option(help="0 takes any free port.")] = DEFAULTS.port,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = DEFAULTS.host,
    services: Annotated[
        str, typer.Option(help=f"Some of {','.join(SERVICE_TASKS)}; by default those there are bundles for.")
    ] = "",
    prefer: Annotated[
        str, typer.Option(help="Bundles that answer where a request names none; by default each task's first by name.")
    ] = "",
    provider: Annotated[
        str,
        typer.Option(help=f"Execution providers in order: {', '.join(SHORT_NAMES)}, or ONNX Runtime's own names."),
    ] = "cpu",
    device_id: Annotated[int, typer.Option(help="Which GPU.")] = DEFAULTS.session.device_id,
    tensorrt_cache: Annotated[
        Path | None, typer.Option(help="Where TensorRT keeps the engines that it builds.")
    ] = DEFAULTS.session.tensorrt_cache,
    precision: Annotated[
        Precision | None, typer.Option(help="Which of a bundle's graphs to run; by default the provider's best.")
    ] = DEFAULTS.session.precision,
    allow_uncertified: Annotated[
        bool, typer.Option("--allow-uncertified", help="Serve a precision without a certificate for the provider, too.")
    ] = DEFAULTS.session.allow_uncertified,
    io_binding: Annotated[
        bool | None, typer.Option(help="Keep memory and states on the device between steps; by default on a GPU.")
    ] = DEFAULTS.session.io_binding,
    pad_to_buckets: Annotated[
        bool | None, typer.Option(help="Round shapes up to a few sizes; by default on a GPU.")
    ] = DEFAULTS.session.pad_to_buckets,
    encoder_threads: Annotated[
        int, typer.Option(help="Threads within one encoder run.")
    ] = DEFAULTS.session.encoder_threads,
    step_threads: Annotated[int, typer.Option(help="Threads within one decoder step.")] = DEFAULTS.session.step_threads,
    spinning: Annotated[
        bool,
        typer.Option(
            help="Idle threads burn their core for a moment: faster on an idle machine, worse on a shared one."
        ),
    ] = DEFAULTS.session.spinning,
    max_rows: Annotated[
        int, typer.Option(help="Hypotheses that one model advances in one step, all requests together.")
    ] = DEFAULTS.limits.batch_rows,
    queue_size: Annotated[
        int, typer.Option(help="Requests that may wait for one model; one more is refused.")
    ] = DEFAULTS.limits.waiting_requests,
    image_threads: Annotated[int, typer.Option(help="Images decoded at a time.")] = DEFAULTS.image_threads,
    max_message_mb: Annotated[float, typer.Option(help="Largest request message.")] = DEFAULTS.message_bytes / 2**20,
    grace: Annotated[
        float, typer.Option(help="Seconds that running requests have to finish after SIGTERM.")
    ] = DEFAULTS.grace_s,
    log_format: Annotated[
        LogFormat, typer.Option(help="Text for people, JSON for collectors of logs.", rich_help_panel="Observation")
    ] = DEFAULTS.observation.log_format,
    log_payloads: Annotated[
        bool,
        typer.Option(
            "--log-payloads", help="Log requests, shortened: people's texts and images.", rich_help_panel="Observation"
        ),
    ] = DEFAULTS.observation.log_payloads,
    otlp_endpoint: Annotated[
        str,
        typer.Option(
            help="Where traces go, such as http://collector:4317; by default none.", rich_help_panel="Observation"
        ),
    ] = DEFAULTS.observation.otlp_endpoint,
    trace_ratio: Annotated[
        float,
        typer.Option(
            help="Share of calls to trace where the caller has not decided it.", rich_help_panel="Observation"
        ),
    ] = DEFAULTS.observation.trace_ratio,
) -> None:
    """Serve bundles over gRPC until SIGTERM; a second one ends at once."""
    _start_logging(log_format)
    try:
        config = ServerConfig(
            models=models,
            host=host,
            port=port,
            services=_names(services) if services else None,
            preferred=_names(prefer),
            session=SessionConfig(
                providers=provider_names(provider),
                device_id=device_id,
                tensorrt_cache=tensorrt_cache,
                precision=precision,
                allow_uncertified=allow_uncertified,
                io_binding=io_binding,
                pad_to_buckets=pad_to_buckets,
                encoder_threads=encoder_threads,
                step_threads=step_threads,
                spinning=spinning,
            ),
            limits=_limits(max_rows, queue_size),
            observation=ObservationConfig(
                log_format=log_format,
                log_payloads=log_payloads,
                otlp_endpoint=otlp_endpoint,
                trace_ratio=trace_ratio,
            ),
            image_threads=image_threads,
            message_bytes=_message_bytes(max_message_mb),
            grace_s=grace,
        )
        _tell_threads(config.session)
        asyncio.run(run_server(config))
    except (BadBundle, BadConfiguration) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _tell_threads(session: SessionConfig) -> None:
    """Log how many threads there are and what they were chosen for."""
    logger.info(
        "the encoder has %d thread%s and the step %d; idle ones %s; this process has %s",
        *(session.encoder_threads, "s" * (session.encoder_threads > 1), session.step_threads),
        *("spin" if session.spinning else "sleep", cores()),
    )


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _start_logging(log_format: LogFormat) -> None:
    """Log to stderr, in colour to people and a line a message to collectors of logs."""
    if log_format == "json":
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(JsonFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[lines])
        return
    console = Console(stderr=True)
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _message_bytes(mebibytes: float) -> int:
    if not math.isfinite(mebibytes):
        raise BadConfiguration(f"max_message_mb: {mebibytes}; allowed: a finite number")
    return round(mebibytes * 2**20)


def _limits(max_rows: int, queue_size: int) -> Limits:
    for name, value in (("max_rows", max_rows), ("queue_size", queue_size)):
        if value < 1:
            raise BadConfiguration(f"{name}: {value}; allowed: from 1")
    return Limits(waiting_requests=queue_size, batch_rows=max_rows)
