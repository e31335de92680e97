"""What a refused call costs: python -m benchmarks.refusals [--seconds S] [--write docs/reliability.md].

Microseconds of processor that a call takes of the process that answers it, 64 calls at a time from a generator that costs next to
nothing: of grpc.aio by itself, of a planned server whose queues are full, and of nginx in front of one (deploy/guard.conf). Run it
at the root of the repository.
"""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, Final

import grpc
import typer
from grpc import StatusCode

from benchmarks.documents import write_into
from benchmarks.environment import describe
from benchmarks.faults.calls import Sound, sound_requests
from benchmarks.faults.offering import Generator
from benchmarks.faults.servers import WatchedProcess, processor_s, watched
from benchmarks.faults.watched import Setup
from benchmarks.nginx import NoNginxError, nginx

COMMAND: Final = "python -m benchmarks.refusals"
CLIENTS: Final = 64
FULL: Final = {"batch_sources": 1, "waiting_requests": 1}
STUCK_S: Final = 1000.0
"""How long a step takes where nobody is to be answered."""
GUARD: Final = "127.0.0.1:50060"
GUARDED: Final = 50061
GUARD_HOLDS: Final = 96
SEARCHED: Final = "TranslationService/TranslateText"
ORDINARY: Final = "PointingService/ScoreTarget"
"""A method that is not looked at before all else, so that its refusals come from the servicer."""


@dataclass(frozen=True)
class Cost:
    """What a call costs.

    Attributes:
        name: of whom.
        microseconds: of processor, of the process that answers.
        per_second: calls, one core and a generator being all there was.
        generator: microseconds of the process that sends.
    """

    name: str
    microseconds: float
    per_second: float
    generator: float


async def costs(seconds: float) -> list[Cost]:
    """Measure all there are.

    Raises:
        AssertionError: a server did something else than it was to.
    """
    sounds = {sound.rpc: sound for sound in reversed(sound_requests())}
    found = []
    with Generator() as generator:

        async def take(name: str, address: str, pids: Sequence[int], rpc: str, code: StatusCode) -> None:
            await generator.closed(address, [sounds[rpc]], clients=CLIENTS, seconds=seconds / 4)
            used = sum(map(processor_s, pids))
            sent = await generator.closed(address, [sounds[rpc]], clients=CLIENTS, seconds=seconds)
            used = sum(map(processor_s, pids)) - used
            count = len(sent.sent)
            assert {one.code for one in sent.sent} == {code.value[0]}, name
            found.append(Cost(name, 1e6 * used / count, count / seconds, 1e6 * sent.processor_s / count))

        for refuses in (False, True):
            async with _bare(refuses=refuses) as (address, pid):
                name, code = ("refuses", StatusCode.RESOURCE_EXHAUSTED) if refuses else ("echoes", StatusCode.OK)
                await take(f"grpc.aio alone, which {name}", address, [pid], SEARCHED, code)
        async with _full([sounds[SEARCHED], sounds[ORDINARY]], 2, limits=FULL) as server:
            for how, rpc in (("before all else", SEARCHED), ("by its servicer", ORDINARY)):
                await take(
                    f"a full queue, refused {how}", server.address, [server.pid], rpc, StatusCode.RESOURCE_EXHAUSTED
                )
        async with _full([], 0, port=GUARDED):
            with suppress(NoNginxError), nginx("guard.conf", GUARD) as pid:
                async with _held(GUARD, [sounds[SEARCHED]], GUARD_HOLDS):
                    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
                    name, pids = "nginx with deploy/guard.conf", [pid, *map(int, children)]
                    await take(name, GUARD, pids, SEARCHED, StatusCode.RESOURCE_EXHAUSTED)
    return found


def refusals(
    *,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each is called.")] = 5.0,
    write: Annotated[Path | None, typer.Option(help="A document with a place for the table.")] = None,
) -> None:
    """Print what a refused call costs, layer by layer."""
    machine = describe()
    lines = ["", "| | µs of processor a call | calls/s | µs of the generator |", "|---|---|---|---|"]
    lines += [
        f"| {cost.name} | {cost.microseconds:.0f} | {cost.per_second:,.0f} | {cost.generator:.0f} |"
        for cost in asyncio.run(costs(seconds))
    ]
    where = (
        f"{machine['processor']}; {machine['versions']}; code {machine['code']}; load before {machine['load before']}"
    )
    lines += ["", f"{CLIENTS} calls at a time for {seconds:g} s each, {datetime.now(UTC).date().isoformat()}, {where}."]
    lines.append("")
    typer.echo("\n".join(lines))
    if write is not None:
        write_into(write, COMMAND, lines)


@asynccontextmanager
async def _full(sounds: Sequence[Sound], each: int, **setup: Any) -> AsyncIterator[WatchedProcess]:
    """Serve planned models of which none ever answers, with some calls inside."""
    with watched(Setup("", kind="planned", step_s=STUCK_S, **setup)) as server:
        try:
            async with _held(server.address, sounds, each):
                yield server
        finally:
            server.kill()  # it would wait for the step


@asynccontextmanager
async def _held(address: str, sounds: Sequence[Sound], each: int) -> AsyncIterator[None]:
    """Keep calls waiting for an answer that does not come; those that there is no room for are over soon."""
    async with grpc.aio.insecure_channel(address) as channel:
        untyped: Any = channel  # its stubs know no methods of bytes
        calls = []
        for sound in sounds:
            for _ in range(each):
                calls.append(untyped.unary_unary(sound.path)(sound.request.SerializeToString()))
                await asyncio.sleep(0.02)  # one after the other, so that the first is taken into the batch
        await asyncio.sleep(0.5)
        yield
        for call in calls:
            call.cancel()


@asynccontextmanager
async def _bare(*, refuses: bool) -> AsyncIterator[tuple[str, int]]:
    """Serve with grpc.aio and nothing else; give where, and the process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_bare, args=(there,), kwargs={"refuses": refuses})
    process.start()
    assert process.pid is not None
    try:
        yield f"127.0.0.1:{await asyncio.to_thread(here.recv)}", process.pid
    finally:
        here.send(None)
        process.join()


def _serve_bare(pipe: Connection, *, refuses: bool) -> None:
    asyncio.run(_bare_server(pipe, refuses=refuses))


async def _bare_server(pipe: Connection, *, refuses: bool) -> None:
    async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        if refuses:
            context.set_code(StatusCode.RESOURCE_EXHAUSTED)
            context.set_details("the queue is full; retry later")
        return request

    class Anything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ARG002 - whatever it is
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server(handlers=[Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(port)
    await asyncio.to_thread(pipe.recv)
    await server.stop(0)


if __name__ == "__main__":
    typer.run(refusals)
