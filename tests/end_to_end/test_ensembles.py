"""Models that decode as one: what their weights mean, who can be a member, and what is refused."""

import json
import math
import time
from collections.abc import Iterator

import grpc
import pytest

from beamstep.v1.captioning_pb2 import CaptionImageRequest, CaptioningServiceScoreTargetRequest
from beamstep.v1.decoding_pb2 import DecodingOptions, EnsembleMember
from beamstep.v1.model_pb2 import GetModelRequest
from beamstep.v1.pointing_pb2 import FindConvexHullRequest, FindDelaunayTriangulationRequest, FindTourRequest
from beamstep.v1.translation_pb2 import (
    StreamTranslateTextRequest,
    TranslateTextRequest,
    TranslationServiceScoreTargetRequest,
)
from serving.config import ServerConfig
from serving.engine import MOST_MADE, Load
from serving.session import SessionConfig
from tests.fakes.bundles import SENTENCES, write_bundle
from tests.fakes.planned import FAVOURED, PlannedModel, open_planned
from tests.fakes.stubs import Stubs, picture, points, refusal
from tests.fakes.threads import ServerThread

TEXT = "ein hund"
IDLE = Load(0, 0, 0)
SQUARE = points([(0, 0), (2, 0), (2, 2), (0, 2)])
DOG = "A dog runs through the grass."


@pytest.fixture(scope="module")
def server(tmp_path_factory, opened) -> Iterator[ServerThread]:
    """Two models that disagree, one that echoes and one that says it backwards; one of another vocabulary; all the others."""
    models = tmp_path_factory.mktemp("models")
    bundles = [write_bundle(models, "translation", name) for name in ("echo", "backwards")]
    write_bundle(models, "translation", "foreign", sentences=[sentence.upper() for sentence in SENTENCES])
    write_bundle(models, "tour")
    write_bundle(models, "convex_hull")

    def open_model(bundle, session) -> PlannedModel:
        opened[bundle.key] = open_planned(bundle, session)
        if bundle.manifest.name == "backwards":
            size = bundles[0].manifest.vocabulary.size
            opened[bundle.key] = PlannedModel(lambda inputs: inputs["source_tokens"].tolist()[-2::-1], size)
        return opened[bundle.key]

    config = ServerConfig(models, host="127.0.0.1", port=0, session=SessionConfig(step_threads=1))
    with ServerThread(config, open_model) as thread:
        yield thread


@pytest.fixture(scope="module")
def stubs(server) -> Iterator[Stubs]:
    with grpc.insecure_channel(server.address) as channel:
        yield Stubs(channel)


def translate(model: str = "echo", **options) -> TranslateTextRequest:
    return TranslateTextRequest(text=TEXT, model=model, options=DecodingOptions(**options))


def member(model: str, weight: float | None = None) -> EnsembleMember:
    return EnsembleMember(model=model, weight=weight)


def answer(stubs: Stubs, request: TranslateTextRequest):
    return stubs.translation.TranslateText(request, timeout=30).hypotheses[0]


@pytest.mark.parametrize("options", [{}, {"beam_size": 8, "hypothesis_count": 8}, {"include_attention": True}])
def test_a_model_with_itself_is_itself(stubs, options):
    alone = stubs.translation.TranslateText(translate(**options), timeout=30)
    twice = stubs.translation.TranslateText(translate(ensemble=[member("echo", 3)], **options), timeout=30)
    assert [found.text for found in twice.hypotheses] == [found.text for found in alone.hypotheses]
    for one, other in zip(alone.hypotheses, twice.hypotheses, strict=True):
        assert other.decoding.log_prob == pytest.approx(one.decoding.log_prob, abs=1e-5)
        assert [token.attention for token in other.decoding.tokens] == [
            token.attention for token in one.decoding.tokens
        ]
    assert twice.source_pieces == alone.source_pieces
    assert twice.model.name == "echo"


