"""Somebody's 49 million pixels keep nobody else waiting, whatever becomes of the process that decodes them."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

import grpc
import pytest

from beamstep.v1.captioning_pb2 import CaptionImageRequest
from beamstep.v1.pointing_pb2 import FindConvexHullRequest
from beamstep.v1.translation_pb2 import TranslateTextRequest
from serving.config import ServerConfig
from serving.session import SessionConfig
from tests.fakes.bundles import write_bundle
from tests.fakes.images import large_webp
from tests.fakes.planned import open_planned
from tests.fakes.stubs import Stubs, picture, points
from tests.fakes.threads import ServerThread

BEAMSTEP = str(Path(sys.executable).with_name("beamstep"))
SQUARE = points([(0, 0), (2, 0), (2, 2), (0, 2)])
LARGE = large_webp()


@pytest.fixture
def thread(models) -> Iterator[ServerThread]:
    config = ServerConfig(models, host="127.0.0.1", port=0, session=SessionConfig(step_threads=1))
    with ServerThread(config, open_planned) as running:
        yield running


@pytest.fixture
def here(thread) -> Iterator[Stubs]:
    with grpc.insecure_channel(thread.address) as channel:
        yield Stubs(channel)


def caption(stubs: Stubs, image: bytes, timeout: float = 120):
    return stubs.captioning.CaptionImage.future(CaptionImageRequest(image=image), timeout=timeout)


def others(stubs: Stubs) -> None:
    """Ask for all that is not the large image, and look at the answers."""
    answer = stubs.translation.TranslateText(TranslateTextRequest(text="ein hund"), timeout=60)
    assert answer.hypotheses[0].text == "ein hund"
    hull = stubs.pointing.FindConvexHull(FindConvexHullRequest(points=SQUARE), timeout=60)
    assert sorted(hull.hypotheses[0].point_indices) == [0, 1, 2, 3]
    assert caption(stubs, picture()).result().hypotheses


def children(parent: int) -> list[int]:
    """Return the image processes of a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        words = stat(int(folder.name))
        if words and int(words[1]) == parent and words[0] != "Z":
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"serving.images.worker" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


def stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, its state and its parent first; nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def until_child(parent: int) -> int:
    ends = time.monotonic() + 120
    while not (found := children(parent)):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return found[0]


def until_gone(pid: int) -> None:
    ends = time.monotonic() + 60
    while stat(pid)[:1] not in ([], ["Z"]):
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_others_are_answered_while_a_large_image_is_decoded(here):
    large = caption(here, LARGE)
    child = until_child(os.getpid())
    os.kill(child, signal.SIGSTOP)  # so that it is decoding for as long as the others take
    for _ in range(3):
        others(here)
        assert not large.done()
    os.kill(child, signal.SIGCONT)
    mine = large.result()
    assert mine.hypotheses[0].caption == caption(here, large_webp(200, 200)).result().hypotheses[0].caption
    assert children(os.getpid()) == [child], "it waits for the next one"


def test_others_are_answered_while_many_large_images_are_decoded(here):
    large = [caption(here, LARGE) for _ in range(3)]
    ended: list[str] = []
    large[-1].add_done_callback(lambda _: ended.append("large"))
    for _ in range(3):
        others(here)
    ended.append("others")
    assert all(one.result().hypotheses for one in large)
    assert ended[0] == "others", "the last of three in one process comes after a few small answers"


def test_a_caption_comes_though_its_process_is_killed(here):
    large = caption(here, LARGE)
    child = until_child(os.getpid())
    os.kill(child, signal.SIGKILL)
    others(here)
    assert large.result().hypotheses
    assert child not in children(os.getpid())


def test_a_call_that_is_cancelled_ends_the_decoding(here):
    large = caption(here, LARGE)
    child = until_child(os.getpid())
    os.kill(child, signal.SIGSTOP)
    large.cancel()
    until_gone(child)
    others(here)


def test_a_large_image_that_is_damaged_is_the_callers_fault(here):
    with pytest.raises(grpc.RpcError) as refused:
        caption(here, large_webp()[:33]).result()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "image: a damaged WEBP file" in refused.value.details() or "of another kind" in refused.value.details()


class Command:
    """`beamstep serve` of a captioning bundle, as a process of its own."""

    def __init__(self, models: Path, *options: str) -> None:
        command = [BEAMSTEP, "serve", "--models", str(models), "--host", "127.0.0.1", "--port", "0", "--no-spinning"]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stderr.readline, "")))
        self._reader.start()

    def found(self, pattern: str, count: int = 1) -> list[re.Match]:
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{pattern} not {count} times in:\n{''.join(self.lines)}")

    def address(self, count: int = 1) -> str:
        """Return where it listens, once so many workers serve."""
        return f"127.0.0.1:{self.found(r'serving on 127.0.0.1:([0-9]+)', count)[0][1]}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self._reader.join()
        self.process.stderr.close()


@pytest.fixture
def serve(shipped_models) -> Iterator:
    running: list[Command] = []

    def start(*options: str) -> Command:
        running.append(Command(shipped_models, "--services", "captioning,pointing", *options))
        return running[-1]

    yield start
    for command in running:
        command.close()


def captions(address: str, count: int) -> list[str]:
    """Caption an image that is long to decode, over as many connections."""

    def one(_: int) -> str:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options=options) as channel:
            return caption(Stubs(channel), large_webp(1500, 1400), 240).result().hypotheses[0].caption

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_a_server_that_is_told_to_stop_finishes_and_leaves_nothing(serve):
    server = serve("--grace", "30")
    address = server.address()
    with grpc.insecure_channel(address) as channel:
        large = caption(Stubs(channel), LARGE)
        child = until_child(server.process.pid)
        for pid in (child, server.process.pid):  # as whoever signals a whole group of processes
            os.kill(pid, signal.SIGTERM)
        assert large.result().hypotheses[0].caption
    assert server.process.wait(120) == 0
    until_gone(child)
    assert "Traceback" not in "".join(server.lines)


def test_an_image_process_ends_with_a_server_that_is_killed(serve):
    server = serve()
    address = server.address()
    with grpc.insecure_channel(address) as channel:
        asked = caption(Stubs(channel), LARGE)
        child = until_child(server.process.pid)
        server.process.kill()
        until_gone(child)
        assert asked.code() is grpc.StatusCode.UNAVAILABLE


def test_every_worker_has_image_processes_of_its_own(serve):
    server = serve("--workers", "2", "--image-processes", "1")
    address = server.address(2)
    workers = [int(match[1]) for match in server.found(r"worker \d is process (\d+)", 2)]
    assert len(set(captions(address, 6))) == 1
    found = [children(worker) for worker in workers]
    assert sum(map(len, found)) >= 1
    assert max(map(len, found)) == 1
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(120) == 0
    for child in chain(*found):
        until_gone(child)


def test_captions_need_no_processes(tmp_path):
    write_bundle(tmp_path, "captioning")
    config = ServerConfig(tmp_path, host="127.0.0.1", port=0, session=SessionConfig(step_threads=1), image_processes=0)
    with ServerThread(config, open_planned) as thread, grpc.insecure_channel(thread.address) as channel:
        assert caption(Stubs(channel), large_webp(1500, 1400)).result().hypotheses
        assert children(os.getpid()) == []
