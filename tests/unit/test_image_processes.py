"""Large images are decoded in processes, which may be killed, fail, or take too long; and a server's end is theirs."""

import asyncio
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.config import ServerConfig
from serving.errors import BadConfiguration, Draining, ImageFault, InvalidRequest, Overloaded
from serving.images import process as one_process
from serving.images.decoder import LONG_PIXELS, ImageDecoder, is_long
from serving.images.process import Ended, ImageProcess
from serving.images.processes import ImageProcesses
from serving.images.wire import ANSWER, FAILED, PIXELS, REFUSED, REQUEST, read_refusal, refusal_bytes
from serving.images.worker import Orders, work
from serving.tasks.image_files import claimed_pixels
from serving.tasks.images import ImageLimits, decode_image
from tests.fakes.images import file_of, large_webp

LIMITS = ImageLimits()
SMALL = file_of(Image.new("RGB", (30, 20), "blue"))
LARGE = large_webp(1500, 1400)


def with_processes(body, count=1, limits=LIMITS, **options):
    """Run a coroutine function with a pool, and let nothing of it be left."""

    async def run():
        pool = ImageProcesses(count, limits, **options)
        try:
            return await body(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


def alive(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until_gone(pid: int) -> None:
    ends = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < ends, pid
        time.sleep(0.02)


async def stopped(pool: ImageProcesses) -> int:
    """Return the process that will be asked next, stopped so that it does not answer."""
    await pool.decode(SMALL, 8, 12)
    [pid] = pool.pids
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_a_process_gives_the_pixels_and_the_refusals_of_a_thread():
    async def body(pool):
        for data in (SMALL, LARGE):
            assert (await pool.decode(data, 8, 12) == decode_image(data, 8, 12)).all()
            first = pool.pids
        for bad in (b"", b"no picture", SMALL[:50], large_webp(7200, 7200)):
            with pytest.raises(InvalidRequest) as here:
                decode_image(bad, 8, 12)
            with pytest.raises(InvalidRequest) as there:
                await pool.decode(bad, 8, 12)
            assert str(there.value) == str(here.value)
            assert there.value.field == "image"
        assert pool.pids == first, "and it goes on"
        until_gone_after.append(first[0])

    until_gone_after: list[int] = []
    with_processes(body)
    assert not alive(until_gone_after[0])


def test_an_operators_limits_hold_in_a_process():
    async def body(pool):
        with pytest.raises(InvalidRequest, match="1500 x 1400 pixels; allowed: up to 1,000 pixels"):
            await pool.decode(LARGE, 8, 12)
        with pytest.raises(InvalidRequest, match="401 bytes; allowed: up to 400 bytes"):
            await pool.decode(bytes(401), 8, 12)

    with_processes(body, limits=ImageLimits(400, 1000))


def test_a_process_killed_while_it_waits_is_replaced(caplog):
    async def body(pool):
        await pool.decode(SMALL, 8, 12)
        [pid] = pool.pids
        os.kill(pid, signal.SIGKILL)
        assert (await pool.decode(SMALL, 8, 12)).shape == (8, 12, 3)
        assert pid not in pool.pids
        assert not alive(pid)

    with_processes(body)
    assert "ended with status -9" in caplog.text


def test_an_image_whose_process_is_killed_under_it_is_decoded_by_another(caplog):
    async def body(pool):
        pid = await stopped(pool)
        asked = asyncio.ensure_future(pool.decode(LARGE, 8, 12))
        await asyncio.sleep(0.2)  # whether it has the file by then or not
        os.kill(pid, signal.SIGKILL)
        assert (await asked == decode_image(LARGE, 8, 12)).all()
        assert pid not in pool.pids

    with_processes(body)
    assert f"ended with status -9 at a file of {len(LARGE)} bytes" in caplog.text


def test_an_image_that_ends_two_processes_is_given_up(monkeypatch):
    started = []

    class Ending(ImageProcess):
        async def decode(self, data, height, width):
            started.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            return await super().decode(data, height, width)

    async def body(pool):
        with pytest.raises(ImageFault, match=f"two image processes ended at a file of {len(LARGE)} bytes"):
            await pool.decode(LARGE, 8, 12)
        assert len(set(started)) == 2
        monkeypatch.undo()
        assert (await pool.decode(LARGE, 8, 12)).shape == (8, 12, 3)

    monkeypatch.setattr("serving.images.processes.ImageProcess", Ending)
    with_processes(body)


def test_an_image_that_takes_too_long_is_refused_and_its_process_killed(caplog):
    async def body(pool):
        pid = await stopped(pool)
        pool._time_limit_s = 0.2
        message = "image: a file that takes more than 0.2 s to decode; allowed: fewer pixels, or a JPEG file"
        with pytest.raises(InvalidRequest, match=message):
            await pool.decode(bytes(10**6), 8, 12)  # more than fits into a pipe: it never leaves
        until_gone(pid)
        pool._time_limit_s = 60
        assert (await pool.decode(SMALL, 8, 12)).shape == (8, 12, 3)

    with_processes(body)
    assert "was killed after 0.2 s" in caplog.text


def test_the_time_limit_grows_with_the_pixels_that_are_allowed():
    assert ImageProcesses(1, ImageLimits(pixels=1000))._time_limit_s == 30
    assert ImageProcesses(1, ImageLimits(pixels=100_000_000))._time_limit_s == 60


def test_a_caller_that_goes_away_takes_its_decoding_along():
    async def body(pool):
        pid = await stopped(pool)
        asked = asyncio.ensure_future(pool.decode(LARGE, 8, 12))
        waiting = asyncio.ensure_future(pool.decode(SMALL, 8, 12))
        await asyncio.sleep(0.05)
        assert pool.pids == []
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (await waiting).shape == (8, 12, 3), "whoever waited has its turn"
        until_gone(pid)

    with_processes(body)


def test_a_pool_that_is_closed_gives_up_what_it_does_and_starts_nothing_more():
    async def body(pool):
        pid = await stopped(pool)
        asked = [asyncio.ensure_future(pool.decode(LARGE, 8, 12)) for _ in range(2)]
        await asyncio.sleep(0.05)
        await pool.close()
        assert not alive(pid)
        for one in asked:
            with pytest.raises(Draining, match="shutting down"):
                await one
        assert pool.pids == []

    with_processes(body)


def test_no_more_processes_than_allowed_and_those_kept():
    async def body(pool):
        await asyncio.gather(*(pool.decode(SMALL, 8, 12) for _ in range(7)))
        first = set(pool.pids)
        assert len(first) == 2
        await asyncio.gather(*(pool.decode(SMALL, 8, 12) for _ in range(3)))
        assert set(pool.pids) == first

    with_processes(body, count=2)


def test_a_process_out_of_memory_is_the_operators_to_look_at(monkeypatch):
    monkeypatch.setattr(one_process, "MEMORY_PER_PIXEL", 0)
    monkeypatch.setattr(one_process, "MEMORY_BESIDES", 40 * 2**20)
    pixels = np.zeros((5000, 5000), np.uint8)

    async def body(pool):
        with pytest.raises(ImageFault, match="MemoryError"):
            await pool.decode(file_of(Image.fromarray(pixels), compress_level=1), 8, 12)
        assert (await pool.decode(SMALL, 8, 12)).shape == (8, 12, 3)

    with_processes(body)


def test_no_process_to_be_had_is_the_operators_to_look_at(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def body(pool):
        for _ in range(2):  # and the place is free again
            with pytest.raises(ImageFault, match="no image process can be started"):
                await pool.decode(SMALL, 8, 12)

    with_processes(body)


def test_a_process_ignores_the_signals_of_a_terminal_and_of_a_server_that_stops():
    async def body(pool):
        await pool.decode(SMALL, 8, 12)
        [pid] = pool.pids
        assert os.getsid(pid) == pid != os.getsid(0)
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert (await pool.decode(SMALL, 8, 12)).shape == (8, 12, 3)
        assert pool.pids == [pid]

    with_processes(body)


def test_a_process_has_no_file_of_the_servers():
    async def body(pool):
        with socket_at() as there:
            await pool.decode(SMALL, 8, 12)
            [pid] = pool.pids
            held = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
            assert str(Path(f"/proc/self/fd/{there.fileno()}").readlink()) not in held

    with_processes(body)


def socket_at() -> socket.socket:
    listening = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listening.fileno(), True)
    return listening


OWNER = """
import asyncio, sys
from serving.images.processes import ImageProcesses
from serving.tasks.images import ImageLimits
from tests.fakes.images import large_webp

async def main():
    pool = ImageProcesses(1, ImageLimits())
    await pool.decode(large_webp(30, 20), 8, 12)
    [pid] = pool.pids
    if sys.argv[1] == "busy":
        asyncio.get_running_loop().call_later(1e-3, print, pid)
        await asyncio.gather(*(pool.decode(large_webp(), 8, 12) for _ in range(500)))
    print(pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_process_ends_with_a_server_that_is_killed(state):
    owner = subprocess.Popen([sys.executable, "-u", "-c", OWNER, state], stdout=subprocess.PIPE, text=True)
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.kill()
    owner.wait(60)
    owner.stdout.close()
    until_gone(pid)


def test_a_process_imports_little():
    command = "import sys, serving.images.worker; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=120)
    assert {"numpy", "PIL"} <= set(done.stdout.split())
    assert not {"onnxruntime", "grpc", "beamstep", "pydantic", "asyncio"} & set(done.stdout.split())


def answers_to(*requests: bytes) -> list[tuple[bytes, bytes]]:
    """Return what a process, in here, says to its stdin."""
    sink = io.BytesIO()
    work(Orders(os.getpid(), 0, LIMITS.pixels, 0), io.BytesIO(b"".join(requests)), sink)
    said, found = sink.getvalue(), []
    while said:
        kind, length = ANSWER.unpack(said[: ANSWER.size])
        found.append((kind, said[ANSWER.size : ANSWER.size + length]))
        said = said[ANSWER.size + length :]
    return found


def test_a_process_answers_one_file_after_the_other_and_ends_with_its_input(monkeypatch):
    good, bad = (REQUEST.pack(8, 12, len(data)) + data for data in (SMALL, b"no picture"))
    pixels, refused, again = answers_to(good, bad, good, good[:7])
    assert pixels == again == (PIXELS, decode_image(SMALL, 8, 12).tobytes())
    assert refused[0] == REFUSED
    assert read_refusal(refused[1]).given == "10 bytes of another kind"

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("serving.images.worker.decode_image", fail)
    [(kind, said)] = answers_to(good)
    assert (kind, said[-12:]) == (FAILED, b"MemoryError\n")


@pytest.mark.parametrize(
    "said", [b"", b"3", b"[]", b'["a", "b"]', b'["a", "b", 3]', b"\xff", b'{"a": 1, "b": 2, "c": 3}']
)
def test_what_is_no_refusal_is_not_taken_for_one(said):
    with pytest.raises(ValueError, match=r"Expecting|refusal|decode"):
        read_refusal(said)


def test_a_long_refusal_is_cut():
    cut = read_refusal(refusal_bytes(InvalidRequest("image", "x" * 5000, "y")))
    assert (cut.field, cut.given, cut.allowed) == ("image", "x" * 1000, "y")


SAYS = """
import struct, sys
height, width, length = struct.unpack(">IIQ", sys.stdin.buffer.read(16))
sys.stdin.buffer.read(length)
sys.stdout.buffer.write({answer})
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param(ANSWER.pack(b"p", 2**31), ImageFault, "answers with 2,147,483,648 bytes", id="endless"),
        pytest.param(ANSWER.pack(b"p", 3) + b"abc", ImageFault, "failed: 3 bytes of kind b'p'", id="few pixels"),
        pytest.param(ANSWER.pack(b"r", 2) + b"{}", ImageFault, "refuses without a reason", id="no reason"),
        pytest.param(ANSWER.pack(b"z", 0), ImageFault, "failed: 0 bytes of kind b'z'", id="no kind"),
    ],
)
def test_a_process_taken_over_by_a_file_can_say_little(answer, error, message):
    async def run():
        process = ImageProcess(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SAYS.format(answer=answer)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )
        try:
            with pytest.raises(error, match=message):
                await process.decode(SMALL, 8, 12)
        finally:
            process.kill()
            await process.ended()
        with pytest.raises(Ended):
            await process.decode(SMALL, 8, 12)

    asyncio.run(run())


