"""1: the same models, with the weights that are served, as an eager PyTorch loop behind a plain gRPC server."""

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from packaging.requirements import Requirement

from beamstep.bench.prepared import Prepared
from benchmarks.peers import asked
from benchmarks.peers.built import torch_weights
from benchmarks.peers.load import MANY
from benchmarks.peers.sides import OURS, P50, RATE, Loop, beside, ours, theirs
from benchmarks.peers.table import Effort, Figures, Group, NotMeasuredError, Ratio, Sides, Table
from benchmarks.serving_process import ServingProcess

SERVER: Final = "benchmarks.peers.torch_server"
ONE: Final = "PyTorch, one at a time"
BATCHED: Final = f"PyTorch, up to {MANY} waiting requests together"
START: Final = "start to first answer, s"
INSTALLED: Final = "installed, MiB"
POINTS: Final = 50
OURS_NEEDS: Final = ("beamstep[cpu]",)
TORCH_NEEDS: Final = ("torch", "grpcio", "protobuf", "numpy", "pillow", "sentencepiece")
"""What a server of a PyTorch model imports."""


def _against(name: str, calls: Callable[[Path, Effort], Sequence[Prepared]]) -> Group:
    @contextmanager
    def opened(effort: Effort) -> Iterator[Sides]:
        bundle = effort.models / name / "1"
        sent, weights = calls(bundle, effort), torch_weights(bundle)
        loop = Loop(SERVER, weights, ONE, BATCHED, ["--device", effort.device])
        with beside(loop, bundle, sent, effort) as sides:
            yield sides

    ratios = (Ratio(P50, ONE, OURS, target=10), Ratio(RATE, OURS, ONE, target=4), Ratio(RATE, OURS, BATCHED, target=4))
    return Group(name, opened, ratios)


@contextmanager
def _starting(effort: Effort) -> Iterator[Sides]:
    """Start each with the translation model, and ask one sentence."""
    bundle = effort.models / "translation-en-de" / "1"
    on = ["--device", effort.device]
    weights, call = torch_weights(bundle), asked.translations(asked.sentences(bundle, rounds=1))[0]

    def start(side: AbstractContextManager[ServingProcess], installed: float) -> Figures:
        began = time.monotonic()
        with side as server, grpc.insecure_channel(server.address) as channel:
            ask: Any = channel.unary_unary(call.method)
            ask(call.request, timeout=60)
            return {START: time.monotonic() - began, INSTALLED: installed}

    sizes = installed_mebibytes(TORCH_NEEDS), installed_mebibytes(OURS_NEEDS)
    yield Sides(
        {
            ONE: lambda: start(theirs(SERVER, bundle, weights, 1, on), sizes[0]),
            OURS: lambda: start(ours(bundle, effort.serve), sizes[1]),
        }
    )


def installed_mebibytes(requirements: Sequence[str]) -> float:
    """Return how much the packages behind requirements hold on the disk here, all that they need themselves included.

    Raises:
        NotMeasuredError: one of the requirements is not installed.
    """
    distributions = {}
    wanted = [Requirement(one) for one in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        key = (requirement.name.lower(), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            raise NotMeasuredError(f"{requirement.name} is not installed: pip install 'beamstep[train]'") from None
        distributions[key[0]] = found
        for needed in map(Requirement, found.requires or ()):
            extras = ("", *requirement.extras)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(needed)
    return sum(map(_bytes_of, distributions.values())) / 2**20


def _bytes_of(distribution: importlib.metadata.Distribution) -> int:
    paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


TABLE: Final = Table(
    "pytorch",
    (
        _against("translation-en-de", lambda bundle, _: asked.translations(asked.sentences(bundle))),
        _against("captioning-en", lambda _, effort: asked.captions(effort.data)),
        _against("hull", lambda _, __: asked.hulls(POINTS)),
        Group("starting, and what is installed", _starting, (Ratio(START, ONE, OURS), Ratio(INSTALLED, ONE, OURS))),
    ),
)
