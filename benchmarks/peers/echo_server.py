"""Answers every translation with the same bytes: python -m benchmarks.peers.echo_server ANSWER ADDRESS. What gRPC itself takes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from beamstep.bench.prepared import TRANSLATE
from benchmarks.peers.plain_server import HEALTH, SERVING, until_terminated


class _Echo(grpc.GenericRpcHandler):
    """Bytes in, bytes out: no message is read or made."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a path."""
        answer = self._answers.get(str(handler_call_details.method))

        async def say(_: bytes, __: Any) -> bytes | None:
            return answer

        return None if answer is None else grpc.unary_unary_rpc_method_handler(say)


def echo_server(
    answer: Annotated[Path, typer.Argument(help="The file whose bytes are the answer.")],
    address: Annotated[str, typer.Argument(help="host:port to listen on.")],
) -> None:
    """Answer until SIGTERM."""
    handlers: Sequence[grpc.GenericRpcHandler] = [_Echo({TRANSLATE: answer.read_bytes(), HEALTH: SERVING})]
    asyncio.run(until_terminated(address, handlers))


if __name__ == "__main__":
    typer.run(echo_server)
