"""The composition root: bundles, sessions, engine and servicers put together; started, drained and stopped."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from beamstep.v1 import (
    captioning_pb2,
    captioning_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    pointing_pb2,
    pointing_pb2_grpc,
    translation_pb2,
    translation_pb2_grpc,
)
from serving.bundle import Bundle, find_bundles, load_bundle
from serving.calls.interceptor import CallInterceptor, Observer
from serving.config import SERVICE_TASKS, ServerConfig
from serving.decoding.step import Model
from serving.engine import Engine
from serving.errors import BadConfiguration
from serving.kserve.statistics import Statistics
from serving.kserve.v2 import grpc_inference_pb2, grpc_inference_pb2_grpc
from serving.registry import Registry
from serving.request import Deliver
from serving.runtime.config import SessionConfig
from serving.servicers.backend import Backend
from serving.servicers.captioning import CaptioningServicer
from serving.servicers.kserve import KserveServicer, typed_answers
from serving.servicers.models import ModelServicer
from serving.servicers.pointing import PointingServicer
from serving.servicers.status import StatusInterceptor
from serving.servicers.translation import TranslationServicer
from serving.session import OnnxModel

logger = logging.getLogger(__name__)

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_NAMES: Final = {
    "translation": translation_pb2.DESCRIPTOR.services_by_name["TranslationService"].full_name,
    "captioning": captioning_pb2.DESCRIPTOR.services_by_name["CaptioningService"].full_name,
    "pointing": pointing_pb2.DESCRIPTOR.services_by_name["PointingService"].full_name,
}
SWITCH_S: Final = 0.0002
"""After so long a thread that waits for the interpreter gets it."""
MODEL_SERVICE_NAME: Final = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name

KSERVE_NAME: Final = grpc_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class ServedModel(Model, Protocol):
    """A model that can be warmed up before it is served."""

    def warm_up(self) -> None:
        """Run once in every shape, so that no request pays for first-time work."""


OpenModel = Callable[[Bundle, SessionConfig], ServedModel]


class Server:
    """A server from its configuration to its end: `start`, `load`, then `stop`.

    Attributes:
        port: where it listens, once it is started.
        engine: None until the models are loaded.
    """

    def __init__(self, config: ServerConfig, open_model: OpenModel = OnnxModel) -> None:
        """Read and check the bundles; nothing listens yet.

        Args:
            config: what to serve and how.
            open_model: makes a bundle's sessions; tests give models of their own.

        Raises:
            BadBundle: a bundle is damaged, or there is none.
            BadConfiguration: there is no bundle for a service that was asked for, or of a preferred name, or a model may be
                asked for wider beams than a batch has rows.
        """
        self._config = config
        self._open_model = open_model
        bundles = [load_bundle(folder) for folder in find_bundles(config.models)]
        self._bundles, self._services = _choose(bundles, config.services, config.models)
        _check_beams(self._bundles, config.limits.batch_rows)
        self._registry = Registry(self._bundles, config.preferred)
        self._backend = Backend(self._registry)
        self._health = health.aio.HealthServicer()
        self._image_threads = ThreadPoolExecutor(config.image_threads, thread_name_prefix="images")
        self._observers: list[Observer] = []
        self._server: grpc.aio.Server | None = None
        self.engine: Engine | None = None
        self.port = config.port

    async def start(self) -> None:
        """Open the port. Health answers NOT_SERVING and calls UNAVAILABLE until the models are loaded.

        Raises:
            BadConfiguration: the port cannot be had.
        """
        config = self._config
        server = grpc.aio.server(
            interceptors=[CallInterceptor(self._observers), StatusInterceptor()],
            options=[
                ("grpc.max_receive_message_length", config.message_bytes),
                ("grpc.so_reuseport", int(config.shares_port)),  # otherwise a second server on this port shall fail
            ],
        )
        await self._add_services(server)
        try:
            self.port = server.add_insecure_port(f"{config.host}:{config.port}")
        except RuntimeError as error:
            raise BadConfiguration(f"port: cannot listen on {config.host}:{config.port}: {error}") from None
        self._server = server
        await server.start()

    async def load(self) -> None:
        """Load and warm up every model beside the event loop, then serve."""
        models = await asyncio.to_thread(self._open_models)
        self.engine = Engine(models, self._config.limits, deliver=_deliver_on(asyncio.get_running_loop()))
        self.engine.start()
        self._backend.attach(self.engine)
        for name in self._health_names:
            await self._health.set(name, SERVING)
        limits, message_mib = self._config.limits, self._config.message_bytes / 2**20
        logger.info(
            "for each model up to %d rows and %d waiting requests; messages up to %g MiB",
            *(limits.batch_rows, limits.waiting_requests, message_mib),
        )
        keys = ", ".join(task.bundle.key for task in self._registry)
        logger.info("serving on %s:%d: %s", self._config.host, self.port, keys)

    async def stop(self, grace_s: float) -> None:
        """Answer NOT_SERVING, refuse new calls, let running ones finish within `grace_s`, then end.

        A second call cuts the first one's grace short.
        """
        self._backend.detach()
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace_s)
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)
        self._image_threads.shutdown(wait=False, cancel_futures=True)

    @property
    def _health_names(self) -> list[str]:
        kserve = [KSERVE_NAME] if self._config.kserve else []
        return ["", MODEL_SERVICE_NAME, *(SERVICE_NAMES[service] for service in self._services), *kserve]

    async def _add_services(self, server: grpc.aio.Server) -> None:
        backend, config = self._backend, self._config
        model_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(self._registry, config.session.providers[0], config.session.precision), server
        )
        translation = captioning = pointing = None
        waiting_requests = config.limits.waiting_requests
        if "translation" in self._services:
            translation = TranslationServicer(backend)
            translation_pb2_grpc.add_TranslationServiceServicer_to_server(translation, server)
        if "captioning" in self._services:
            captioning = CaptioningServicer(backend, self._image_threads, waiting_requests)
            captioning_pb2_grpc.add_CaptioningServiceServicer_to_server(captioning, server)
        if "pointing" in self._services:
            pointing = PointingServicer(backend)
            pointing_pb2_grpc.add_PointingServiceServicer_to_server(pointing, server)
        if config.kserve:
            answers = typed_answers(translation, captioning, pointing)
            statistics = Statistics()
            self._observers.append(statistics)
            grpc_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
                KserveServicer(backend, answers, statistics, waiting_requests), server
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for name in self._health_names:
            await self._health.set(name, NOT_SERVING if self.engine is None else SERVING)
        names = [*self._health_names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)

    def _open_models(self) -> dict[str, Model]:
        models: dict[str, Model] = {}
        limits = self._config.limits
        session = replace(
            self._config.session,
            batch_rows=limits.batch_rows,
            batch_sources=limits.batch_sources,
            encode_sources=limits.encode_sources,
        )
        for bundle in self._bundles:
            began = time.monotonic()
            model = self._open_model(bundle, session)
            model.warm_up()
            models[bundle.key] = model
            logger.info("loaded %s in %.2f s", bundle.key, time.monotonic() - began)
        return models


@asynccontextmanager
async def running_server(config: ServerConfig, open_model: OpenModel = OnnxModel) -> AsyncIterator[Server]:
    """Serve within a block; its `port` says where. Leaving the block stops without grace."""
    server = Server(config, open_model)
    await server.start()
    try:
        await server.load()
        yield server
    finally:
        await server.stop(0)


async def serve(config: ServerConfig, open_model: OpenModel = OnnxModel) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once.

    Raises:
        BadBundle, BadConfiguration: see `Server`.
    """
    server = Server(config, open_model)
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, None)
    if not config.shares_port:
        await server.start()
    try:
        if await _finishes_first(_open(server, config), signals):
            _settle()
            await signals.get()
        logger.info("stopping: running requests have %g s to finish", config.grace_s)
        await _finishes_first(server.stop(config.grace_s), signals)
    finally:
        await server.stop(0)
    logger.info("stopped")