def animated() -> bytes:
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue")]
    return file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        pytest.param(file_of(Image.new("RGB", (50, 40))), 2000, id="png"),
        pytest.param(file_of(Image.new("RGB", (50, 40)), "WEBP"), 2000, id="lossy webp"),
        pytest.param(file_of(Image.new("RGB", (50, 40)), "WEBP", lossless=True), 2000, id="lossless webp"),
        pytest.param(file_of(Image.new("RGBA", (50, 40), (1, 2, 3, 4)), "WEBP"), 2000, id="webp with alpha"),
        pytest.param(animated(), 2000, id="animated webp"),
        pytest.param(large_webp(), 49_000_000, id="large webp"),
        pytest.param(file_of(Image.new("RGB", (50, 40)), "JPEG"), 0, id="jpeg"),
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"RIFF....WEBPVP8L", None, id="half a header"),
        pytest.param(b"RIFF....WEBPXXXX" + bytes(20), None, id="another chunk"),
        pytest.param(b"\x89PNG\r\n\x1a\n", None, id="png without a header"),
    ],
)
def test_files_claim_their_pixels(data, pixels):
    assert claimed_pixels(data) == pixels


def test_a_png_with_two_headers_claims_nothing():
    small, large = (file_of(Image.new("1", size)) for size in ((8, 8), (3000, 1000)))
    both = small[:33] + large[8:]
    assert Image.open(io.BytesIO(both)).size == (3000, 1000), "Pillow believes the second"
    assert claimed_pixels(both) is None
    assert is_long(both, LIMITS)
    assert struct.unpack(">II", both[16:24]) == (8, 8)


