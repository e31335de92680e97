"""The HTTP port on a real socket: the calls in JSON, probes, statuses, the description, and the end."""

import asyncio
import base64
import http.client
import json
import socket
import threading
import time
import urllib.parse

import pytest
from google.protobuf import json_format
from jsonschema import Draft202012Validator

from beamstep.v1 import translation_pb2
from serving.access.config import AccessConfig
from serving.access.tokens import Token, TokenLimits, hash_of, write_tokens
from serving.config import ServerConfig
from serving.errors import BadConfiguration
from serving.http import calls, port
from serving.http.config import HttpConfig
from serving.http.openapi import describe
from serving.http.routes import ROUTES, offered_routes
from serving.scheduler import Limits
from serving.server import Server
from serving.session import SessionConfig
from tests.fakes.planned import open_planned
from tests.fakes.stubs import picture
from tests.fakes.threads import ServerThread

SQUARE = [{"x": 0, "y": 0}, {"x": 2, "y": 0}, {"x": 2, "y": 2}, {"x": 0, "y": 2}]
IMAGE = base64.b64encode(picture()).decode()
SERVICES = ("translation", "captioning", "pointing")
BODIES = {
    "/v1/translate": {"text": "a b"},
    "/v1/translate:stream": {"text": "a b"},
    "/v1/translate:score": {"text": "a b", "target": "a"},
    "/v1/caption": {"image": IMAGE},
    "/v1/caption:stream": {"image": IMAGE},
    "/v1/caption:score": {"image": IMAGE, "target": "a"},
    "/v1/hull": {"points": SQUARE},
    "/v1/delaunay": {"points": SQUARE},
    "/v1/tour": {"points": SQUARE},
    "/v1/pointing:score": {"points": SQUARE, "task": "TASK_TOUR", "point_indices": [0, 1, 2, 3]},
}


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def fields(self) -> list[str]:
        assert set(self.json) == {"code", "message", "details"}
        return [one["field"] for each in self.json["details"] for one in each.get("field_violations", [])]


class Caller:
    def __init__(self, server: ServerThread) -> None:
        self.port = server.server.http.port

    def __call__(self, method: str, path: str, body=None, headers=None) -> Answer:
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()


def configuration(models, **changes) -> ServerConfig:
    return ServerConfig(
        models,
        host="127.0.0.1",
        port=0,
        session=SessionConfig(step_threads=1),
        http=HttpConfig(port=0),
        **{"message_bytes": 2**18, **changes},
    )


@pytest.fixture(scope="module")
def opened():
    return {}


@pytest.fixture(scope="module")
def server(models, opened):
    def open_model(bundle, session):
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    with ServerThread(configuration(models), open_model) as thread:
        yield thread


@pytest.fixture(scope="module")
def call(server) -> Caller:
    return Caller(server)


def test_the_description_has_every_route_and_no_other(server, call):
    described = {
        (verb.upper(), path) for path, verbs in call("GET", "/openapi.json").json["paths"].items() for verb in verbs
    }
    served = set()

    async def look():
        application = server.server.http._runner.app
        for route in application.router.routes():
            if route.method != "HEAD":
                served.add((route.method, route.resource.canonical))

    server.call(look())
    assert described == served
    assert {(route.verb, route.path) for route in ROUTES} < served


