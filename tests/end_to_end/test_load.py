"""More requests than there is room for, over a real socket: who is next, who is refused, and what need not be done twice."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from beamstep.v1 import decoding_pb2
from beamstep.v1.captioning_pb2 import CaptionImageRequest, CaptioningServiceScoreTargetRequest
from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling
from beamstep.v1.model_pb2 import ListModelsRequest
from beamstep.v1.pointing_pb2 import FindConvexHullRequest, FindDelaunayTriangulationRequest, FindTourRequest
from beamstep.v1.translation_pb2 import (
    StreamTranslateTextRequest,
    TranslateTextRequest,
    TranslationServiceScoreTargetRequest,
)
from serving.config import ServerConfig
from serving.errors import BadConfiguration
from serving.load import LoadConfig, parse_limits
from serving.scheduler import Limits
from serving.server import Server
from serving.servicers.backend import Backend
from serving.session import SessionConfig
from serving.tasks.captioning import Captioning
from serving.tasks.pointing import Pointing
from serving.tasks.translation import Translation
from tests.fakes.planned import PlannedModel, open_planned
from tests.fakes.stubs import Stubs, picture, points, read, read_refusal, refusal
from tests.fakes.threads import ServerThread

KEY = "translation/2"
CACHES = LoadConfig(answer_cache_bytes=2**20, memory_cache_bytes=2**20)
BY_ID = LoadConfig(share_by="x-client-id")
SQUARE = points([(0, 0), (2, 0), (2, 2), (0, 2)])
TEXT = "ein hund"


class Serving:
    """A planned server, its models by key, and the order in which calls ended."""

    def __init__(self, thread: ServerThread, stubs: Stubs, opened: dict[str, PlannedModel]) -> None:
        self.stubs = stubs
        self.models = opened
        self.engine = thread.server.engine
        self.server = thread.server
        self.ended: list[str] = []
        self.inside: list[grpc.Future] = []

    def ask(self, name: str, client: str = "", **options):
        """Begin a translation, and note its name when it has ended."""
        request = TranslateTextRequest(text=TEXT, options=DecodingOptions(**options))
        metadata = (("x-client-id", client),) if client else ()
        call = self.stubs.translation.TranslateText.future(request, timeout=60, metadata=metadata)
        call.add_done_callback(lambda _: self.ended.append(name))
        return call

    def waiting(self, count: int) -> None:
        until(lambda: self.engine.load(KEY).waiting_requests == count)

    def hold(self, client: str = "other"):
        """Let one request run and not get on."""
        self.models[KEY].turn.clear()
        call = self.ask("first", client)
        until(lambda: self.engine.load(KEY).running_requests == 1)
        return call

    def go(self) -> None:
        self.models[KEY].turn.set()


@contextmanager
def serving(models, load: LoadConfig, **limits) -> Iterator[Serving]:
    opened: dict[str, PlannedModel] = {}

    def open_model(bundle, session) -> PlannedModel:
        opened[bundle.key] = open_planned(bundle, session)
        return opened[bundle.key]

    config = ServerConfig(
        models,
        host="127.0.0.1",
        port=0,
        session=SessionConfig(step_threads=1),
        limits=replace(Limits(), **limits),
        load=load,
    )
    with ServerThread(config, open_model) as thread, grpc.insecure_channel(thread.address) as channel:
        try:
            yield Serving(thread, Stubs(channel), opened)
        finally:
            for model in opened.values():
                model.turn.set()


@pytest.fixture
def shared(models) -> Iterator[Serving]:
    """One request at a time, and few places to wait."""
    with serving(models, BY_ID, batch_sources=1, waiting_requests=12) as ready:
        yield ready


@pytest.fixture
def cached(models) -> Iterator[Serving]:
    with serving(models, CACHES) as ready:
        yield ready


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# ---- who is next


def test_a_client_with_many_requests_does_not_hold_up_one_with_few(shared):
    calls = [shared.hold()]
    for number in range(10):
        calls.append(shared.ask(f"heavy {number}", "heavy"))
        shared.waiting(number + 1)
    calls += [shared.ask(f"light {number}", "light") for number in range(2)]
    shared.waiting(12)
    shared.go()
    assert all(call.result().hypotheses[0].text == TEXT for call in calls)
    until(lambda: len(shared.ended) == 13)
    place = {name: number for number, name in enumerate(shared.ended)}
    assert place["light 0"] <= 3
    assert place["light 1"] <= 5
    heavy = [place[f"heavy {number}"] for number in range(10)]
    assert heavy == sorted(heavy)


def test_without_a_key_clients_are_told_apart_by_their_address_whatever_they_say(models):
    with serving(models, LoadConfig(), batch_sources=1, waiting_requests=12) as ready:
        calls = [ready.hold()]
        for number, client in enumerate(["a", "a", "a", "b"]):
            calls.append(ready.ask(f"{client} {number}", client))
            ready.waiting(number + 1)
        ready.go()
        assert all(call.result() for call in calls)
        until(lambda: len(ready.ended) == 5)
        assert ready.ended == ["first", "a 0", "a 1", "a 2", "b 3"], "all from one address: in order of arrival"


def test_higher_classes_come_first_and_the_lowest_comes_too(shared):
    calls = [shared.hold()]
    classes = ["NORMAL", "LOW", "NORMAL", "HIGH", "LOW", "HIGH"]
    for number, name in enumerate(classes):
        calls.append(shared.ask(f"{name} {number}", "me", priority=f"PRIORITY_{name}"))
        shared.waiting(number + 1)
    shared.go()
    assert all(call.result().hypotheses for call in calls)
    until(lambda: len(shared.ended) == 7)
    assert shared.ended == ["first", "HIGH 3", "HIGH 5", "NORMAL 0", "NORMAL 2", "LOW 1", "LOW 4"]


@pytest.mark.parametrize("priority", [4, -1])
def test_an_unknown_priority_is_refused(shared, priority):
    request = TranslateTextRequest(text=TEXT, options=DecodingOptions(priority=priority))
    refused = refusal(shared.stubs.translation.TranslateText, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["options.priority"])
    assert refused.message == f"options.priority: {priority}; allowed: PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH"


# ---- who is refused


def test_a_full_queue_refuses_the_newest_of_the_heaviest_for_one_with_fewer(shared):
    running = shared.hold()
    heavy = []
    for number in range(12):
        heavy.append(shared.ask(f"heavy {number}", "heavy"))
        shared.waiting(number + 1)
    one_more = shared.ask("heavy 12", "heavy")
    assert one_more.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert one_more.details() == "the queue is full: 12 requests are waiting; retry later"
    light = shared.ask("light", "light")
    assert heavy[11].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert heavy[11].details() == "the queue is full and others have fewer requests in it; retry later"
    assert any(
        key == "grpc-status-details-bin" and b"RetryInfo" in value for key, value in heavy[11].trailing_metadata()
    )
    shared.go()
    for call in (running, light, *heavy[:11]):
        assert call.result().hypotheses
    counters = shared.engine.counters
    assert (counters.displaced, counters.refused, counters.finished) == (1, 1, 13)


def test_a_full_queue_refuses_before_anything_is_made_of_the_request(models, monkeypatch):
    made: list[str] = []
    for kind in (Translation, Captioning, Pointing):
        real = kind.source

        def source(task, *given, real=real):
            made.append(task.bundle.manifest.task)
            return real(task, *given)

        monkeypatch.setattr(kind, "source", source)
    with serving(models, LoadConfig(), batch_sources=1, waiting_requests=1) as ready:
        stubs = ready.stubs
        every: list[tuple[str, Callable, Message]] = [
            (KEY, stubs.translation.TranslateText, TranslateTextRequest(text=TEXT)),
            ("captioning/1", stubs.captioning.CaptionImage, CaptionImageRequest(image=picture())),
            ("tour/1", stubs.pointing.FindTour, FindTourRequest(points=SQUARE)),
        ]
        for key, call, request in every:
            ready.models[key].turn.clear()
            calls = [call.future(request, timeout=60)]
            until(lambda key=key: ready.engine.load(key).running_requests == 1)
            calls.append(call.future(request, timeout=60))
            until(lambda key=key: ready.engine.load(key).waiting_requests == 1)
            made.clear()
            refused = refusal(call, request)
            assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert refused.retry_s is not None
            assert made == []
            ready.models[key].turn.set()
            assert all(one.result().hypotheses for one in calls)
        assert ready.engine.counters.refused == 3


@pytest.fixture
def full(models) -> Iterator[Serving]:
    """A translation that runs and does not get on, and a full queue behind it."""
    with serving(models, BY_ID, batch_sources=1, waiting_requests=2) as ready:
        ready.inside = [ready.hold("crowd")]
        for number in range(2):
            ready.inside.append(ready.ask(f"waits {number}", "crowd"))
            ready.waiting(number + 1)
        yield ready
        ready.go()


def refused_of(ready: Serving, method: str = "TranslateText", request: Message | None = None):
    """Make one call of the crowd's that must fail; return what it says, and its trailing metadata."""
    call = getattr(ready.stubs.translation, method)
    metadata = (("x-client-id", "crowd"), ("x-request-id", "mine"))
    with pytest.raises(grpc.RpcError) as caught:
        read(call(TranslateTextRequest(text=TEXT) if request is None else request, timeout=60, metadata=metadata))
    return read_refusal(caught.value), dict(caught.value.trailing_metadata())


