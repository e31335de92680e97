"""A stream says what is certain while the search goes, never takes it back, and ends as the unary call does."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import grpc
import pytest

from beamstep.v1 import decoding_pb2
from beamstep.v1.captioning_pb2 import CaptionImageRequest, StreamCaptionImageRequest
from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling
from beamstep.v1.translation_pb2 import StreamTranslateTextRequest, TranslateTextRequest
from serving.config import ServerConfig
from serving.engine import Engine
from serving.servicers.status import MODEL_FAULT_MESSAGE
from serving.session import SessionConfig
from tests.fakes.planned import PlannedModel, open_planned
from tests.fakes.stubs import Stubs, picture, read_refusal, refusal
from tests.fakes.threads import ServerThread

KEY = "translation/2"
LONG = " ".join(["ein hund"] * 4)
TEXTS = [
    "A man in a blue shirt is standing on a ladder cleaning a window.",
    "I do not know what Tom said to Mary yesterday, but it made her laugh!",
    'A group of people are at a party; "the music" was (very) loud.',
    "Why? 1234 x y z",
]
SEARCHES = {
    "default": {},
    "greedy": {"beam_size": 1},
    "wide": {"beam_size": 16, "hypothesis_count": 16, "include_attention": True},
    "prefix": {"target_prefix": "Zwei Män", "no_repeat_ngram_size": 2},
    "alternatives": {"alternatives": True, "beam_size": 12, "hypothesis_count": 4, "target_prefix": "Ein"},
    "required": {"required_phrases": ["Hund", "im Schnee"], "suppressed_phrases": ["und", "Tom"]},
    "samples": {"sampling": Sampling(seed=7, temperature=1.3), "hypothesis_count": 5},
    "penalties": {"repetition_penalty": 1.5, "coverage_penalty": 0.4, "patience": 1.0, "length_penalty": 0.2},
    "cut": {"max_length": 7},
}


def check_parts(parts: Sequence, text: Callable[[object], str]) -> None:
    """State what holds of every stream; `text` reads a hypothesis."""
    final = text(parts[-1].answer.hypotheses[0])
    said = list(accumulate(part.committed_text for part in parts))
    assert said[-1] == final
    for committed, part in zip(said[:-1], parts[:-1], strict=True):
        assert final.startswith(committed)
        assert not committed or not final[len(committed) :][:1].isalnum(), "whole words"
        assert not part.HasField("answer")
    assert [part.revision for part in parts] == list(range(1, len(parts) + 1))
    assert not parts[-1].tentative_text
    assert all(part.committed_text or part.tentative_text for part in parts[:-1]), "no message without news"


def stream(stubs: Stubs, text: str, timeout: float = 30, **options) -> list:
    request = StreamTranslateTextRequest(text=text, options=DecodingOptions(**options))
    return list(stubs.translation.StreamTranslateText(request, timeout=timeout))


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_committed_is_a_beginning_of_the_answer_that_the_unary_call_gives(shipped, search):
    for text in TEXTS:
        options = SEARCHES[search]
        parts = stream(shipped, text, **options)
        check_parts(parts, lambda found: found.text)
        request = TranslateTextRequest(text=text, options=DecodingOptions(**options))
        whole = shipped.translation.TranslateText(request, timeout=30)
        answer = parts[-1].answer
        assert [found.text for found in answer.hypotheses] == [found.text for found in whole.hypotheses]
        for streamed, unary in zip(answer.hypotheses, whole.hypotheses, strict=True):
            assert streamed.decoding.score == pytest.approx(unary.decoding.score, abs=1e-4)
            assert len(streamed.decoding.tokens[0].attention) == len(unary.decoding.tokens[0].attention)
        assert (answer.model, answer.source_pieces) == (whole.model, whole.source_pieces)


def test_a_caption_comes_in_parts_too(shipped):
    image = picture("olive", "JPEG")
    options = DecodingOptions(include_attention=True)
    request = StreamCaptionImageRequest(image=image, options=options)
    parts = list(shipped.captioning.StreamCaptionImage(request, timeout=30))
    assert len(parts) > 2
    check_parts(parts, lambda found: found.caption)
    whole = shipped.captioning.CaptionImage(CaptionImageRequest(image=image, options=options), timeout=30)
    assert parts[-1].answer.hypotheses[0].caption == whole.hypotheses[0].caption
    assert parts[-1].answer.attention_grid == whole.attention_grid


def test_greedy_search_commits_every_word_as_soon_as_the_next_begins(stubs, opened, monkeypatch):
    monkeypatch.setattr(opened["translation/2"], "step_s", 0.05)  # whoever reads slower than this misses parts
    parts = stream(stubs, "ein hund ein hund", beam_size=1)
    assert [part.committed_text for part in parts if part.committed_text] == ["ein", " hund", " ein", " hund"]


def test_many_streams_at_once_each_get_their_own_text(stubs):
    texts = [" ".join(["ein", "hund", "mann", "haus"][i % 4 : 1 + i % 4] * (1 + i % 3)) for i in range(24)]
    with ThreadPoolExecutor(24) as threads:
        for text, parts in zip(texts, threads.map(lambda text: stream(stubs, text), texts), strict=True):
            check_parts(parts, lambda found: found.text)
            assert parts[-1].answer.hypotheses[0].text == text


@pytest.mark.parametrize(
    ("call", "request_message", "field"),
    [
        ("translation", StreamTranslateTextRequest(text=" "), "text"),
        (
            "translation",
            StreamTranslateTextRequest(text="ein hund", options=DecodingOptions(patience=0)),
            "options.patience",
        ),
        ("captioning", StreamCaptionImageRequest(image=picture()[:60]), "image"),
        (
            "captioning",
            StreamCaptionImageRequest(image=picture(), options=DecodingOptions(beam_size=99)),
            "options.beam_size",
        ),
    ],
)
def test_bad_input_is_refused_before_the_first_message(stubs, call, request_message, field):
    method = {"translation": stubs.translation.StreamTranslateText, "captioning": stubs.captioning.StreamCaptionImage}
    refused = refusal(method[call], request_message)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == [field]


# ---- ends of other kinds, on a server of their own: the test says when its model takes a step


class Slow(NamedTuple):
    """A server whose model takes its time."""

    address: str
    stubs: Stubs
    model: PlannedModel
    engine: Engine


@pytest.fixture
def slow(models) -> Iterator[Slow]:
    opened: dict[str, PlannedModel] = {}

    def open_model(bundle, session) -> PlannedModel:
        opened[bundle.key] = open_planned(bundle, session)
        opened[bundle.key].step_s = 0.02
        return opened[bundle.key]

    session = SessionConfig(step_threads=1)
    config = ServerConfig(models, host="127.0.0.1", port=0, services=("translation",), session=session)
    with ServerThread(config, open_model) as thread, grpc.insecure_channel(thread.address) as channel:
        yield Slow(thread.address, Stubs(channel), opened[KEY], thread.server.engine)


def start(stubs: Stubs, timeout: float = 30, **options):
    """Begin a stream and wait for its first message."""
    request = StreamTranslateTextRequest(text=LONG, options=DecodingOptions(**options))
    call = stubs.translation.StreamTranslateText(request, timeout=timeout)
    assert next(call).tentative_text
    return call


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def failure(call) -> grpc.RpcError:
    """Read a stream to its end, which must be an error."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return caught.value