@pytest.mark.parametrize("path", [path for path in BODIES if not path.endswith(":stream")])
def test_every_answer_is_what_the_description_says(call, path):
    answer = call("POST", path, BODIES[path])

    assert answer.status == 200, answer.body
    validate(call, path, "post", answer.json)
    assert answer.json["model"]["name"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/translation?version=1", "/healthz", "/readyz"])
def test_so_are_those_without_a_body(call, path):
    answer = call("GET", path)

    assert answer.status == 200, answer.body
    plain = path.partition("?")[0].replace("/models/translation", "/models/{name}")
    validate(call, plain, "get", answer.json)


def validate(call, path, verb, given):
    description = call("GET", "/openapi.json").json
    schema = description["paths"][path][verb]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": description["components"]}).validate(given)


def test_an_answer_is_grpcs_own(call, stubs, server):
    json_answer = call("POST", "/v1/translate", {"text": "a b", "options": {"beamSize": 2, "hypothesis_count": 2}}).json
    del json_answer["timings"]
    answer = json_format.ParseDict(json_answer, translation_pb2.TranslateTextResponse())

    request = translation_pb2.TranslateTextRequest(text="a b")
    request.options.beam_size = request.options.hypothesis_count = 2
    expected = stubs.translation.TranslateText(request, timeout=30)
    expected.ClearField("timings")
    assert len(answer.hypotheses) == 2
    assert answer == expected


def test_a_version_is_chosen_by_the_query(call):
    assert call("GET", "/v1/models/translation?version=1").json["model"]["reference"]["version"] == "1"
    assert call("GET", "/v1/models/translation").json["model"]["reference"]["version"] == "2"
    assert call("GET", "/v1/models/nobody").status == 404
    assert call("GET", "/v1/models/translation?colour=1").fields == ["'colour'"]


def test_an_image_may_be_the_body(call):
    query = urllib.parse.urlencode({"options": '{"include_attention": true}'})
    raw = call("POST", f"/v1/caption?{query}", picture(), {"Content-Type": "image/png"})

    assert raw.status == 200, raw.body
    assert raw.json["attention_grid"]["row_count"] > 0
    assert (
        raw.json["hypotheses"][0]["caption"]
        == call("POST", "/v1/caption", BODIES["/v1/caption"]).json["hypotheses"][0]["caption"]
    )
    bad = call("POST", '/v1/caption?options={"beam":1}'.replace('"', "%22"), picture(), {"Content-Type": "image/png"})
    assert (bad.status, bad.fields) == (400, ["beam"])


@pytest.mark.parametrize("path", ["/v1/translate:stream", "/v1/caption:stream"])
def test_a_stream_comes_as_events_and_ends_with_the_answer(call, path):
    answer = call("POST", path, BODIES[path])

    assert answer.headers["Content-Type"] == "text/event-stream"
    events = answer.body.decode().split("\n\n")
    assert events.pop() == ""
    parts = [json.loads(event.removeprefix("data: ")) for event in events]
    text = "".join(part["committed_text"] for part in parts)
    best = parts[-1]["answer"]["hypotheses"][0]
    assert text == best.get("text", best.get("caption"))


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/v1/translate", b"{", ["body"]),
        ("/v1/translate", b"[]", ["body"]),
        ("/v1/translate", b"\xff", ["body"]),
        ("/v1/translate", b"[" * 50000, ["body"]),
        ("/v1/translate", b'{"text": "a", "text": "b"}', ["body"]),
        ("/v1/translate", {"textt": "a"}, ["textt"]),
        ("/v1/translate", {"text": 1}, ["text"]),
        ("/v1/translate", {"text": "\ud800"}, ["text"]),
        ("/v1/translate", {"text": "a", "options": {"beam_sise": 1}}, ["options.beam_sise"]),
        ("/v1/translate", {"text": "a", "options": {"beam_size": 2**40}}, ["options.beam_size"]),
        ("/v1/translate", {"text": "a", "options": {"beam_size": 0}}, ["options.beam_size"]),
        ("/v1/translate", {"text": "a", "options": {"length_penalty": "NaN"}}, ["options.length_penalty"]),
        ("/v1/hull", b'{"points": [{"x": NaN}]}', ["body"]),
        ("/v1/hull", b'{"points": [{"x": 1e999}]}', ["points.x"]),
        ("/v1/hull", {"points": [*SQUARE, {"x": "Infinity"}]}, ["points[4].x"]),
        ("/v1/caption", {"image": "?"}, ["image"]),
        ("/v1/translate?text=a", {}, ["'text'"]),
    ],
)
def test_a_fault_in_a_request_is_400_and_names_the_field(call, path, body, fields):
    answer = call("POST", path, body)

    assert answer.status == 400, answer.body
    assert answer.json["code"] == 3
    assert answer.fields == fields


def test_other_statuses_are_json_too(call):
    body = {"text": "a"}
    assert call("POST", "/v1/translate", {**body, "model": "x"}).status == 404
    assert call("POST", "/v1/translate", b"x", {"Content-Type": "text/plain"}).status == 415
    late = call("POST", "/v1/translate", body, {"X-Timeout": "0.000001"})
    assert (late.status, late.json["code"]) == (504, 4)
    assert call("POST", "/v1/translate", body, {"X-Timeout": "nan"}).fields == ["X-Timeout"]
    assert call("POST", "/v1/translate", body, {"x-beamstep-a": "\xe9"}).status == 400
    assert call("POST", "/v1/translate", body, {"x-beamstep-a": "a" * 7000}).status == 431
    wrong = call("GET", "/v1/translate")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert call("GET", "/nowhere").json["code"] == 5
    assert call("GET", "/readyz?service=x").fields == ["service"]


