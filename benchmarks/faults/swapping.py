"""Hot swaps while calls run, with bad bundles in between: no call fails, and the old version serves until a good one comes."""

import asyncio
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from grpc import StatusCode

from beamstep.requests import translation_request, translation_stream_request
from beamstep.v1 import admin_pb2, admin_pb2_grpc
from beamstep.v1.translation_pb2 import StreamTranslateTextResponse, TranslateTextResponse
from benchmarks.faults.calls import OWN_LOCAL_POOL, SENTENCES, Sound, ask
from benchmarks.faults.outcome import Outcome, percentile
from benchmarks.faults.servers import watched
from benchmarks.faults.watched import Setup
from serving.bundle import MANIFEST_FILE
from serving.seal import SEAL, seal_of

NAME: Final = "translation"
TIMEOUT_S: Final = 60.0
SWAP_S: Final = 60.0
"""How long a version may take to be served, on a busy machine."""
OTHER_FORMAT: Final = 99


@dataclass
class Seen:
    """What came of the calls."""

    versions: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


async def swapping(*, times: int, clients: int, step_s: float = 0.01, seed: int = 0) -> Outcome:
    """Publish one version after the other of a planned model, a bad one before every second of them.

    Args:
        times: how many good ones.
        clients: calls at a time, unary ones and streams, none of which names a version.
        step_s: how long a step takes, so that calls are under way.
        seed: of moments.
    """
    chance = random.Random(seed)
    seen, seconds, reasons = Seen(), list[float](), Counter[str]()
    wrong: list[str] = []
    with (
        tempfile.TemporaryDirectory() as models,
        tempfile.TemporaryDirectory() as shelf,
        watched(Setup(models, kind="planned", step_s=step_s, watch=True)) as server,
    ):
        shop = Shop(Path(models), Path(shelf))
        async with grpc.aio.insecure_channel(server.address) as channel:
            until = asyncio.Event()
            calling = [asyncio.create_task(_call(server.address, place, until, seen)) for place in range(clients)]
            for number in range(times):
                served, version = str(number + 1), str(number + 2)
                if number % 2 == 0:
                    damage = DAMAGES[number // 2 % len(DAMAGES)]
                    reason = await _refused(channel, shop, version, served, damage)
                    wrong += [] if reason else [f"{damage.__name__}: a bad bundle was not refused as one"]
                    reasons[reason] += 1
                began = time.monotonic()
                shop.publish(version)
                if not await _until_state(channel, version, admin_pb2.MODEL_STATE_READY):
                    wrong.append(f"version {version} was not served within {SWAP_S:g} s")
                    break
                seconds.append(time.monotonic() - began)
                shop.remove(served)
                await asyncio.sleep(0.3 * chance.random())
            until.set()
            await asyncio.gather(*calling)
        left = server.look_when(lambda look: look.requests == 0)
        mebibytes = server.look().mebibytes
    if len(seen.versions) < min(times, 2):
        wrong.append("calls did not move from version to version: nothing was tried")
    if left.requests:
        wrong.append(f"{left.requests} requests were left in the engine")
    return Outcome(
        f"{times} hot swaps by the watched folder, every second one after a bad bundle of that version (a truncated or corrupted "
        f"graph, another format, half a manifest, in turn), with {clients} calls running, unary and streams (seed {seed})",
        (
            f"{sum(seen.versions.values()):,} calls answered by {len(seen.versions)} versions, {len(seen.wrong)} failed or wrong",
            f"from the rename to the new version's serving: median {percentile(seconds, 0.5):.2f} s, most "
            f"{max(seconds, default=0):.2f} s, of which 0.1 to 0.2 s are the wait for the watcher",
            *(f"{count} times: {reason}" for reason, count in reasons.items()),
            f"memory at the end {mebibytes:.0f} MiB",
        ),
        [*dict.fromkeys(seen.wrong[:5]), *wrong[:5]],
    )


class Shop:
    """Publishes versions of the model that is there, as an export does: written beside and renamed into place."""

    def __init__(self, models: Path, shelf: Path) -> None:
        self._folder = models / NAME
        self._shelf = shelf
        shutil.copytree(self._folder / "1", shelf / "first")

    def publish(self, version: str, damage: "Callable[[Path], None] | None" = None) -> None:
        """Publish a version, in place of what is there; `damage` spoils it before."""
        made = self._shelf / "made"
        shutil.copytree(self._shelf / "first", made)
        _rewrite(made, version=version, description=f"Version {version}.")
        if damage is not None:
            damage(made)
        final = self._folder / version
        if final.exists():
            final.rename(self._shelf / f"old {version}")
            shutil.rmtree(self._shelf / f"old {version}")
        made.rename(final)

    def remove(self, version: str) -> None:
        """Take a version away, all at once."""
        gone = self._shelf / "gone"
        (self._folder / version).rename(gone)
        shutil.rmtree(gone)


def truncated(folder: Path) -> None:
    """Cut a graph in the middle."""
    path = folder / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:5])


