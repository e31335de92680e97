"""`beamstep serve`."""

import asyncio
import logging
import math
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.logging import RichHandler

from serving.access.config import AccessConfig
from serving.config import SERVICE_TASKS, ServerConfig
from serving.cores import Cores, cores
from serving.errors import BadBundle, BadConfiguration
from serving.http.config import HttpConfig
from serving.load import LoadConfig, cache_bytes, parse_limits
from serving.manifest import Precision
from serving.observation.config import LogFormat, ObservationConfig
from serving.observation.lines import GatheredLines
from serving.observation.log import JsonFormatter
from serving.process import serve as run_server
from serving.repository.config import CanaryShare, RepositoryConfig
from serving.repository.policy import VersionPolicy
from serving.runtime.config import SessionConfig
from serving.runtime.providers import SHORT_NAMES, provider_names
from serving.scheduler import Limits
from serving.tasks.images import ImageLimits
from serving.workers import supervise

logger = logging.getLogger(__name__)

DEFAULTS = ServerConfig(Path("models"))
ACCESS = "Access"
LOAD = "Load"
MODELS: Final = "Models at run time"


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
    engine_threads: Annotated[
        int | None,
        typer.Option(
            help="Threads that run graphs beside each other, each with a batch of its own; by default 2 where a worker has them,"
            " and 1 on a GPU."
        ),
    ] = None,
    step_threads: Annotated[
        int | None,
        typer.Option(
            help="Threads within one decoder step; by default 2 where a worker has them for every engine thread."
        ),
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
    max_concurrent: Annotated[
        int, typer.Option(help="Requests that one model works on at once.", rich_help_panel=LOAD)
    ] = DEFAULTS.limits.batch_sources,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:max_rows=64,max_concurrent=16,queue=32",
            help="Other limits for one model, all its versions. Repeatable.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    share_by: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="Metadata that says whom a call is for, such as x-client-id: clients that wait share a model evenly."
            " By default the name of its token, or the address it comes from.",
            rich_help_panel=LOAD,
        ),
    ] = DEFAULTS.load.share_by,
    answer_cache_mb: Annotated[
        float, typer.Option(help="MiB of answers to keep for equal requests; 0 is none.", rich_help_panel=LOAD)
    ] = 0,
    memory_cache_mb: Annotated[
        float, typer.Option(help="MiB of encoded sources to keep for equal ones; 0 is none.", rich_help_panel=LOAD)
    ] = 0,
    image_threads: Annotated[int, typer.Option(help="Images decoded in threads at a time.")] = DEFAULTS.image_threads,
    image_processes: Annotated[
        int,
        typer.Option(help="Large PNG and WebP images decoded in processes at a time; 0 leaves them to the threads."),
    ] = DEFAULTS.image_processes,
    max_message_mb: Annotated[float, typer.Option(help="Largest request message.")] = DEFAULTS.message_bytes / 2**20,
    max_image_mb: Annotated[
        float | None,
        typer.Option(help="Largest image file; by default whatever fits into a message.", rich_help_panel=ACCESS),
    ] = None,
    max_pixels: Annotated[
        int, typer.Option(help="Most pixels of an image, width times height.", rich_help_panel=ACCESS)
    ] = DEFAULTS.images.pixels,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Speak TLS with this certificate (PEM, chain and all).", rich_help_panel=ACCESS)
    ] = DEFAULTS.access.tls_cert,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its private key (PEM, no password).", rich_help_panel=ACCESS)
    ] = DEFAULTS.access.tls_key,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(help="Take only clients with a certificate of these authorities (PEM).", rich_help_panel=ACCESS),
    ] = DEFAULTS.access.tls_client_ca,
    tokens: Annotated[
        Path | None,
        typer.Option(help="Take only calls with a token of this file; see beamstep token.", rich_help_panel=ACCESS),
    ] = DEFAULTS.access.tokens,
    grace: Annotated[
        float, typer.Option(help="Seconds that running requests have to finish after SIGTERM.")
    ] = DEFAULTS.grace_s,
    kserve: Annotated[
        bool, typer.Option(help="Answer in the KServe v2 protocol, too, on the same port.", rich_help_panel="KServe")
    ] = DEFAULTS.kserve,
    http_port: Annotated[
        int | None,
        typer.Option(help="Answers JSON, probes and /docs over HTTP; 0 takes any free port.", rich_help_panel="HTTP"),
    ] = DEFAULTS.http.port,
    http_host: Annotated[
        str | None, typer.Option(help="The address of the HTTP port; by default gRPC's.", rich_help_panel="HTTP")
    ] = DEFAULTS.http.host,
    versions: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help="Versions to serve: all, latest:N, or specific:NAME=VERSION,...;NAME=...",
            rich_help_panel=MODELS,
        ),
    ] = "all",
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Load and unload versions as their folders come and go.", rich_help_panel=MODELS),
    ] = DEFAULTS.repository.watch,
    watch_interval: Annotated[
        float, typer.Option(help="Seconds between two looks at the folder.", rich_help_panel=MODELS)
    ] = DEFAULTS.repository.watch_interval_s,
    admin: Annotated[
        bool, typer.Option("--admin", help="Offer AdminService: load, unload, try models.", rich_help_panel=MODELS)
    ] = DEFAULTS.repository.admin,
    canary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME/VERSION=SHARE",
            help="Decode a share of NAME's requests, 0 to 1, a second time by VERSION, to compare. Repeatable.",
            rich_help_panel=MODELS,
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="Text for people, JSON for collectors of logs.", rich_help_panel="Observation")
    ] = DEFAULTS.observation.log_format,
    log_calls: Annotated[
        bool, typer.Option(help="Log a line for every call that is over.", rich_help_panel="Observation")
    ] = DEFAULTS.observation.log_calls,
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
        share = _share(workers)
        session = SessionConfig(
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
        )
        config = ServerConfig(
            models=models,
            host=host,
            port=port,
            services=_names(services) if services else None,
            preferred=_names(prefer),
            session=session,
            engine_threads=_engine_threads(session, share) if engine_threads is None else engine_threads,
            limits=_limits(max_rows, queue_size, max_concurrent),
            load=LoadConfig(
                share_by=share_by,
                model_limits=parse_limits(limits or ()),
                answer_cache_bytes=cache_bytes("answer_cache_mb", answer_cache_mb),
                memory_cache_bytes=cache_bytes("memory_cache_mb", memory_cache_mb),
            ),
            observation=ObservationConfig(
                log_format=log_format,
                log_calls=log_calls,
                log_payloads=log_payloads,
                otlp_endpoint=otlp_endpoint,
                trace_ratio=trace_ratio,
            ),
            image_threads=image_threads,
            image_processes=image_processes,
            message_bytes=_bytes("max_message_mb", max_message_mb),
            images=ImageLimits(None if max_image_mb is None else _bytes("max_image_mb", max_image_mb), max_pixels),
            access=AccessConfig(tls_cert=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca, tokens=tokens),
            grace_s=grace,
            kserve=kserve,
            http=HttpConfig(http_port, http_host),
            repository=RepositoryConfig(
                versions=VersionPolicy.parse(versions),
                admin=admin,
                watch=watch,
                watch_interval_s=watch_interval,
                canaries=tuple(map(CanaryShare.parse, canary or ())),
            ),
        )
        _tell_threads(config, share)
        if workers > 1:
            raise typer.Exit(supervise(config, workers, partial(_start_logging, log_format)))
        asyncio.run(run_server(config))
    except (BadBundle, BadConfiguration) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _share(workers: int) -> Cores:
    """Return what each worker has."""
    if workers < 1:
        raise BadConfiguration(f"workers: {workers}; allowed: from 1")
    return cores() if workers == 1 else cores().shared_by(workers)


