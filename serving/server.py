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
from serving.access.access import Access
from serving.bundle import Bundle, find_bundles, load_bundle
from serving.caches.answers import AnswerCache
from serving.caches.memory import MemoryCache
from serving.calls.interceptor import CallInterceptor, Observer
from serving.config import SERVICE_TASKS, ServerConfig
from serving.decoding.step import Model
from serving.engine import Engine
from serving.errors import BadConfiguration
from serving.http.application import Metrics
from serving.http.port import HttpPort
from serving.http.readiness import Probes
from serving.kserve.statistics import Statistics
from serving.kserve.v2 import grpc_inference_pb2, grpc_inference_pb2_grpc
from serving.registry import Registry
from serving.request import Deliver
from serving.runtime.config import SessionConfig
from serving.scheduler import Limits
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
        http: the HTTP port; None without one.
        engine: None until the models are loaded.
        answer_cache: answers that are kept; None where none are.
        memory_cache: encoded sources that are kept; None where none are.
    """

    def __init__(self, config: ServerConfig, open_model: OpenModel = OnnxModel) -> None:
        """Read and check the bundles; nothing listens yet.

        Args:
            config: what to serve and how.
            open_model: makes a bundle's sessions; tests give models of their own.

        Raises:
            BadBundle: a bundle is damaged, or there is none.
            BadConfiguration: there is no bundle for a service that was asked for, or of a preferred name, or a model may be
                asked for wider beams than a batch has rows; or a file of certificates or tokens is wrong.
        """
        self._config = config
        self._open_model = open_model
        bundles = [load_bundle(folder) for folder in find_bundles(config.models)]
        self._bundles, self._services = _choose(bundles, config.services, config.models)
        config.load.check_names([bundle.manifest.name for bundle in self._bundles])
        _check_beams(self._bundles, self._limits_of)
        self._registry = Registry(self._bundles, config.preferred)
        load = config.load
        self.answer_cache = AnswerCache(load.answer_cache_bytes) if load.answer_cache_bytes else None
        self.memory_cache = MemoryCache(load.memory_cache_bytes) if load.memory_cache_bytes else None
        self._backend = Backend(self._registry, load.share_by, self.answer_cache)
        self._access = Access(config.access)
        self._health = health.aio.HealthServicer()
        self._image_threads = ThreadPoolExecutor(config.image_threads, thread_name_prefix="images")
        self._observers: list[Observer] = []
        self._metrics: Metrics | None = None
        self._state = "loading"
        self._server: grpc.aio.Server | None = None
        self.engine: Engine | None = None
        self.port = config.port
        self.http: HttpPort | None = None

    async def start(self) -> None:
        """Open the port. Health answers NOT_SERVING and calls UNAVAILABLE until the models are loaded.

        Raises:
            BadConfiguration: the port cannot be had.
        """
        config = self._config
        server = grpc.aio.server(
            interceptors=[CallInterceptor(self._observers), *self._access.interceptors, StatusInterceptor()],
            options=[
                ("grpc.max_receive_message_length", config.message_bytes),
                ("grpc.so_reuseport", int(config.shares_port)),  # otherwise a second server on this port shall fail
            ],
        )
        await self._add_services(server)
        try:
            self.port = self._access.open_port(server, config.host, config.port)
        except RuntimeError as error:
            raise BadConfiguration(f"port: cannot listen on {config.host}:{config.port}: {error}") from None
        http = self._make_http()
        if http is not None:
            server.add_insecure_port(http.address)
        self._server = server
        await server.start()
        if http is not None:
            await http.start()

    async def load(self) -> None:
        """Load and warm up every model beside the event loop, then serve."""
        models = await asyncio.to_thread(self._open_models)
        limits_by_key = {"": self._config.limits} | {bundle.key: self._limits_of(bundle) for bundle in self._bundles}
        deliver = _deliver_on(asyncio.get_running_loop())
        self.engine = Engine(models, limits_by_key, deliver=deliver, memory_cache=self.memory_cache)
        self.engine.start()
        self._backend.attach(self.engine)
        for name in self._health_names:
            await self._health.set(name, SERVING)
        self._state = "serving"
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
        self._state = "stopping"
        self._backend.detach()
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace_s)
        if self.http is not None:
            await self.http.stop()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)
        self._image_threads.shutdown(wait=False, cancel_futures=True)

    @property
    def _health_names(self) -> list[str]:
        kserve = [KSERVE_NAME] if self._config.kserve else []
        return ["", MODEL_SERVICE_NAME, *(SERVICE_NAMES[service] for service in self._services), *kserve]

    def _make_http(self) -> HttpPort | None:
        config = self._config
        if config.http.port is None:
            return None
        self.http = HttpPort(
            config.http.host or config.host,
            config.http.port,
            services=self._services,
            message_bytes=config.message_bytes,
            probes=Probes(self._alive, self._serving, lambda: self._state),
            metrics=self._metrics,
            shares_port=config.shares_port,
        )
        return self.http

    def _alive(self) -> bool:
        return self.engine is None or self.engine.running or self._state == "stopping"

    async def _serving(self) -> dict[str, bool]:
        """Say which services serve, by the names that operators know; "" is the server as a whole."""
        names = {"": "", **{service: SERVICE_NAMES[service] for service in self._services}}
        check: Any = self._health.Check  # it needs no context for names that it knows
        asked = {name: health_pb2.HealthCheckRequest(service=full) for name, full in names.items()}
        return {name: (await check(one, None)).status == SERVING for name, one in asked.items()}

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
            captioning = CaptioningServicer(backend, self._image_threads, waiting_requests, config.images)
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

    def _limits_of(self, bundle: Bundle) -> Limits:
        return self._config.load.limits_of(bundle.manifest.name, self._config.limits)

    def _open_models(self) -> dict[str, Model]:
        models: dict[str, Model] = {}
        for bundle in self._bundles:
            limits = self._limits_of(bundle)
            session = replace(
                self._config.session,
                batch_rows=limits.batch_rows,
                batch_sources=limits.batch_sources,
                encode_sources=limits.encode_sources,
            )
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


def _check_beams(bundles: Sequence[Bundle], limits_of: Callable[[Bundle], Limits]) -> None:
    for bundle in bundles:
        beam_size, rows = bundle.manifest.limits.beam_size, limits_of(bundle).batch_rows
        if beam_size > rows:
            raise BadConfiguration(
                f"max_rows: {rows}; allowed: from {beam_size}, the beam size that {bundle.key} allows"
            )
