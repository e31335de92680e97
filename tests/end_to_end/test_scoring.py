"""A given answer is scored as the search scores its own; what is no answer, or no matter of scoring, is refused."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from beamstep.v1 import decoding_pb2, model_pb2
from beamstep.v1.captioning_pb2 import CaptionImageRequest, CaptioningServiceScoreTargetRequest
from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling
from beamstep.v1.pointing_pb2 import (
    FindConvexHullRequest,
    FindDelaunayTriangulationRequest,
    FindTourRequest,
    PointingServiceScoreTargetRequest,
)
from beamstep.v1.translation_pb2 import TranslateTextRequest, TranslationServiceScoreTargetRequest
from tests.fakes.stubs import picture, points, refusal

FIRST_POSITION = 3
SENTENCES = [
    "A dog runs through the grass.",
    "Two young men are talking in front of a red car.",
    "Why did you not tell me that?",
    "A woman with a large hat is selling fruit on the street.",
]
CLOUD = points([(0, 0), (2, 0.1), (2.2, 2), (-0.1, 2.1), (1, 1.2), (0.4, 1.7)])
SQUARE = points([(0, 0), (2, 0), (2, 2), (0, 2)])
NORMALISED = DecodingOptions(
    length_penalty=0.9, length_normalization=decoding_pb2.LENGTH_NORMALIZATION_PLAIN, coverage_penalty=0.3
)


def same(score, found) -> bool:
    """Whether a score says of an answer what the search said of it."""
    assert [token.id for token in score.tokens] == [token.id for token in found.tokens]
    assert score.log_prob == pytest.approx(found.log_prob, abs=1e-4)
    assert score.score == pytest.approx(found.score, abs=1e-4)
    assert score.finish_reason == decoding_pb2.FINISH_REASON_END_OF_SEQUENCE
    return True


def score_text(stubs, text: str, target: str, **options):
    request = TranslationServiceScoreTargetRequest(text=text, target=target, options=DecodingOptions(**options))
    return stubs.translation.ScoreTarget(request, timeout=30)


def test_a_translations_score_is_what_its_search_said(shipped):
    """But where the search wrote a word in other pieces than a tokenizer would cut it: the model was trained on both."""
    compared = 0
    for text in SENTENCES:
        request = TranslateTextRequest(text=text, options=NORMALISED)
        best = shipped.translation.TranslateText(request, timeout=30).hypotheses[0]
        scored = TranslationServiceScoreTargetRequest(text=text, target=best.text, options=NORMALISED)
        decoding = shipped.translation.ScoreTarget(scored, timeout=30).decoding
        if [token.id for token in decoding.tokens] == [token.id for token in best.decoding.tokens]:
            compared += same(decoding, best.decoding)
        else:
            assert spelt(decoding) == spelt(best.decoding) == best.text
    assert compared >= len(SENTENCES) / 2


def spelt(decoding) -> str:
    return "".join(token.piece for token in decoding.tokens[:-1]).replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_captions_score_is_what_its_search_said(shipped, kind):
    image = picture("green", kind)
    best = shipped.captioning.CaptionImage(CaptionImageRequest(image=image), timeout=30).hypotheses[0]
    scored = CaptioningServiceScoreTargetRequest(image=image, target=best.caption)
    assert same(shipped.captioning.ScoreTarget(scored, timeout=30).decoding, best.decoding)


@pytest.mark.parametrize(
    ("name", "request_type", "task"),
    [
        ("FindConvexHull", FindConvexHullRequest, model_pb2.TASK_CONVEX_HULL),
        ("FindDelaunayTriangulation", FindDelaunayTriangulationRequest, model_pb2.TASK_DELAUNAY),
        ("FindTour", FindTourRequest, model_pb2.TASK_TOUR),
    ],
)
def test_the_score_of_what_was_pointed_at_is_what_its_search_said(shipped, name, request_type, task):
    call = getattr(shipped.pointing, name)
    best = call(request_type(points=CLOUD, options=NORMALISED), timeout=30).hypotheses[0]
    indices = [token.id - FIRST_POSITION for token in best.decoding.tokens[:-1]]
    scored = PointingServiceScoreTargetRequest(points=CLOUD, task=task, point_indices=indices, options=NORMALISED)
    assert same(shipped.pointing.ScoreTarget(scored, timeout=30).decoding, best.decoding)


def test_triangles_put_into_the_order_that_models_know_score_as_the_answer_did(shipped):
    request = FindDelaunayTriangulationRequest(points=CLOUD)
    best = shipped.pointing.FindDelaunayTriangulation(request, timeout=30).hypotheses[0]
    rank = {index: (CLOUD[index].x, CLOUD[index].y) for index in range(len(CLOUD))}
    triangles = [sorted((found.a, found.b, found.c), key=rank.get) for found in best.triangles]
    triangles.sort(key=lambda corners: [rank[corner] for corner in corners])
    scored = PointingServiceScoreTargetRequest(
        points=CLOUD, task=model_pb2.TASK_DELAUNAY, point_indices=[corner for three in triangles for corner in three]
    )
    assert same(shipped.pointing.ScoreTarget(scored, timeout=30).decoding, best.decoding)


def test_a_better_translation_scores_better(shipped):
    texts = ["Ein Hund läuft durch das Gras.", "Ein Hund läuft durch das Haus.", "Haus das Hund durch."]
    scores = [score_text(shipped, SENTENCES[0], text).decoding.score for text in texts]
    assert scores == sorted(scores, reverse=True)


def test_an_empty_target_is_the_end_of_the_sequence_alone(shipped):
    for target in ("", "   "):
        [end] = score_text(shipped, SENTENCES[0], target).decoding.tokens
        assert end.piece == "</s>"


def test_a_score_has_attention_where_asked_for(shipped):
    scored = score_text(shipped, SENTENCES[0], "Ein Hund.", include_attention=True)
    assert list(scored.source_pieces)[-1] == "</s>"
    for token in scored.decoding.tokens:
        assert len(token.attention) == len(scored.source_pieces)
        assert sum(token.attention) == pytest.approx(1, abs=1e-4)
    assert not score_text(shipped, SENTENCES[0], "Ein Hund.").source_pieces
    image = CaptioningServiceScoreTargetRequest(
        image=picture(), target="a dog", options=DecodingOptions(include_attention=True)
    )
    grid = shipped.captioning.ScoreTarget(image, timeout=30).attention_grid
    assert grid.row_count * grid.column_count == 49


def test_scores_amid_many_other_calls_are_the_same(shipped):
    alone = [score_text(shipped, text, "Ein Hund läuft.").decoding.log_prob for text in SENTENCES]
    translate = shipped.translation.TranslateText
    with ThreadPoolExecutor(12) as threads:
        others = [
            threads.submit(translate, TranslateTextRequest(text=text, options=DecodingOptions(beam_size=size)))
            for size, text in enumerate(SENTENCES * 3, start=1)
        ]
        amid = list(threads.map(lambda text: score_text(shipped, text, "Ein Hund läuft.").decoding.log_prob, SENTENCES))
        assert all(other.result(30).hypotheses for other in others)
    assert amid == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ein hund 🐕", "target: '🐕', which the model's vocabulary lacks; allowed: text that it can write"),
        ("hund " * 20_000, "target: 100,000 characters; allowed: up to 10,000 characters"),
        ("ein " * 31, "target: 31 subword pieces; allowed: up to 30, the model's limit on max_length"),
    ],
)
def test_a_target_that_the_model_cannot_write_is_refused(stubs, target, message):
    refused = refusal(
        stubs.translation.ScoreTarget, TranslationServiceScoreTargetRequest(text="ein hund", target=target)
    )
    assert (refused.code, refused.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)
    assert refused.fields == ["target"]


@pytest.mark.parametrize(
    ("task", "indices", "message"),
    [
        (0, [0], "task: TASK_UNSPECIFIED; allowed: TASK_CONVEX_HULL, TASK_DELAUNAY, TASK_TOUR"),
        (1, [0], "task: TASK_TRANSLATION; allowed: TASK_CONVEX_HULL, TASK_DELAUNAY, TASK_TOUR"),
        (-9, [0], "task: -9; allowed: TASK_CONVEX_HULL, TASK_DELAUNAY, TASK_TOUR"),
        (
            model_pb2.TASK_TOUR,
            [0] * 31,
            "point_indices: 31 points; allowed: up to 30, the model's limit on max_length",
        ),
        (model_pb2.TASK_TOUR, [0, -1], "point_indices[1]: -1; allowed: from 0 to 3, the indices of the points"),
        (model_pb2.TASK_TOUR, [4], "point_indices[0]: 4; allowed: from 0 to 3, the indices of the points"),
        (model_pb2.TASK_TOUR, [], "point_indices: 0 points; allowed: every point once"),
        (model_pb2.TASK_TOUR, [0, 1, 2], "point_indices: 3 points; allowed: every point once"),
        (model_pb2.TASK_TOUR, [0, 1, 1], "point_indices[2]: 1; allowed: every point once"),
        (
            model_pb2.TASK_CONVEX_HULL,
            [0, 1],
            "point_indices: 2 points; allowed: at least three points, none twice, of equal points the first",
        ),
        (
            model_pb2.TASK_DELAUNAY,
            [0, 1, 2, 2],
            "point_indices: 4 points; allowed: whole triangles of three different points each, none twice",
        ),
        (
            model_pb2.TASK_DELAUNAY,
            [0, 1, 2, 2, 1, 0],
            "point_indices[5]: 0; allowed: whole triangles of three different points each, none twice",
        ),
    ],
)
def test_indices_that_are_no_answer_of_the_task_are_refused(stubs, task, indices, message):
    refused = refusal(
        stubs.pointing.ScoreTarget, PointingServiceScoreTargetRequest(points=SQUARE, task=task, point_indices=indices)
    )
    assert (refused.code, refused.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"hypothesis_count": 1},
        {"min_length": 0},
        {"max_length": 9},
        {"patience": 1.0},
        {"repetition_penalty": 1.0},
        {"no_repeat_ngram_size": 0},
        {"suppressed_tokens": [5]},
        {"suppressed_phrases": ["x"]},
        {"required_phrases": ["x"]},
        {"target_prefix": "x"},
        {"target_prefix_tokens": [5]},
        {"alternatives": True},
        {"sampling": Sampling()},
        {"on_deadline": decoding_pb2.ON_DEADLINE_RETURN_BEST},
        {"on_deadline": decoding_pb2.ON_DEADLINE_FAIL},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_say_how_to_search_are_refused_by_every_service(stubs, options):
    asked = DecodingOptions(**options)
    calls = [
        (stubs.translation, TranslationServiceScoreTargetRequest(text="ein hund", target="ein", options=asked)),
        (stubs.captioning, CaptioningServiceScoreTargetRequest(image=picture(), target="ein", options=asked)),
        (
            stubs.pointing,
            PointingServiceScoreTargetRequest(
                points=SQUARE, task=model_pb2.TASK_TOUR, point_indices=[0, 1, 2, 3], options=asked
            ),
        ),
    ]
    for service, request in calls:
        refused = refusal(service.ScoreTarget, request)
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.message == f"options.{next(iter(options))}: given; allowed: unset where a target is scored"
