"""`beamstep serve`."""

import asyncio
import logging
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from serving.config import SERVICE_TASKS, ServerConfig
from serving.cores import Cores, cores
from serving.errors import BadBundle, BadConfiguration
from serving.manifest import Precision
from serving.runtime.config import SessionConfig
from serving.runtime.providers import SHORT_NAMES, provider_names
from serving.scheduler import Limits
from serving.server import serve as run_server
from serving.workers import supervise

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
    step_threads: Annotated[
        int | None, typer.Option(help="Threads within one decoder step; by default 2 where a worker has them.")
    ] = None,
    spinning: Annotated[
        bool | None,
        typer.Option(
            help="Idle threads burn their core for a moment: faster on an idle machine, worse on a shared one; "
            "by default where there is no CPU limit."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes behind the port, each with all models and a share of the cores.")
    ] = 1,
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
    kserve: Annotated[
        bool, typer.Option(help="Answer in the KServe v2 protocol, too, on the same port.", rich_help_panel="KServe")
    ] = DEFAULTS.kserve,
) -> None:
    """Serve bundles over gRPC until SIGTERM; a second one ends at once."""
    _start_logging()
    try:
        share = _share(workers)
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
                step_threads=share.step_threads if step_threads is None else step_threads,
                spinning=share.spinning if spinning is None else spinning,
            ),
            limits=_limits(max_rows, queue_size),
            image_threads=image_threads,
            message_bytes=_message_bytes(max_message_mb),
            grace_s=grace,
            kserve=kserve,
        )
        _tell_threads(config.session, share)
        if workers > 1:
            raise typer.Exit(supervise(config, workers, _start_logging))
        asyncio.run(run_server(config))
    except (BadBundle, BadConfiguration) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _share(workers: int) -> Cores:
    """Return what each worker has."""
    if workers < 1:
        raise BadConfiguration(f"workers: {workers}; allowed: from 1")
    return cores() if workers == 1 else cores().shared_by(workers)


def _tell_threads(session: SessionConfig, share: Cores) -> None:
    """Log how many threads there are and what they were chosen for."""
    logger.info(
        "the encoder has %d thread%s and the step %d; idle ones %s; a process has %s",
        *(session.encoder_threads, "s" * (session.encoder_threads > 1), session.step_threads),
        *("spin" if session.spinning else "sleep", share),
    )


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _start_logging() -> None:
    """Log to stderr, in colour to people and a line a message to collectors of logs."""
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
