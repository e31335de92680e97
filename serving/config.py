"""What an operator can choose, checked once; nothing below reads the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from serving.access.config import AccessConfig
from serving.errors import BadConfiguration
from serving.http.config import HttpConfig
from serving.load import LoadConfig
from serving.manifest import TaskName
from serving.observation.config import ObservationConfig
from serving.repository.config import RepositoryConfig
from serving.runtime.config import SessionConfig
from serving.scheduler import Limits
from serving.tasks.images import ImageLimits

SERVICE_TASKS: Final[Mapping[str, tuple[TaskName, ...]]] = {
    "translation": ("translation",),
    "captioning": ("captioning",),
    "pointing": ("convex_hull", "delaunay", "tour"),
}
"""The services that can be deployed apart, each with the tasks it answers for."""


@dataclass(frozen=True)
class ServerConfig:
    """How to serve a folder of bundles.

    Attributes:
        models: the folder, models/<name>/<version>/.
        host: the address to listen on.
        port: 0 takes any free one.
        services: those to offer, of `SERVICE_TASKS`; only their bundles are loaded. None offers what there are bundles for.
        preferred: names of bundles that come before the others: where a request names no model, the first of its task answers.
        session: how ONNX Runtime runs them.
        engine_threads: how many threads run graphs beside each other, each with batches of its own; 1 on a GPU.
        limits: how much each model takes on.
        load: who shares it with whom, which models have limits of their own, and what is cached.
        observation: how the server tells of its calls.
        image_threads: how many images are decoded in threads at a time.
        image_processes: how many in processes, of those whose decoding would keep all threads waiting; 0 leaves them to the
            threads. They are started when there is such an image.
        message_bytes: the largest request message; a larger one is RESOURCE_EXHAUSTED.
        images: how large an image may be.
        access: who may call, and over what.
        grace_s: how long running requests may take to finish when the server is told to stop.
        shares_port: whether other processes listen on the port too (`serving/workers.py`): it is opened once the models are
            loaded, since the kernel would send calls to it before.
        kserve: whether to answer in the KServe v2 protocol, too, on the same port.
        http: whether there is an HTTP port, and where.
        repository: which versions are served, and how models come and go meanwhile.
    """

    models: Path
    host: str = "0.0.0.0"
    port: int = 50051
    services: tuple[str, ...] | None = None
    preferred: tuple[str, ...] = ()
    session: SessionConfig = field(default_factory=SessionConfig)
    engine_threads: int = 1
    limits: Limits = field(default_factory=Limits)
    load: LoadConfig = field(default_factory=LoadConfig)
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    image_threads: int = 2
    image_processes: int = 1
    message_bytes: int = 16 * 2**20
    images: ImageLimits = field(default_factory=ImageLimits)
    access: AccessConfig = field(default_factory=AccessConfig)
    grace_s: float = 20.0
    shares_port: bool = False
    kserve: bool = True
    http: HttpConfig = field(default_factory=HttpConfig)
    repository: RepositoryConfig = field(default_factory=RepositoryConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadConfiguration(f"port: {self.port}; allowed: from 0 (any free port) to 65535")
        unknown = [name for name in self.services or () if name not in SERVICE_TASKS]
        if unknown or self.services == ():
            given = ", ".join(unknown) or "none"
            raise BadConfiguration(f"services: {given}; allowed: some of {', '.join(SERVICE_TASKS)}")
        if self.engine_threads < 1:
            raise BadConfiguration(f"engine_threads: {self.engine_threads}; allowed: from 1")
        if self.engine_threads > 1 and self.session.bound:
            raise BadConfiguration(
                f"engine_threads: {self.engine_threads} with io_binding; allowed: 1, for one thread fills a GPU"
            )
        if self.image_threads < 1:
            raise BadConfiguration(f"image_threads: {self.image_threads}; allowed: from 1")
        if self.image_processes < 0:
            raise BadConfiguration(f"image_processes: {self.image_processes}; allowed: from 0, which is threads alone")
        if not 1024 <= self.message_bytes < 2**31:
            raise BadConfiguration(
                f"message_bytes: {self.message_bytes}; allowed: from 1024 to {2**31 - 1}, gRPC's own limit"
            )
        if not self.grace_s >= 0:
            raise BadConfiguration(f"grace_s: {self.grace_s}; allowed: from 0")
