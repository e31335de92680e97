"""The HTTP application: every path, and what is said of those that are not there."""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from aiohttp import web
from grpc import StatusCode

from serving.http.calls import Caller, too_large
from serving.http.openapi import describe
from serving.http.page import render
from serving.http.readiness import Probes, liveness, readiness
from serving.http.routes import ROUTES, Route, offered_routes
from serving.http.statuses import Refused, answer
from serving.servicers.status import INTERNAL_MESSAGE

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ACCEPT: Final = "text/plain"


class Metrics(Protocol):
    """Counts what happens."""

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all figures and their content type, in the best format of an Accept header."""


def make_application(
    caller: Caller | None, probes: Probes, metrics: Metrics | None, services: Sequence[str], message_bytes: int
) -> web.Application:
    """Return the application of a server that offers these services.

    Args:
        caller: makes the calls; None offers none, but probes and metrics.
        probes: the answers of /healthz and /readyz.
        metrics: None answers /metrics with 404.
        services: of `SERVICE_TASKS`.
        message_bytes: the largest body.
    """
    application = web.Application(
        middlewares=[_statuses(services if caller is not None else (), message_bytes)],
        client_max_size=message_bytes + 1,  # aiohttp refuses a body that is as large
    )
    routes = [] if caller is None else offered_routes(services)
    description = describe(routes)
    specification, page = json.dumps(description).encode(), render(description)

    async def get_metrics(request: web.Request) -> web.Response:
        if metrics is None:
            raise Refused(StatusCode.NOT_FOUND, "metrics: this server keeps none")
        body, content_type = metrics.exposition(request.headers.get("Accept", ACCEPT))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def get_health(_: web.Request) -> web.Response:
        http, said = await liveness(probes)
        return web.json_response(said, status=http)

    async def get_readiness(request: web.Request) -> web.Response:
        service = request.query.get("service", "")
        try:
            http, said = await readiness(probes, service)
        except KeyError:
            message = f"service: {service!a}; allowed: {', '.join(services)}"
            raise Refused(StatusCode.NOT_FOUND, message, "service") from None
        return web.json_response(said, status=http)

    async def get_specification(_: web.Request) -> web.Response:
        return web.Response(body=specification, content_type="application/json")

    async def get_page(_: web.Request) -> web.Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=policy)

    router = application.router
    router.add_get("/metrics", get_metrics)
    router.add_get("/healthz", get_health)
    router.add_get("/readyz", get_readiness)
    router.add_get("/openapi.json", get_specification)
    router.add_get("/docs", get_page)
    for route in routes:
        assert caller is not None
        router.add_route(route.verb, route.path, partial(_call, caller, probes, route))
    return application


async def _call(caller: Caller, probes: Probes, route: Route, request: web.Request) -> web.StreamResponse:
    if probes.state() == "stopping":
        raise Refused(StatusCode.UNAVAILABLE, "the server is shutting down; retry elsewhere")
    return await caller.answer(route, request)


def _statuses(services: Sequence[str], message_bytes: int) -> Any:
    """Return the middleware that makes a status of every failure."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            response = answer(refused.status, refused.http)
        except web.HTTPRequestEntityTooLarge:
            response = answer(too_large(message_bytes).status, 413)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            message = f"{error.method!a} {request.path!a}; allowed: {allowed}"
            response = answer(Refused(StatusCode.UNIMPLEMENTED, message).status, 405)
            response.headers["Allow"] = allowed
        except web.HTTPNotFound:
            response = answer(Refused(StatusCode.NOT_FOUND, _missing(request.path, services)).status)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            response = answer(Refused(StatusCode.INTERNAL, INTERNAL_MESSAGE).status)
        return response

    return middleware


def _missing(path: str, services: Sequence[str]) -> str:
    """Say why there is nothing at a path."""
    for route in ROUTES:
        if route.path == path and not services:
            return f"{path}: this server takes calls over gRPC alone, where clients show their certificates"
        if route.path == path:
            return f"{path}: this server does not offer {route.offered_by}; it offers {', '.join(services)}"
    return f"{path!a}: there is no such path; /openapi.json lists those there are"