def test_a_fault_of_the_model_ends_a_stream_that_had_begun(slow, monkeypatch):
    _, stubs, model, _ = slow
    call = start(stubs)

    def fail(*arguments, **options):
        raise RuntimeError("secret path /srv/models")

    monkeypatch.setattr(model, "step", fail)
    refused = read_refusal(failure(call))
    assert refused.code is grpc.StatusCode.INTERNAL
    assert refused.message == MODEL_FAULT_MESSAGE
    monkeypatch.undo()
    assert stream(stubs, "ein hund")[-1].answer.hypotheses[0].text == "ein hund"


def test_a_deadline_ends_a_stream_that_had_begun_and_frees_its_rows(slow):
    _, stubs, model, engine = slow
    call = start(stubs, timeout=0.3, beam_size=8)
    model.turn.clear()
    assert failure(call).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    model.turn.set()
    until(lambda: engine.load(KEY).running_rows == 0)
    assert engine.counters.finished == 0
    assert engine.counters.cancelled + engine.counters.expired == 1


def test_a_deadline_can_end_a_stream_with_the_best_so_far(slow):
    _, stubs, model, engine = slow
    model.step_s = 0.04
    parts = stream(stubs, LONG, timeout=0.4, beam_size=1, on_deadline=decoding_pb2.ON_DEADLINE_RETURN_BEST)
    check_parts(parts, lambda found: found.text)
    answer = parts[-1].answer
    assert answer.deadline_reached
    assert answer.hypotheses[0].decoding.finish_reason == decoding_pb2.FINISH_REASON_DEADLINE
    assert LONG.startswith(answer.hypotheses[0].text)
    assert engine.counters.returned_early == 1


@pytest.mark.parametrize("beam_size", [1, 8])
def test_a_cancelled_stream_frees_its_rows(slow, beam_size):
    _, stubs, model, engine = slow
    call = start(stubs, beam_size=beam_size)
    model.turn.clear()
    assert engine.load(KEY).running_rows == beam_size
    call.cancel()
    assert failure(call).code() is grpc.StatusCode.CANCELLED
    time.sleep(0.1)  # for the cancellation to cross the wire
    model.turn.set()
    until(lambda: engine.load(KEY).running_rows == 0)
    assert (engine.counters.cancelled, engine.counters.finished) == (1, 0)
    assert engine.counters.evicted_rows >= 1
    assert stream(stubs, "ein hund")[-1].answer.hypotheses[0].text == "ein hund"


def test_streams_whose_connection_breaks_free_their_rows(slow):
    address, _, model, engine = slow
    model.step_s = 0.05
    for _ in range(3):
        with grpc.insecure_channel(address) as channel:
            start(Stubs(channel))
    until(lambda: engine.load(KEY).running_rows == 0)
    assert engine.counters.cancelled == 3


def test_a_reader_that_takes_its_time_holds_nobody_up_and_loses_nothing(slow):
    _, stubs, model, engine = slow
    model.step_s = 0.0
    call = start(stubs)
    until(lambda: engine.counters.finished == 1)
    assert engine.load(KEY).running_rows == 0
    others = [stream(stubs, "ein hund")[-1].answer.hypotheses[0].text for _ in range(3)]
    parts = []
    for part in call:
        parts.append(part)
        time.sleep(0.01)
    assert others == ["ein hund"] * 3
    assert parts[-1].answer.hypotheses[0].text == LONG
    assert LONG.endswith("".join(part.committed_text for part in parts))
