"""Spans reach a collector over OTLP; the collector here is a real gRPC server that keeps what it gets."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from beamstep.client import Client
from serving.config import ServerConfig
from serving.errors import BadConfiguration
from serving.observation import tracing
from serving.observation.config import ObservationConfig
from serving.session import SessionConfig
from tests.fakes.planned import open_planned
from tests.fakes.threads import ServerThread


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans = []

    def Export(self, request, context):
        for resource in request.resource_spans:
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector():
    collected = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collected, server)
    collected.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collected
    server.stop(0)


def test_spans_reach_the_collector(models, collector):
    observation = ObservationConfig(otlp_endpoint=f"http://127.0.0.1:{collector.port}")
    config = ServerConfig(
        models, "127.0.0.1", 0, ("translation",), session=SessionConfig(step_threads=1), observation=observation
    )
    with ServerThread(config, open_planned) as thread, Client(thread.address, timeout_s=30) as client:
        client.translate("ein hund")
    # The server has stopped, and has sent what was left.
    (call,) = [span for span in collector.spans if span.name.endswith("/TranslateText")]
    phases = [span for span in collector.spans if span.parent_span_id == call.span_id]
    assert {"queue", "encode", "decode"} <= {span.name for span in phases}
    assert all(call.start_time_unix_nano <= span.start_time_unix_nano for span in phases)


def test_traces_without_their_extra_are_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(BadConfiguration, match=r"otlp_endpoint: .*beamstep\[tracing\]"):
        tracing.otlp_tracing("http://localhost:4317", 1.0)