def test_metrics_come_in_the_format_that_is_asked_for(call):
    call("POST", "/v1/translate", {"text": "a"})
    plain = call("GET", "/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert b'beamstep_calls_total{code="OK",method="beamstep.v1.TranslationService/TranslateText"' in plain.body
    openmetrics = call("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.body.endswith(b"# EOF\n")


def test_a_body_over_the_limit_is_413(call):
    for body in (b" " * (2**18 + 1), iter([b" " * 2**17] * 3)):
        connection = http.client.HTTPConnection("127.0.0.1", call.port, timeout=60)
        connection.request("POST", "/v1/translate", body, {"Content-Type": "application/json"})
        answer = Answer(connection.getresponse())
        connection.close()
        assert (answer.status, answer.json["code"]) == (413, 8)


def test_a_call_keeps_its_name(call):
    named = call("POST", "/v1/translate", {"text": "a"}, {"X-Request-Id": "mine"})
    nameless = call("POST", "/v1/translate", {"text": 1})
    assert named.headers["x-request-id"] == "mine"
    assert nameless.status == 400
    assert len(call("POST", "/v1/translate", {"text": "a"}).headers["x-request-id"]) == 32


def test_the_page_loads_nothing_from_elsewhere(call):
    page = call("GET", "/docs")
    text = page.body.decode()
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "src=" not in text
    assert "<script" not in text
    assert all(route.path in text for route in ROUTES)


def test_a_client_that_goes_away_takes_its_call_along(call, server, opened):
    model, engine = opened["translation/2"], server.server.engine
    lane, before = engine._lanes["translation/2"], engine.counters.cancelled
    model.turn.clear()
    try:
        body = json.dumps({"text": "a b"}).encode()
        head = b"POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        with socket.create_connection(("127.0.0.1", call.port)) as client:
            client.sendall(head % len(body) + body)
            wait_until(lambda: load(server).running_requests + load(server).waiting_requests == 1)
        wait_until(lambda: all(request.future.cancelled() for request in list(lane.requests.values())))
    finally:
        model.turn.set()
    wait_until(lambda: load(server).running_requests + load(server).waiting_requests == 0)
    assert engine.counters.cancelled == before + 1


def load(server):
    return server.server.engine.load("translation/2")


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_is_429_and_says_when_to_come_again(models):
    opened = {}

    def open_model(bundle, session):
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    config = configuration(models, services=("translation",), limits=Limits(waiting_requests=1, batch_rows=8))
    with ServerThread(config, open_model) as server:
        call = Caller(server)
        opened["translation/2"].turn.clear()
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(call("POST", "/v1/translate", {"text": "a b"})))
            for _ in range(16)
        ]
        try:
            for thread in threads:
                thread.start()
            wait_until(lambda: any(answer.status == 429 for answer in answers))
        finally:
            opened["translation/2"].turn.set()
        for thread in threads:
            thread.join(30)
        refused = [answer for answer in answers if answer.status != 200]
        assert {answer.status for answer in refused} == {429}
        assert {answer.json["code"] for answer in refused} == {8}
        assert {int(answer.headers["Retry-After"]) >= 1 for answer in refused} == {True}


def test_a_token_is_asked_for_judged_and_counted(models, tmp_path):
    tokens = tmp_path / "tokens.toml"
    write_tokens(
        tokens,
        [
            Token("web", hash_of("bst_web"), ("translation",)),
            Token("slow", hash_of("bst_slow"), ("translation",), TokenLimits(rate=0.01, burst=1)),
        ],
    )
    config = configuration(models, access=AccessConfig(tokens=tokens))
    with ServerThread(config, open_planned) as server:
        call = Caller(server)

        def ask(path, authorization=None):
            return call("POST", path, BODIES[path], {} if authorization is None else {"Authorization": authorization})

        for missing in (None, "Bearer bst_other", "Basic d2ViOg=="):
            refused = ask("/v1/translate", missing)
            assert (refused.status, refused.json["code"]) == (401, 16)
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert ask("/v1/translate", "Bearer bst_web").status == 200
        forbidden = ask("/v1/caption", "Bearer bst_web")
        assert (forbidden.status, forbidden.json["code"]) == (403, 7)
        assert ask("/v1/translate", "Bearer bst_slow").status == 200
        late = ask("/v1/translate", "Bearer bst_slow")
        assert late.status == 429
        assert 1 < int(late.headers["Retry-After"]) <= 100


