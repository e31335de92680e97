"""A real server tells of its calls: metrics, trailing metadata, a line a call, spans in the caller's trace."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from beamstep.v1 import translation_pb2
from serving.observation.log import CallLog, JsonFormatter
from serving.observation.tracing import Tracing

SECRET = "ein hund läuft"
TRACE = "0af7651916cd43dd8448eb211c80319c"
METHOD = "beamstep.v1.TranslationService/TranslateText"


def ask(stubs, text=SECRET, *metadata):
    request = translation_pb2.TranslateTextRequest(text=text)
    return stubs.translation.TranslateText.with_call(request, timeout=60, metadata=metadata)


def next_round(server):
    """Wait until the server's event loop has told the observers of what it has answered."""
    server.call(asyncio.sleep(0))


def samples(server):
    next_round(server)
    text, _ = server.server.metrics.exposition()
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(found, sample, /, **labels):
    return found.get((sample, frozenset(labels.items())), 0.0)


def observe(server, observer):
    async def add():
        server.server._observers.append(observer)

    server.call(add())


def test_an_answered_call_is_counted_with_its_work(server, stubs):
    before = samples(server)
    answer, _ = ask(stubs)
    key = f"{answer.model.name}/{answer.model.version}"
    rows, steps = "beamstep_step_rows_count", answer.timings.step_count
    after = samples(server)
    until = time.monotonic() + 30
    while value(after, rows, model=key) < value(before, rows, model=key) + steps and time.monotonic() < until:
        time.sleep(0.01)  # the last turn is told of when it is over, and the answer was on its way before
        after = samples(server)

    def grown(sample, /, **labels):
        return value(after, sample, **labels) - value(before, sample, **labels)

    assert grown("beamstep_calls_total", method=METHOD, code="OK", model=key) == 1
    assert grown("beamstep_tokens_total", model=key) == len(answer.hypotheses[0].decoding.tokens)
    assert grown("beamstep_request_steps_total", model=key, outcome="finished") == steps
    assert grown("beamstep_step_rows_count", model=key) == steps
    assert grown("beamstep_encoded_positions_total", model=key, kind="real") > 0
    assert value(after, "beamstep_model_info", name="translation", version="2", task="translation") == 1
    assert value(after, "beamstep_running_rows", model=key) == 0
    assert ("process_resident_memory_bytes", frozenset()) in after


def test_openmetrics_where_it_is_asked_for(server):
    text, kind = server.server.metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_the_trailer_names_the_call_and_its_phases(stubs):
    _, call = ask(stubs, SECRET, ("x-request-id", "mine"))
    trailing = dict(call.trailing_metadata())
    assert trailing["x-request-id"] == "mine"
    phases = [part.split(";dur=")[0] for part in trailing["server-timing"].split(", ")]
    assert phases == ["queue", "encode", "decode", "step", "search", "total"]


def test_a_refused_call_has_a_trailer_beside_its_status(stubs):
    with pytest.raises(grpc.RpcError) as refused:
        ask(stubs, "", ("x-request-id", "mine"))
    trailing = dict(refused.value.trailing_metadata())
    assert trailing["x-request-id"] == "mine"
    assert trailing["server-timing"].startswith("total;dur=")
    assert "grpc-status-details-bin" in trailing


def test_a_call_is_one_line_without_its_payload(server, stubs, caplog):
    with caplog.at_level(logging.INFO, "serving.calls"):
        ask(stubs, SECRET, ("x-request-id", 'logged" me'))
        next_round(server)
    (record,) = [r for r in caplog.records if getattr(r, "call", {}).get("request_id") == 'logged" me']
    line = JsonFormatter().format(record)
    fields = json.loads(line)
    assert "\n" not in line
    assert (fields["method"], fields["code"], fields["level"]) == (METHOD, "OK", "info")
    assert fields["steps"] >= 2
    assert fields["decode_ms"] > 0
    assert "hund" not in line + record.getMessage()


def test_payloads_are_logged_where_the_operator_wants_them(server, stubs, caplog):
    observe(server, CallLog(payloads=True))
    with caplog.at_level(logging.INFO, "serving.calls"):
        with pytest.raises(grpc.RpcError):
            ask(stubs, SECRET + " x" * 500)
        requests = []
        until = time.monotonic() + 30
        while not requests and time.monotonic() < until:  # a refusal is on its way before its line is written
            time.sleep(0.01)
            requests = [r.call["request"] for r in caplog.records if "request" in getattr(r, "call", {})]
    (request,) = requests
    assert SECRET in request
    assert len(request) < 300


def test_spans_are_in_the_callers_trace(server, stubs):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observe(server, Tracing(provider))
    ask(stubs, SECRET, ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"))
    next_round(server)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    whole = spans[METHOD]
    assert f"{whole.context.trace_id:032x}" == TRACE
    assert whole.parent.span_id == 0xB7AD6B7169203331
    assert set(spans) == {METHOD, "check", "queue", "encode", "decode", "render"}
    for name in ("check", "queue", "encode", "decode", "render"):
        assert spans[name].parent.span_id == whole.context.span_id
        assert spans[name].start_time <= spans[name].end_time
    assert whole.attributes["rpc.method"] == "TranslateText"


WORKER = """
from grpc import StatusCode
from serving.calls.call import Call
from serving.observation.metrics import Metrics
metrics = Metrics()
call = Call("/s/m")
metrics.began(call, None)
call.ended = call.began + 1
metrics.ended(call, None)
metrics.work.stepped("m/1", 4, 1, graph_s=0.1, search_s=0.1, turn_s=0.2)
print(metrics.exposition()[0].decode())
"""


def test_processes_behind_one_port_are_summed(tmp_path):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for count in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        assert f'beamstep_calls_total{{code="OK",method="s/m",model=""}} {count}.0' in done.stdout
        assert f'beamstep_step_rows_sum{{model="m/1"}} {4.0 * count}' in done.stdout
        assert "process_resident_memory_bytes" not in done.stdout