def test_what_is_long_to_decode():
    assert is_long(LARGE, LIMITS)
    assert is_long(file_of(Image.new("1", (LONG_PIXELS + 1, 1))), LIMITS)
    assert not is_long(file_of(Image.new("1", (LONG_PIXELS, 1))), LIMITS)
    assert not is_long(file_of(Image.new("1", (3000, 1000)), "JPEG"), LIMITS)
    assert not is_long(LARGE, ImageLimits(pixels=2_099_999)), "refused at once"
    assert not is_long(LARGE, ImageLimits(file_bytes=33)), "refused at once"


def test_small_images_go_to_threads_large_ones_to_processes():
    async def run():
        decoder = ImageDecoder(1, 1, 8)
        assert (await decoder.decode(SMALL, 8, 12) == decode_image(SMALL, 8, 12)).all()
        assert decoder.processes.pids == []
        assert (await decoder.decode(LARGE, 8, 12) == decode_image(LARGE, 8, 12)).all()
        assert len(decoder.processes.pids) == 1
        await decoder.close()
        alone = ImageDecoder(1, 0, 8)
        assert (await alone.decode(LARGE, 8, 12) == decode_image(LARGE, 8, 12)).all()
        assert alone.processes is None
        await alone.close()

    asyncio.run(run())