def test_the_heavier_of_two_that_disagree_decides_and_a_log_prob_is_their_weighted_mean(stubs):
    forwards = answer(stubs, translate(ensemble=[member("backwards")], ensemble_weight=2))
    backwards = answer(stubs, translate(ensemble=[member("backwards", 2)]))
    tokens = [[token.id for token in found.decoding.tokens[:-1]] for found in (forwards, backwards)]
    assert forwards.text == TEXT
    assert tokens[1] == tokens[0][::-1]
    manifest = stubs.models.GetModel(GetModelRequest(name="echo"), timeout=30).manifest_json
    others = json.loads(manifest)["vocabulary"]["size"] - 3  # planned for nothing, nor pad or bos
    mean = (2 * math.log(FAVOURED) + math.log((1 - FAVOURED) / others)) / 3
    assert forwards.decoding.tokens[0].log_prob == pytest.approx(mean, abs=1e-5)
    assert forwards.decoding.tokens[-1].log_prob == pytest.approx(math.log(FAVOURED), abs=1e-5), "both end here"


def test_only_the_proportions_of_weights_matter(stubs):
    light = answer(stubs, translate(ensemble=[member("backwards", 0.001)], ensemble_weight=0.002))
    heavy = answer(stubs, translate(ensemble=[member("backwards", 500)], ensemble_weight=1000))
    assert light.text == heavy.text == TEXT
    assert light.decoding.log_prob == pytest.approx(heavy.decoding.log_prob, abs=1e-6)


@pytest.mark.parametrize("weight", [0.001, 1000.0])
def test_weights_as_far_apart_as_they_may_be_are_no_fault(stubs, weight):
    options = DecodingOptions(
        beam_size=8, hypothesis_count=8, ensemble=[member("tour", weight)], ensemble_weight=1 / weight
    )
    found = stubs.pointing.FindTour(FindTourRequest(points=SQUARE, options=options), timeout=30).hypotheses
    assert all(hypothesis.valid for hypothesis in found), "a beam as wide as the vocabulary sees every log-prob"


