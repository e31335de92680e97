"""The composition root: bundles, sessions, engine and servicers put together; started, drained and stopped."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from beamstep.v1 import (
    admin_pb2,
    admin_pb2_grpc,
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
from serving.bundle import Bundle
from serving.caches.answers import AnswerCache
from serving.caches.memory import MemoryCache
from serving.calls.acceptors import Acceptors
from serving.calls.doors import Doors
from serving.calls.interceptor import CallInterceptor, Observer
from serving.calls.methods import Methods
from serving.config import SERVICE_TASKS, ServerConfig
from serving.decoding.step import Model
from serving.engine import Engine
from serving.errors import BadConfiguration
from serving.http.port import HttpPort
from serving.http.readiness import Probes
from serving.images.decoder import ImageDecoder
from serving.kserve.statistics import Statistics
from serving.kserve.v2 import grpc_inference_pb2, grpc_inference_pb2_grpc
from serving.observation.metrics import Metrics
from serving.observation.observation import Observation
from serving.observation.trailer import add_trailer
from serving.registry import Registry
from serving.repository.folder import scan
from serving.repository.repository import Repository
from serving.repository.watcher import watch
from serving.request import Deliver
from serving.runtime.config import SessionConfig
from serving.scheduler import Limits
from serving.servicers.admin import AdminServicer
from serving.servicers.backend import Backend
from serving.servicers.captioning import CaptioningServicer
from serving.servicers.kserve import KserveServicer, typed_answers
from serving.servicers.models import ModelServicer
from serving.servicers.pointing import PointingServicer
from serving.servicers.refusals import Refusals
from serving.servicers.status import StatusInterceptor
from serving.servicers.translation import TranslationServicer
from serving.session import OnnxModel
from serving.startup import check_beams, check_canaries, choose_services, load_bundles

logger = logging.getLogger(__name__)

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_NAMES: Final = {
    "translation": translation_pb2.DESCRIPTOR.services_by_name["TranslationService"].full_name,
    "captioning": captioning_pb2.DESCRIPTOR.services_by_name["CaptioningService"].full_name,
    "pointing": pointing_pb2.DESCRIPTOR.services_by_name["PointingService"].full_name,
}
PENDING_CALLS: Final = 8_000
"""Calls of a method that have come and that the event loop has not got to yet. One that its client gave up counts until its turn,
though it costs nothing then."""
LINGER_S: Final = 0.3
"""How long the port stays open behind the last answer, so that whoever calls again at once is told to go elsewhere."""
REPLY_S: Final = 0.5
"""How long the last answers have to leave, once the engine is over with them."""
HALT_S: Final = 2.0
"""How long a step that is under way has at the end of the grace; who waits for a longer one is cancelled."""
ADMIN_SERVICE_NAME: Final = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
MODEL_SERVICE_NAME: Final = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
KSERVE_NAME: Final = grpc_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
BUSY: Final = (
    *(
        f"/{service.full_name}/{method.name}"
        for service in (
            translation_pb2.DESCRIPTOR.services_by_name["TranslationService"],
            captioning_pb2.DESCRIPTOR.services_by_name["CaptioningService"],
            pointing_pb2.DESCRIPTOR.services_by_name["PointingService"],
        )
        for method in service.methods
    ),
    f"/{KSERVE_NAME}/ModelInfer",
)
"""The methods that decode: many calls come of these."""


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
        repository: models that come and go.
        images: decodes them.
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
        self._found = scan(config.models)
        may_come = config.repository.changes and config.services is not None
        bundles = [] if may_come and not self._found else load_bundles(config.models, config.repository)
        self._bundles, self._services = choose_services(bundles, config.services, config.models, may_come=may_come)
        config.load.check_names([bundle.manifest.name for bundle in self._bundles])
        check_beams(self._bundles, self._limits_of)
        check_canaries(self._bundles, config.repository)
        self._registry = Registry(self._bundles, config.preferred)
        load = config.load
        self.answer_cache = AnswerCache(load.answer_cache_bytes) if load.answer_cache_bytes else None
        self.memory_cache = MemoryCache(load.memory_cache_bytes) if load.memory_cache_bytes else None
        self._backend = Backend(self._registry, load.share_by, self.answer_cache)
        self._access = Access(config.access)
        self.repository = Repository(
            config.models,
            self._registry,
            config.repository,
            open_model=self._open,
            limits_of=self._limits_of,
            tasks=[task for service in self._services for task in SERVICE_TASKS[service]],
            changed=self._tell_health,
        )
        self._backend.answered = self.repository.canaries.answered
        self._watching: asyncio.Task[None] | None = None
        self._doors = Doors()
        self._stopping = asyncio.Event()
        self._health = health.aio.HealthServicer()
        self.images = ImageDecoder(
            config.image_threads, config.image_processes, config.limits.waiting_requests, config.images
        )
        self._observation = Observation(config.observation)
        self._observers: list[Observer] = [*self._observation.observers]
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
        methods, calls = Methods(), CallInterceptor(self._observers, add_trailer)
        # Who calls with a token is known behind the gate alone, so that with tokens all are refused in the ordinary way.
        first = [] if self._access.interceptors else [Refusals(self._backend, calls, methods)]
        interceptors = [*first, calls, *self._access.interceptors, StatusInterceptor(), self._doors]
        server = grpc.aio.server(
            interceptors=interceptors,
            options=[
                ("grpc.max_receive_message_length", config.message_bytes),
                # Beyond these gRPC drops calls by itself, as CANCELLED, which says nothing and is not retried.
                ("grpc.server.max_pending_requests", PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
                ("grpc.so_reuseport", int(config.shares_port)),  # otherwise a second server on this port shall fail
            ],
        )
        await self._add_services(methods)
        server.add_generic_rpc_handlers((methods,))
        acceptors = Acceptors(server, methods, interceptors, BUSY, lambda: self._backend.full)
        try:
            self.port = self._access.open_port(server, config.host, config.port)
        except RuntimeError as error:
            raise BadConfiguration(f"port: cannot listen on {config.host}:{config.port}: {error}") from None
        http = self._make_http()
        if http is not None:
            server.add_insecure_port(http.address)
        self._server = server
        await server.start()
        acceptors.start()
        if http is not None:
            await http.start()

    async def load(self) -> None:
        """Load and warm up every model beside the event loop, then serve."""
        models = await asyncio.to_thread(self._open_models)
        self.engine = Engine(
            models,
            {"": self._config.limits} | {bundle.key: self._limits_of(bundle) for bundle in self._bundles},
            threads=self._config.engine_threads,
            deliver=_deliver_on(asyncio.get_running_loop()),
            memory_cache=self.memory_cache,
            observer=self.metrics.work,
        )
        self.engine.start()
        self._observation.start(self.engine)
        self._count_figures()
        self._backend.attach(self.engine)
        self.repository.attach(self.engine, self._found)
        await self._tell_health()
        self._state = "serving"
        repository = self._config.repository
        if repository.watch:
            self._watching = asyncio.create_task(watch(self.repository, repository.watch_interval_s))
        limits, message_mib = self._config.limits, self._config.message_bytes / 2**20
        logger.info(
            "for each model up to %d rows and %d waiting requests; messages up to %g MiB",
            *(limits.batch_rows, limits.waiting_requests, message_mib),
        )
        keys = ", ".join(task.bundle.key for task in self._registry)
        logger.info("serving on %s:%d: %s", self._config.host, self.port, keys)

    async def stop(self, grace_s: float) -> None:
        """Answer NOT_SERVING, refuse new calls, let running ones finish within `grace_s`, then end.

        Whoever is left then gets UNAVAILABLE. A second call cuts the first one's grace short.
        """
        if grace_s <= 0:
            self._stopping.set()
        self._state = "stopping"
        self._backend.detach()
        await self._health.enter_graceful_shutdown()
        self._doors.close()
        if self._watching is not None:
            self._watching.cancel()
        await self.repository.close()
        await self._grace(grace_s)
        if self.engine is None:
            await self._close_port(0 if self._stopping.is_set() else REPLY_S)
        else:
            halting = asyncio.ensure_future(asyncio.to_thread(self.engine.stop))
            await asyncio.wait({halting}, timeout=HALT_S)
            with suppress(
                TimeoutError
            ):  # gRPC drops a call that meets a closing port as CANCELLED, which nobody retries
                await asyncio.wait_for(self._stopping.wait(), LINGER_S)
            await self._close_port(REPLY_S)
            await halting
        if self.http is not None:
            await self.http.stop()
        await self._observation.stop()
        await self.images.close()

    async def _close_port(self, grace_s: float) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _grace(self, grace_s: float) -> None:
        """Wait until no call is left, the time is over, or it is cut short."""
        ends = [asyncio.ensure_future(self._doors.empty()), asyncio.ensure_future(self._stopping.wait())]
        await asyncio.wait(ends, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def _tell_health(self) -> None:
        """Say SERVING of every service that has a warm model, and of the whole server when all of them have one."""
        manifests = [task.bundle.manifest for task in self._registry]
        self.metrics.serve(manifests)
        tasks = {manifest.task for manifest in manifests}
        ready = {service: not tasks.isdisjoint(SERVICE_TASKS[service]) for service in self._services}
        await self._health.set(MODEL_SERVICE_NAME, SERVING)
        for service, is_ready in ready.items():
            await self._health.set(SERVICE_NAMES[service], SERVING if is_ready else NOT_SERVING)
        for name in ("", *([KSERVE_NAME] if self._config.kserve else [])):
            await self._health.set(name, SERVING if all(ready.values()) else NOT_SERVING)

    def _count_figures(self) -> None:
        caches = {"answers": self.answer_cache, "memory": self.memory_cache}
        self.metrics.figures.caches = {name: cache.snapshot for name, cache in caches.items() if cache is not None}
        self.metrics.figures.canaries = self.repository.canaries.snapshot

    @property
    def metrics(self) -> Metrics:
        """Return what the HTTP port shows."""
        return self._observation.metrics

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
            metrics=self.metrics,
            # Who is known by a certificate alone is not known over HTTP.
            calls=config.access.tls_client_ca is None or config.access.tokens is not None,
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

    async def _add_services(self, methods: Any) -> None:
        backend, config = self._backend, self._config
        model_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(self._registry, config.session.providers[0], config.session.precision), methods
        )
        translation = captioning = pointing = None
        waiting_requests = config.limits.waiting_requests
        if "translation" in self._services:
            translation = TranslationServicer(backend)
            translation_pb2_grpc.add_TranslationServiceServicer_to_server(translation, methods)
        if "captioning" in self._services:
            captioning = CaptioningServicer(backend, self.images)
            captioning_pb2_grpc.add_CaptioningServiceServicer_to_server(captioning, methods)
        if "pointing" in self._services:
            pointing = PointingServicer(backend)
            pointing_pb2_grpc.add_PointingServiceServicer_to_server(pointing, methods)
        if config.kserve:
            answers = typed_answers(translation, captioning, pointing)
            statistics = Statistics()
            self._observers.append(statistics)
            grpc_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
                KserveServicer(backend, answers, statistics, waiting_requests), methods
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        for name in self._health_names:
            await self._health.set(name, NOT_SERVING)
        if self.engine is not None:  # loaded before the port opens
            await self._tell_health()
        if config.repository.admin:
            admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(self.repository), methods)
        admin = [ADMIN_SERVICE_NAME] if config.repository.admin else []
        names = [*self._health_names[1:], *admin, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, methods)

    def _limits_of(self, bundle: Bundle) -> Limits:
        return self._config.load.limits_of(bundle.manifest.name, self._config.limits)

    def _open_models(self) -> dict[str, Model]:
        models: dict[str, Model] = {}
        for bundle in self._bundles:
            began = time.monotonic()
            models[bundle.key] = self._open(bundle)
            logger.info("loaded %s in %.2f s", bundle.key, time.monotonic() - began)
        return models

    def _open(self, bundle: Bundle) -> Model:
        """Open a bundle's sessions and warm them up.

        Raises:
            BadBundle, BadConfiguration: they cannot be had.
        """
        check_beams([bundle], self._limits_of)
        limits = self._limits_of(bundle)
        session = replace(
            self._config.session,
            batch_rows=limits.batch_rows,
            batch_sources=limits.batch_sources,
            encode_sources=limits.encode_sources,
        )
        model = self._open_model(bundle, session)
        model.warm_up()
        return model


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


def _deliver_on(loop: asyncio.AbstractEventLoop) -> Deliver:
    """Return what hands answers over on an event loop, as long as there is one."""

    def deliver(hand_over: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody is waiting
            loop.call_soon_threadsafe(hand_over)

    return deliver