def test_a_service_that_was_not_asked_for_is_404_and_not_described(models):
    with ServerThread(configuration(models, services=("translation",)), open_planned) as server:
        call = Caller(server)
        missing = call("POST", "/v1/caption", BODIES["/v1/caption"])
        assert missing.status == 404
        assert missing.json["message"] == "/v1/caption: this server does not offer captioning; it offers translation"
        assert "/v1/caption" not in call("GET", "/openapi.json").json["paths"]
        assert call("GET", "/readyz").json["services"] == {"translation": "serving"}
        assert call("GET", "/readyz?service=translation").status == 200
        assert call("GET", "/readyz?service=captioning").status == 404


async def test_it_is_alive_but_not_ready_before_and_after_and_answers_what_runs(models):
    opened = {}

    def open_model(bundle, session):
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    server = Server(configuration(models, services=("translation",)), open_model)
    await server.start()
    call = Caller.__new__(Caller)
    call.port = server.http.port
    body = {"text": "a b"}
    try:
        assert (await asyncio.to_thread(call, "GET", "/healthz")).status == 200
        loading = await asyncio.to_thread(call, "GET", "/readyz")
        assert (loading.status, loading.json["state"]) == (503, "loading")
        assert (await asyncio.to_thread(call, "POST", "/v1/translate", body)).status == 503
        await server.load()
        assert (await asyncio.to_thread(call, "GET", "/readyz")).status == 200

        model = opened["translation/2"]
        model.turn.clear()
        running = asyncio.ensure_future(asyncio.to_thread(call, "POST", "/v1/translate", body))
        while server.engine.load("translation/2").running_requests == 0:
            await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(server.stop(30))
        draining = await asyncio.to_thread(call, "GET", "/readyz")
        assert (draining.status, draining.json["state"]) == (503, "stopping")
        assert (await asyncio.to_thread(call, "GET", "/healthz")).status == 200
        assert (await asyncio.to_thread(call, "POST", "/v1/translate", body)).status == 503
        model.turn.set()
        assert (await running).status == 200
        await stopping
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(call, "GET", "/healthz")
    finally:
        await server.stop(0)


async def test_a_taken_port_is_said_so(models):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = ServerConfig(models, host="127.0.0.1", port=0, http=HttpConfig(taken.getsockname()[1]))
        server = Server(config, open_planned)
        with pytest.raises(BadConfiguration, match="http_port: cannot listen on"):
            await server.start()
        await server.stop(0)


def test_clients_that_send_nothing_or_half_are_cut_off(models, monkeypatch):
    monkeypatch.setattr(port, "HEADERS_S", 0.2)
    monkeypatch.setattr(calls, "BODY_S", 0.2)
    with ServerThread(configuration(models, services=("translation",)), open_planned) as server:
        for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost"):
            with socket.create_connection(("127.0.0.1", server.server.http.port), timeout=30) as client:
                client.sendall(sent)
                assert client.recv(100) == b""
        with socket.create_connection(("127.0.0.1", server.server.http.port), timeout=30) as client:
            client.sendall(b"POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            client.sendall(b"Content-Length: 9\r\n\r\n{")
            assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_the_description_says_what_the_protos_say():
    description = describe(offered_routes(SERVICES))
    Draft202012Validator.check_schema(description["components"]["schemas"]["beamstep.v1.DecodingOptions"])
    options = description["components"]["schemas"]["beamstep.v1.DecodingOptions"]["properties"]
    assert options["beam_size"]["description"].startswith("Hypotheses kept at every step.")
    schemas = description["components"]["schemas"]
    nameless = [name for name, schema in schemas.items() if not schema["description"].strip()]
    nameless += [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, each in schema.get("properties", {}).items()
        if not each.get("description")
    ]
    assert nameless == []


@pytest.mark.parametrize(("given", "named"), [((70000, None), "http_port"), ((None, "::"), "http_host")])
def test_a_bad_configuration_names_the_option(given, named):
    with pytest.raises(BadConfiguration, match=named):
        HttpConfig(*given)