@pytest.mark.parametrize(
    ("options", "field", "description"),
    [
        ({"ensemble": [member("echo", 0)]}, "options.ensemble[0].weight", "0; allowed: from 0.001 to 1000"),
        ({"ensemble": [member("echo", 1e-50)]}, "options.ensemble[0].weight", "1e-50; allowed: from 0.001 to 1000"),
        (
            {"ensemble": [member("echo"), member("echo", -1)]},
            "options.ensemble[1].weight",
            "-1; allowed: from 0.001 to 1000",
        ),
        (
            {"ensemble": [member("echo")], "ensemble_weight": 1001},
            "options.ensemble_weight",
            "1001; allowed: from 0.001 to 1000",
        ),
        ({"ensemble_weight": math.nan}, "options.ensemble_weight", "nan; allowed: from 0.001 to 1000"),
        ({"ensemble_weight": math.inf}, "options.ensemble_weight", "inf; allowed: from 0.001 to 1000"),
        ({"ensemble": [member("echo")] * 8}, "options.ensemble", "8 members; allowed: up to 7"),
        ({"ensemble": [member("")]}, "options.ensemble[0].model", "empty; allowed: a name that ListModels gives"),
        (
            {"ensemble": [member("echo"), member("foreign")]},
            "options.ensemble[1].model",
            "foreign/1, whose target vocabulary is another; allowed: models with the target vocabulary of echo/1",
        ),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused_with_its_field(stubs, options, field, description):
    refused = refusal(stubs.translation.TranslateText, translate(**options))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.message == f"{field}: {description}"
    assert refused.fields == [field]


@pytest.mark.parametrize("name", ["tour", "latin"])
def test_a_member_that_is_not_loaded_or_of_another_task_is_not_found_and_named(stubs, name):
    refused = refusal(stubs.translation.TranslateText, translate(ensemble=[member("echo"), member(name)]))
    assert refused.code is grpc.StatusCode.NOT_FOUND
    loaded = "backwards/1, echo/1, foreign/1"
    assert refused.message == f"options.ensemble[1].model: no translation model {name!r} is loaded; loaded: {loaded}"


def test_a_stream_and_a_score_of_an_ensemble_agree_with_its_answer(stubs):
    options = DecodingOptions(ensemble=[member("backwards")], ensemble_weight=2)
    whole = answer(stubs, translate(ensemble=[member("backwards")], ensemble_weight=2))
    request = StreamTranslateTextRequest(text=TEXT, model="echo", options=options)
    parts = list(stubs.translation.StreamTranslateText(request, timeout=30))
    assert "".join(part.committed_text for part in parts) == whole.text
    assert parts[-1].answer.hypotheses[0].decoding == whole.decoding
    scored = TranslationServiceScoreTargetRequest(text=TEXT, target=whole.text, model="echo", options=options)
    assert stubs.translation.ScoreTarget(scored, timeout=30).decoding == whole.decoding


def test_more_ensembles_than_are_kept_are_answered(stubs):
    texts = {answer(stubs, translate(ensemble=[member("backwards", 2 + number)])).text for number in range(20)}
    assert texts == {answer(stubs, translate("backwards")).text}


def test_more_ensembles_than_can_be_at_work_are_refused_until_one_is_done(server, stubs, opened):
    opened["echo/1"].turn.clear()
    calls = [
        stubs.translation.TranslateText.future(translate(ensemble=[member("echo", 1 + number)]), timeout=30)
        for number in range(MOST_MADE)
    ]
    late = translate(ensemble=[member("echo", 100)])
    end = time.monotonic() + 10
    while sum(" + " in key and load != IDLE for key, load in server.server.engine.loads().items()) < MOST_MADE:
        assert time.monotonic() < end
        time.sleep(0.01)
    refused = refusal(stubs.translation.TranslateText, late)
    assert refused.message == f"{MOST_MADE} other ensembles are at work; retry later"
    assert refused.retry_s > 0
    opened["echo/1"].turn.set()
    assert {call.result().hypotheses[0].text for call in calls} == {TEXT}
    assert answer(stubs, late).text == TEXT


def test_a_shipped_bundle_with_itself_is_itself(shipped):
    twice = {"ensemble": [member("translation-en-de", 0.5)], "beam_size": 4, "hypothesis_count": 3}
    alone = shipped.translation.TranslateText(
        TranslateTextRequest(text=DOG, options=DecodingOptions(beam_size=4, hypothesis_count=3)), timeout=30
    )
    joint = shipped.translation.TranslateText(
        TranslateTextRequest(text=DOG, options=DecodingOptions(**twice)), timeout=30
    )
    assert [found.text for found in joint.hypotheses] == [found.text for found in alone.hypotheses]
    for one, other in zip(alone.hypotheses, joint.hypotheses, strict=True):
        assert other.decoding.score == pytest.approx(one.decoding.score, abs=1e-4)


def test_shipped_bundles_of_every_other_task_can_be_members(shipped):
    def asking(name: str) -> DecodingOptions:
        return DecodingOptions(ensemble=[member(name)])

    image = picture("navy")
    calls = [
        (shipped.captioning.CaptionImage, CaptionImageRequest, {"image": image}, "captioning-en"),
        (shipped.pointing.FindConvexHull, FindConvexHullRequest, {"points": SQUARE}, "hull"),
        (shipped.pointing.FindDelaunayTriangulation, FindDelaunayTriangulationRequest, {"points": SQUARE}, "delaunay"),
        (shipped.pointing.FindTour, FindTourRequest, {"points": SQUARE}, "tour"),
    ]
    for call, request, payload, name in calls:
        alone = call(request(**payload), timeout=30).hypotheses[0].decoding
        joint = call(request(**payload, options=asking(name)), timeout=30).hypotheses[0].decoding
        assert [token.id for token in joint.tokens] == [token.id for token in alone.tokens], name
        assert joint.log_prob == pytest.approx(alone.log_prob, abs=1e-4), name
    caption = shipped.captioning.CaptionImage(CaptionImageRequest(image=image), timeout=30).hypotheses[0]
    scored = CaptioningServiceScoreTargetRequest(image=image, target=caption.caption, options=asking("captioning-en"))
    score = shipped.captioning.ScoreTarget(scored, timeout=30).decoding
    assert score.log_prob == pytest.approx(caption.decoding.log_prob, abs=1e-4)