def counted(ready: Serving, method: str) -> dict[str, float]:
    """Return how the calls of a method ended, and how many are under way, as the metrics have it."""
    families = text_string_to_metric_families(ready.server.metrics.exposition()[0].decode())
    samples = [one for family in families for one in family.samples if one.labels.get("method") == method]
    names = {"beamstep_calls_in_flight": "running", "beamstep_call_seconds_count": "timed"}
    ended = {one.labels["code"]: one.value for one in samples if one.name == "beamstep_calls_total"}
    return ended | {names[one.name]: one.value for one in samples if one.name in names}


def test_a_call_for_a_full_queue_reaches_no_servicer_and_is_told_and_counted_as_any_other(full, monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr(Backend, "models", lambda *_: seen.append("asked"))
    for method, request in (
        ("TranslateText", TranslateTextRequest(text=TEXT)),
        ("StreamTranslateText", StreamTranslateTextRequest(text=TEXT)),
        ("ScoreTarget", TranslationServiceScoreTargetRequest(text=TEXT, target="ein")),
    ):
        told, trailing = refused_of(full, method, request)
        assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert told.message == "the queue is full: 2 requests are waiting; retry later"
        assert told.retry_s is not None
        assert trailing["x-request-id"] == "mine"
        assert trailing["server-timing"].startswith("total;dur=")
        running = 3.0 if method == "TranslateText" else 0.0
        assert counted(full, f"beamstep.v1.TranslationService/{method}") == {
            "RESOURCE_EXHAUSTED": 1,
            "running": running,
            "timed": 1,
        }
    assert not seen
    assert full.engine.counters.refused == 3
    full.go()
    assert all(call.result().hypotheses[0].text == TEXT for call in full.inside)


def test_beside_a_full_queue_all_else_goes_on(full):
    """Other models, other versions, other clients, higher classes, health and lists: none is refused."""
    stubs = full.stubs
    others = [
        stubs.translation.TranslateText.future(TranslateTextRequest(text=TEXT, model_version="1"), timeout=60),
        stubs.pointing.FindConvexHull.future(FindConvexHullRequest(points=SQUARE), timeout=60),
        stubs.captioning.CaptionImage.future(CaptionImageRequest(image=picture()), timeout=60),
    ]
    until(lambda: full.engine.load("translation/1").waiting_requests == 1)
    assert stubs.models.ListModels(ListModelsRequest(), timeout=60).models
    health = health_pb2_grpc.HealthStub(stubs.channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    urgent = full.ask("urgent", "crowd", priority=decoding_pb2.PRIORITY_HIGH)
    assert full.inside[2].code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "the crowd's own newest of a lower class"
    light = full.ask("light", "somebody else")
    assert full.inside[1].code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "the newest of who has most"
    full.go()
    assert all(call.result().hypotheses for call in (*others, urgent, light, full.inside[0]))


def test_beside_a_full_queue_a_stream_of_another_model_comes_whole(full):
    request = StreamTranslateTextRequest(text=TEXT, model_version="1")
    stream = full.stubs.translation.StreamTranslateText(request, timeout=60)
    until(lambda: full.engine.load("translation/1").waiting_requests == 1)
    full.go()
    assert "".join(message.committed_text for message in stream) == TEXT


def test_beside_a_full_queue_a_bad_request_is_told_what_is_wrong_with_it(full):
    told, _ = refused_of(full, request=TranslateTextRequest(text=TEXT, model="nobody"))
    assert told.code is grpc.StatusCode.NOT_FOUND
    told, _ = refused_of(full, request=TranslateTextRequest(text=TEXT, options=DecodingOptions(priority=9)))
    assert (told.code, told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["options.priority"])
    broken = full.stubs.channel.unary_unary("/beamstep.v1.TranslationService/TranslateText")
    with pytest.raises(grpc.RpcError) as caught:
        broken(b"\x0a\xff", timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_model_has_limits_of_its_own(models):
    load = LoadConfig(model_limits=parse_limits(["tour:max_rows=8,queue=1,max_concurrent=1"]))
    with serving(models, load, batch_rows=16) as ready:
        tour = FindTourRequest(points=SQUARE)
        ready.models["tour/1"].turn.clear()
        calls = [ready.stubs.pointing.FindTour.future(tour, timeout=60)]
        until(lambda: ready.engine.load("tour/1").running_requests == 1)
        calls.append(ready.stubs.pointing.FindTour.future(tour, timeout=60))
        until(lambda: ready.engine.load("tour/1").waiting_requests == 1)
        refused = refusal(ready.stubs.pointing.FindTour, tour)
        assert refused.message == "the queue is full: 1 requests are waiting; retry later"
        hulls = [
            ready.stubs.pointing.FindConvexHull.future(FindConvexHullRequest(points=SQUARE), timeout=60)
            for _ in range(4)
        ]
        until(lambda: ready.engine.load("convex_hull/1").waiting_requests == 4)
        ready.models["tour/1"].turn.set()
        assert all(call.result().hypotheses[0].valid for call in (*calls, *hulls))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nobody:queue=1", "limits: nobody; allowed: some of captioning, convex_hull, delaunay, tour, translation"),
        ("tour:max_rows=7", "max_rows: 7; allowed: from 8, the beam size that tour/1 allows"),
    ],
)
def test_limits_that_no_model_can_have_stop_the_start(models, given, message):
    with pytest.raises(BadConfiguration) as caught:
        Server(ServerConfig(models, load=LoadConfig(model_limits=parse_limits([given]))), open_planned)
    assert str(caught.value) == message


# ---- what need not be done twice


def without_timings(answer: Message) -> Message:
    bare = type(answer)()
    bare.CopyFrom(answer)
    bare.ClearField("timings")
    return bare


def every_call(stubs: Stubs) -> list[tuple[Callable, Message]]:
    beam = DecodingOptions(beam_size=3, hypothesis_count=2, include_attention=True, length_penalty=0.5)
    drawn = DecodingOptions(sampling=Sampling(seed=5), hypothesis_count=2)
    translation, captioning, pointing = stubs.translation, stubs.captioning, stubs.pointing
    return [
        (translation.TranslateText, TranslateTextRequest(text=TEXT, options=beam)),
        (translation.TranslateText, TranslateTextRequest(text=TEXT, options=drawn)),
        (translation.ScoreTarget, TranslationServiceScoreTargetRequest(text=TEXT, target="ein mann")),
        (captioning.CaptionImage, CaptionImageRequest(image=picture(), options=beam)),
        (captioning.ScoreTarget, CaptioningServiceScoreTargetRequest(image=picture(), target="ein hund")),
        (pointing.FindTour, FindTourRequest(points=SQUARE, options=beam)),
        (pointing.FindTour, FindTourRequest(points=SQUARE, symmetries=4)),
        (pointing.FindConvexHull, FindConvexHullRequest(points=SQUARE)),
        (pointing.FindDelaunayTriangulation, FindDelaunayTriangulationRequest(points=SQUARE[:3])),
    ]


def test_answers_from_the_cache_are_those_of_a_server_without_one_and_say_so(models, cached):
    with serving(models, LoadConfig()) as plain:
        expected = [call(request, timeout=60) for call, request in every_call(plain.stubs)]
    assert {answer.timings.cache_hit for answer in expected} == {decoding_pb2.CACHE_HIT_NONE}
    for (call, request), wanted in zip(every_call(cached.stubs), expected, strict=True):
        first, steps = call(request, timeout=60), sum(model.steps for model in cached.models.values())
        again = call(request, timeout=60)
        assert without_timings(first) == without_timings(again) == without_timings(wanted)
        assert again.timings.cache_hit == decoding_pb2.CACHE_HIT_ANSWER
        assert again.timings.step_count == 0
        assert sum(model.steps for model in cached.models.values()) == steps
    stats = cached.server.answer_cache.snapshot()
    assert stats.hits == stats.misses == 8 + 4


def test_another_search_of_the_same_source_finds_its_memory_alone(cached):
    call = cached.stubs.translation.TranslateText
    first = call(TranslateTextRequest(text=TEXT), timeout=60)
    wider = call(TranslateTextRequest(text=TEXT, options=DecodingOptions(beam_size=4)), timeout=60)
    other = call(TranslateTextRequest(text="ein mann"), timeout=60)
    hits = [answer.timings.cache_hit for answer in (first, wider, other)]
    assert hits == [decoding_pb2.CACHE_HIT_NONE, decoding_pb2.CACHE_HIT_MEMORY, decoding_pb2.CACHE_HIT_NONE]
    assert wider.timings.encode_time.ToNanoseconds() == 0
    assert wider.hypotheses[0].text == TEXT


def test_priority_and_what_to_do_at_a_deadline_change_no_answer_and_other_options_do(cached):
    call = cached.stubs.translation.TranslateText
    call(TranslateTextRequest(text=TEXT), timeout=60)

    def hit(**options) -> int:
        return call(TranslateTextRequest(text=TEXT, options=DecodingOptions(**options)), timeout=60).timings.cache_hit

    found = decoding_pb2.CACHE_HIT_ANSWER
    assert hit(priority=decoding_pb2.PRIORITY_HIGH) == found
    assert hit(on_deadline=decoding_pb2.ON_DEADLINE_RETURN_BEST) == found
    others = [
        {"min_length": 1},
        {"suppressed_tokens": [9]},
        {"suppressed_phrases": ["mann"]},
        {"no_repeat_ngram_size": 2},
        {"target_prefix": "ein"},
        {"include_attention": True},
    ]
    for options in others:
        assert hit(**options) != found, options
        assert hit(**options) == found, options
    elsewhere = call(TranslateTextRequest(text=TEXT, model="translation", model_version="1"), timeout=60)
    assert elsewhere.timings.cache_hit == decoding_pb2.CACHE_HIT_NONE


def test_samples_without_a_seed_are_drawn_anew(cached):
    request = TranslateTextRequest(text=TEXT, options=DecodingOptions(sampling=Sampling(temperature=5)))
    answers = [cached.stubs.translation.TranslateText(request, timeout=60) for _ in range(3)]
    assert all(answer.timings.cache_hit != decoding_pb2.CACHE_HIT_ANSWER for answer in answers)
    assert len({answer.hypotheses[0].decoding.seed for answer in answers}) == 3
    assert cached.server.answer_cache.snapshot().entries == 0


def test_an_answer_that_a_deadline_cut_is_searched_for_again(cached):
    cached.models[KEY].step_s = 0.05
    options = DecodingOptions(on_deadline=decoding_pb2.ON_DEADLINE_RETURN_BEST, min_length=25, max_length=30)
    request = TranslateTextRequest(text=TEXT, options=options)
    cut = cached.stubs.translation.TranslateText(request, timeout=0.6)
    assert cut.deadline_reached
    cached.models[KEY].step_s = 0.0
    whole = cached.stubs.translation.TranslateText(request, timeout=60)
    assert not whole.deadline_reached
    assert whole.timings.cache_hit != decoding_pb2.CACHE_HIT_ANSWER


def test_a_stream_of_a_known_answer_is_that_answer(cached):
    request = StreamTranslateTextRequest(text=TEXT)
    first = read(cached.stubs.translation.StreamTranslateText(request, timeout=60))
    again = read(cached.stubs.translation.StreamTranslateText(request, timeout=60))
    for stream in (first, again):
        assert "".join(message.committed_text for message in stream) == TEXT
    assert without_timings(again[-1].answer) == without_timings(first[-1].answer)
    assert again[-1].answer.timings.cache_hit == decoding_pb2.CACHE_HIT_ANSWER


def test_a_known_answer_comes_although_the_queue_is_full(models):
    with serving(models, CACHES, batch_sources=1, waiting_requests=1) as ready:
        known = TranslateTextRequest(text="ein mann")
        answer = ready.stubs.translation.TranslateText(known, timeout=60)
        calls = [ready.hold(), ready.ask("waits", beam_size=3)]
        ready.waiting(1)
        again = ready.stubs.translation.TranslateText(known, timeout=60)
        assert without_timings(again) == without_timings(answer)
        refused = refusal(ready.stubs.translation.TranslateText, TranslateTextRequest(text="zwei kinder"))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        ready.go()
        assert all(call.result().hypotheses for call in calls)
