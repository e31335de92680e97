"""Traces: a span a call in the caller's trace (W3C traceparent), and within it one a phase, made once the call is over."""

import time
from typing import TYPE_CHECKING

from grpc import StatusCode

from serving.calls.call import Call
from serving.calls.interceptor import Context
from serving.errors import BadConfiguration

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVERS_FAULT = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
"""What OpenTelemetry's conventions call an error of a server's span; the rest is the caller's."""


class Tracing:
    """An `Observer` that makes the spans of every call; needs the extra `tracing`."""

    def __init__(self, provider: "TracerProvider") -> None:
        """Make spans with this provider, which is stopped with it."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("beamstep")
        self._propagator = TraceContextTextMapPropagator()

    def began(self, call: Call, context: Context) -> None:
        """Do nothing yet."""

    def ended(self, call: Call, context: Context) -> None:  # noqa: ARG002 - Observer
        """Make a call's spans, and write down which trace they are in."""
        from opentelemetry.trace import SpanKind, Status, set_span_in_context
        from opentelemetry.trace import StatusCode as SpanStatus

        zero = time.time_ns() - round(1e9 * time.monotonic())

        def at(moment: float) -> int:
            return zero + round(1e9 * moment)

        parent = self._propagator.extract(dict(call.metadata))
        service, _, method = call.method.strip("/").rpartition("/")
        attributes: dict[str, str | int] = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.grpc.status_code": call.code.value[0],
            "network.peer.address": call.peer,
            "beamstep.request_id": call.request_id,
            "beamstep.model": call.model,
            "beamstep.source_length": call.source_length,
        }
        span = self._tracer.start_span(
            f"{service}/{method}", parent, SpanKind.SERVER, attributes, start_time=at(call.began)
        )
        call.trace_id = f"{span.get_span_context().trace_id:032x}"
        if call.code in SERVERS_FAULT:
            span.set_status(Status(SpanStatus.ERROR, call.details or call.code.name))
        within = set_span_in_context(span)
        for name, since, until in _phases(call):
            self._tracer.start_span(name, within, start_time=at(since)).end(at(until))
        span.end(at(call.ended))

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def otlp_tracing(endpoint: str, ratio: float) -> Tracing:
    """Return what sends traces to a collector, in the background.

    Args:
        endpoint: http://HOST:PORT, or https for TLS; OTLP over gRPC.
        ratio: share of the calls, of those whose caller has not decided it.

    Raises:
        BadConfiguration: the extra `tracing` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ModuleNotFoundError as error:
        raise BadConfiguration(
            f"otlp_endpoint: {endpoint}, but {error.name} is not installed; "
            "allowed: with the extra, pip install 'beamstep[tracing]'"
        ) from None
    resource = Resource.create({"service.name": "beamstep"})
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _phases(call: Call) -> list[tuple[str, float, float]]:
    """Return name, begin and end of each phase: preparing the request, each search of it, making the answer."""
    if not call.decoded:
        return []
    found: list[tuple[str, float, float]] = []
    for decoded, there in zip(call.decoded, call.decoded_at, strict=True):
        decoding = there - decoded.decode_s
        encoding = decoding - decoded.encode_s
        queued = encoding - decoded.queue_s
        found += [("queue", queued, encoding), ("encode", encoding, decoding), ("decode", decoding, there)]
    first, last = min(since for _, since, _ in found), max(until for _, _, until in found)
    return [("check", call.began, max(call.began, first)), *found, ("render", last, max(last, call.ended))]