def test_large_images_take_half_of_the_places_and_are_refused_beyond_with_a_time():
    async def run():
        decoder = ImageDecoder(1, 1, 4)
        pid = await stopped(decoder.processes)
        large = [asyncio.ensure_future(decoder.decode(LARGE, 8, 12)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 images are waiting to be decoded; retry later") as late:
            await decoder.decode(LARGE, 8, 12)
        assert late.value.retry_after_s == 2.0
        small = [asyncio.ensure_future(decoder.decode(SMALL, 8, 12)) for _ in range(2)]
        await asyncio.sleep(0)
        for data in (SMALL, LARGE):
            with pytest.raises(Overloaded, match="4 images") as late:
                await decoder.decode(data, 8, 12)
            assert late.value.retry_after_s == pytest.approx(0.2)
        assert [(await one).shape for one in small] == [(8, 12, 3)] * 2, "no small one waits for a large one"
        os.kill(pid, signal.SIGCONT)
        assert [(await one).shape for one in large] == [(8, 12, 3)] * 2
        assert (await decoder.decode(LARGE, 8, 12)).shape == (8, 12, 3), "their places are free again"
        await decoder.close()

    asyncio.run(run())


def test_fewer_than_no_processes_are_refused():
    with pytest.raises(BadConfiguration, match="image_processes: -1; allowed: from 0, which is threads alone"):
        ServerConfig(Path("models"), image_processes=-1)


def test_refusals_are_text_not_pickles():
    assert json.loads(refusal_bytes(InvalidRequest("a", "b", "c"))) == ["a", "b", "c"]