def _engine_threads(session: SessionConfig, share: Cores) -> int:
    """Return how many threads run graphs where nobody said; one on a device, which runs one graph at a time."""
    return 1 if session.bound else share.engine_threads


def _tell_threads(config: ServerConfig, share: Cores) -> None:
    """Log how many threads there are and what they were chosen for."""
    session, engine_threads = config.session, config.engine_threads
    logger.info(
        "the engine has %d thread%s, the encoder %d and the step %d in each; idle ones %s; a process has %s",
        *(engine_threads, "s" * (engine_threads > 1), session.encoder_threads, session.step_threads),
        *("spin" if session.spinning else "sleep", share),
    )


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _start_logging(log_format: LogFormat) -> None:
    """Log to stderr, in colour to people and a line a message to collectors of logs."""
    console = Console(stderr=True)
    if log_format != "json" and console.is_terminal:
        handler = RichHandler(console=console, show_path=False)
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
        return
    lines = GatheredLines(sys.stderr)
    words = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    lines.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(words))
    logging.basicConfig(level=logging.INFO, handlers=[lines])


def _bytes(option: str, mebibytes: float) -> int:
    if not math.isfinite(mebibytes):
        raise BadConfiguration(f"{option}: {mebibytes}; allowed: a finite number")
    return round(mebibytes * 2**20)


def _limits(max_rows: int, queue_size: int, max_concurrent: int) -> Limits:
    for name, value in (("max_rows", max_rows), ("queue_size", queue_size), ("max_concurrent", max_concurrent)):
        if value < 1:
            raise BadConfiguration(f"{name}: {value}; allowed: from 1")
    return Limits(waiting_requests=queue_size, batch_rows=max_rows, batch_sources=max_concurrent)
