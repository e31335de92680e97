"""One HTTP request as a call of this very server: the same checks, limits, logs and statuses as over gRPC."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from aiohttp import web
from google.protobuf.message import Message
from grpc import StatusCode

from serving.http.metadata import forwarded, returned, timeout_of
from serving.http.routes import IMAGE_TYPES, Route
from serving.http.statuses import Refused, answer, as_json, status_of
from serving.http.transcoding import read_json, read_object, write_json

logger = logging.getLogger(__name__)

BODY_S: Final = 60.0
"""How long a body may take to come."""
WRITE_S: Final = 60.0
"""How long a client may take to read one part of a stream."""
LONG: Final = 2**17
"""Bodies from so many bytes are read beside the event loop."""
OPTIONS: Final = "options"


class Caller:
    """Answers the requests of every route over one channel."""

    def __init__(self, channel: grpc.aio.Channel, message_bytes: int) -> None:
        """Take requests from now on.

        Args:
            channel: to the server itself.
            message_bytes: the largest body, and the largest message.
        """
        self._channel = channel
        self._message_bytes = message_bytes

    async def answer(self, route: Route, request: web.Request) -> web.StreamResponse:
        """Make the call that a request asks for, and answer with what it answers.

        Raises:
            Refused: the request is not one; the call was not made.
        """
        metadata = forwarded(request.headers, request.remote or "")
        timeout = timeout_of(request.headers)
        message = await self._message(route, request)
        if message.ByteSize() > self._message_bytes:
            raise too_large(self._message_bytes)
        request_id = dict(metadata)["x-request-id"]
        headers = {"x-request-id": request_id}
        make: Any = self._channel.unary_stream if route.streams else self._channel.unary_unary
        call = make(route.rpc, type(message).SerializeToString, route.response_type.FromString)(
            message, timeout=timeout, metadata=metadata
        )
        try:
            if route.streams:
                return await _stream(call, request, headers)
            body = write_json(await call)
            headers |= await _metadata_of(call)
            return web.Response(body=body, content_type="application/json", headers=headers)
        except grpc.aio.AioRpcError as error:
            response = answer(status_of(error))
            response.headers.update(headers | returned([*error.initial_metadata(), *error.trailing_metadata()]))
            return response
        finally:
            call.cancel()  # means nothing to one that is over

    async def _message(self, route: Route, request: web.Request) -> Message:
        """Read the message out of path, query and body."""
        if route.verb == "GET":
            allowed = route.query_fields
            _check_query(request, allowed)
            fields = {**request.match_info, **{name: request.query[name] for name in allowed if name in request.query}}
            return read_object(fields, route.request_type, "query")
        kind = request.content_type if "Content-Type" in request.headers else ""
        if route.takes_image and kind in IMAGE_TYPES:
            _check_query(request, [OPTIONS, "model", "model_version"])
            image = await self._body(request)
            message = route.request_type(image=image)
            if OPTIONS in request.query:
                options = type(getattr(message, OPTIONS))
                read = read_json(request.query[OPTIONS].encode("utf-8", "surrogateescape"), options, OPTIONS)
                getattr(message, OPTIONS).CopyFrom(read)
            names = {name: request.query[name] for name in ("model", "model_version") if name in request.query}
            message.MergeFrom(read_object(names, route.request_type, "query"))
            return message
        if kind != "application/json":
            kinds = ", ".join(("application/json", *(IMAGE_TYPES if route.takes_image else ())))
            problem = f"header Content-Type: {kind or 'none'!a}; allowed: {kinds}"
            raise Refused(StatusCode.INVALID_ARGUMENT, problem, "Content-Type", http=415)
        _check_query(request, [])
        body = await self._body(request)
        if len(body) >= LONG:
            return await asyncio.to_thread(read_json, body, route.request_type)
        return read_json(body, route.request_type)

    async def _body(self, request: web.Request) -> bytes:
        if (request.content_length or 0) > self._message_bytes:
            raise too_large(self._message_bytes)
        try:
            async with asyncio.timeout(BODY_S):
                return await request.read()
        except TimeoutError:
            raise Refused(StatusCode.DEADLINE_EXCEEDED, f"body: did not come within {BODY_S:g} s", http=408) from None


def too_large(message_bytes: int) -> Refused:
    """Return the refusal of a body that is over the limit."""
    message = f"body: too large; allowed: up to {message_bytes} bytes"
    return Refused(StatusCode.RESOURCE_EXHAUSTED, message, http=413)


def _check_query(request: web.Request, allowed: list[str]) -> None:
    for name in request.query:
        if name not in allowed:
            raise Refused(
                StatusCode.INVALID_ARGUMENT, f"query: {name!a}; allowed: {', '.join(allowed) or 'nothing'}", ascii(name)
            )
        if len(request.query.getall(name)) > 1:
            raise Refused(StatusCode.INVALID_ARGUMENT, f"query: {name} comes twice; allowed: once", name)


async def _metadata_of(call: Any) -> dict[str, str]:
    return returned([*(await call.initial_metadata() or ()), *(await call.trailing_metadata() or ())])


async def _stream(call: Any, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
    """Hand the parts of a call on as server-sent events; one that fails before the first part is answered like any other."""
    parts: AsyncIterator[Message] = aiter(call)
    first = await anext(parts, None)
    headers |= returned(await call.initial_metadata() or ())
    response = web.StreamResponse(headers=headers | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    await response.prepare(request)
    try:
        async with asyncio.timeout(WRITE_S) as limit:
            part = first
            while part is not None:
                await response.write(b"data: " + write_json(part) + b"\n\n")
                limit.reschedule(None)  # waiting for the model takes as long as its deadline allows
                part = await anext(parts, None)
                limit.reschedule(asyncio.get_running_loop().time() + WRITE_S)
            await response.write_eof()
    except grpc.aio.AioRpcError as error:
        text = json.dumps(as_json(status_of(error)))
        await response.write(f"event: error\ndata: {text}\n\n".encode())
        await response.write_eof()
    except TimeoutError:
        logger.info("a client of %s reads too slowly: cut off", request.path)
        if request.transport is not None:
            request.transport.abort()
    except (ConnectionError, asyncio.CancelledError):
        with contextlib.suppress(RuntimeError):
            call.cancel()
        raise
    return response