def corrupted(folder: Path) -> None:
    """Turn a bit of a graph round."""
    path = folder / "decoder_step.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def of_another_format(folder: Path) -> None:
    """State a format that this server does not know."""
    _rewrite(folder, format=OTHER_FORMAT)


def half_a_manifest(folder: Path) -> None:
    """Cut the manifest."""
    path = folder / MANIFEST_FILE
    path.write_bytes(path.read_bytes()[:200])


DAMAGES: Final = (truncated, corrupted, of_another_format, half_a_manifest)


def _rewrite(folder: Path, **changes: object) -> None:
    """Change a manifest and seal it again."""
    path = folder / MANIFEST_FILE
    content = {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key != SEAL}
    content |= changes
    path.write_text(json.dumps(content | {SEAL: seal_of(content)}), encoding="utf-8")


async def _refused(
    channel: grpc.aio.Channel, shop: Shop, version: str, served: str, damage: Callable[[Path], None]
) -> str:
    """Publish a bad version; return why it is not served, "" where it is, or where the old one is not any more."""
    shop.publish(version, damage)
    if not await _until_state(channel, version, admin_pb2.MODEL_STATE_FAILED):
        return ""
    states = await _repository(channel)
    if states[served].state != admin_pb2.MODEL_STATE_READY:
        return ""
    return states[version].reason.partition(f"/{version}/")[2]  # without the folder


async def _until_state(channel: grpc.aio.Channel, version: str, state: admin_pb2.ModelState) -> bool:
    """Wait for a version to be in a state; say whether it came to that."""
    until = time.monotonic() + SWAP_S
    while time.monotonic() < until:
        found = (await _repository(channel)).get(version)
        if found is not None and found.state == state:
            return True
        await asyncio.sleep(0.02)
    return False


async def _repository(channel: grpc.aio.Channel) -> dict[str, admin_pb2.RepositoryModel]:
    """Return what the server says of each version of the model."""
    stub = admin_pb2_grpc.AdminServiceStub(channel)
    listed = await stub.ListRepository(admin_pb2.ListRepositoryRequest(), timeout=TIMEOUT_S)
    return {one.version: one for one in listed.models if one.name == NAME}


async def _call(address: str, place: int, until: asyncio.Event, seen: Seen) -> None:
    text = SENTENCES[place % len(SENTENCES)]
    if place % 3:
        sound = Sound(
            "TranslationService/TranslateText", translation_request(text, "", "", None), TranslateTextResponse
        )
    else:
        streamed = translation_stream_request(text, NAME, "", None)
        sound = Sound("TranslationService/StreamTranslateText", streamed, StreamTranslateTextResponse)
    async with grpc.aio.insecure_channel(address, options=[OWN_LOCAL_POOL]) as channel:
        while not until.is_set():
            ended = await ask(channel, sound, TIMEOUT_S)
            if ended.code is not StatusCode.OK:
                seen.wrong.append(f"{sound.rpc} ended with {ended.code.name}: {ended.details}")
                continue
            try:
                answer = TranslateTextResponse.FromString(sound.same(ended.messages))
            except ValueError as error:
                seen.wrong.append(f"{sound.rpc}: {error}")
                continue
            seen.versions[answer.model.version] += 1
            if answer.hypotheses[0].text != text:
                seen.wrong.append(f"version {answer.model.version} answered {answer.hypotheses[0].text!r} to {text!r}")