async def _open(server: Server, config: ServerConfig) -> None:
    """Load the models of a started server, or start it with its models loaded where others serve meanwhile."""
    await server.load()
    if config.shares_port:
        await server.start()


def _deliver_on(loop: asyncio.AbstractEventLoop) -> Deliver:
    """Return what hands answers over on an event loop, as long as there is one."""

    def deliver(hand_over: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody is waiting
            loop.call_soon_threadsafe(hand_over)

    return deliver


def _settle() -> None:
    """Tune this process for serving, once everything is loaded.

    The engine's thread and the event loop share one interpreter: with the usual 5 ms, a graph run that has ended could wait that
    long for the loop to let go. And what was loaded stays: the garbage collector need not look at it again and again.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()


async def _finishes_first(work: Coroutine[Any, Any, None], signals: asyncio.Queue[None]) -> bool:
    """Say whether `work` finished before the next signal came, and raise what it raised."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(signals.get())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        return False
    waiting.cancel()
    await working
    return True


def _choose(
    bundles: Sequence[Bundle], asked: Sequence[str] | None, models: Path
) -> tuple[list[Bundle], tuple[str, ...]]:
    """Return the bundles to load and the services they make possible, or those that were asked for."""
    tasks = {bundle.manifest.task for bundle in bundles}
    possible = tuple(service for service, needed in SERVICE_TASKS.items() if tasks.intersection(needed))
    services = possible if asked is None else tuple(asked)
    for service in services:
        if service not in possible:
            needed = " or ".join(SERVICE_TASKS[service])
            raise BadConfiguration(
                f"services: {service}: {models} has no {needed} bundle; it has {', '.join(possible)}"
            )
    wanted = {task for service in services for task in SERVICE_TASKS[service]}
    return [bundle for bundle in bundles if bundle.manifest.task in wanted], services


def _check_beams(bundles: Sequence[Bundle], rows: int) -> None:
    for bundle in bundles:
        beam_size = bundle.manifest.limits.beam_size
        if beam_size > rows:
            raise BadConfiguration(
                f"max_rows: {rows}; allowed: from {beam_size}, the beam size that {bundle.key} allows"
            )
