"""What each decoding option does to answers, over a real socket: on the shipped bundles, and on planned models."""

import json
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import grpc
import pytest

from beamstep.v1 import decoding_pb2
from beamstep.v1.captioning_pb2 import CaptionImageRequest
from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling
from beamstep.v1.model_pb2 import GetModelRequest
from beamstep.v1.pointing_pb2 import FindConvexHullRequest, FindDelaunayTriangulationRequest, FindTourRequest
from beamstep.v1.translation_pb2 import TranslateTextRequest
from tests.fakes.stubs import Stubs, picture, points, refusal

DOG = "A dog runs through the grass."
TEXTS = [
    DOG,
    "Two young men are talking in front of a red car.",
    "I do not know what Tom said to Mary yesterday.",
    "A woman with a large hat is selling fruit on the street.",
]
FIRST = 3
SQUARE = points([(0, 0), (2, 0), (2, 2), (0, 2)])
CLOUD = points([(0, 0), (2, 0.1), (2.2, 2), (-0.1, 2.1), (1, 1.2), (0.4, 1.7)])
ENDED = decoding_pb2.FINISH_REASON_END_OF_SEQUENCE


def translate(stubs: Stubs, text: str = DOG, **options) -> Sequence:
    request = TranslateTextRequest(text=text, options=DecodingOptions(**options))
    return stubs.translation.TranslateText(request, timeout=60).hypotheses


def texts_of(hypotheses: Sequence) -> list[str]:
    return [found.text for found in hypotheses]


def ids(found) -> list[int]:
    return [token.id for token in found.decoding.tokens]


def holds(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase as whole words."""
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None


# ---- words that must come, and words that must not


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "phrases", [["Hund"], ["im Schnee"], ["Katze", "Haus", "zwei Frauen"], ["und", "Straßenbahnhaltestelle"]]
)
def test_required_phrases_are_in_every_answer_as_whole_words(shipped, text, phrases):
    for options in ({}, {"beam_size": 1}, {"beam_size": 16, "hypothesis_count": 4}):
        for found in translate(shipped, text, required_phrases=phrases, **options):
            assert all(holds(found.text, phrase) for phrase in phrases), found.text
            assert found.decoding.finish_reason == ENDED


@pytest.mark.parametrize("text", TEXTS)
def test_suppressed_phrases_are_in_no_answer_as_whole_words(shipped, text):
    usual = translate(shipped, text)[0].text
    words = [word.strip(".,") for word in usual.split()]
    phrases = [words[0], words[2], f"{words[3]} {words[4]}", words[-1]]
    for options in ({}, {"beam_size": 16, "hypothesis_count": 16}, {"sampling": Sampling(seed=3, temperature=2)}):
        for found in translate(shipped, text, suppressed_phrases=phrases, **options):
            assert not any(holds(found.text, phrase) for phrase in phrases), found.text


def test_case_matters_to_phrases(shipped):
    [found] = translate(shipped, suppressed_phrases=["hund", "EIN"])
    assert found.text == translate(shipped)[0].text


def test_suppressed_tokens_are_in_no_hypothesis(shipped):
    usual = translate(shipped, beam_size=8, hypothesis_count=8)
    suppressed = {token for found in usual for token in ids(found)[:3]}
    for found in translate(shipped, beam_size=8, hypothesis_count=8, suppressed_tokens=sorted(suppressed)):
        assert not suppressed.intersection(ids(found))


def test_a_vocabulary_suppressed_whole_leaves_the_empty_answer_or_a_dead_end(stubs):
    manifest = stubs.models.GetModel(GetModelRequest(name="translation"), timeout=60).manifest_json
    every = list(range(FIRST, json.loads(manifest)["vocabulary"]["size"]))
    [empty] = translate(stubs, "ein hund", suppressed_tokens=every)
    assert (empty.text, empty.decoding.finish_reason) == ("", ENDED)
    [nothing] = translate(stubs, "ein hund", suppressed_tokens=every, min_length=1, include_attention=True)
    assert (nothing.text, ids(nothing)) == ("", [])
    assert nothing.decoding.finish_reason == decoding_pb2.FINISH_REASON_DEAD_END


def test_phrases_work_for_captions(shipped):
    def caption(**options) -> str:
        request = CaptionImageRequest(image=picture("green"), options=DecodingOptions(**options))
        return shipped.captioning.CaptionImage(request, timeout=60).hypotheses[0].caption

    first = caption().split()[0]
    assert holds(caption(required_phrases=["dog", "red car"]), "red car")
    assert not holds(caption(suppressed_phrases=[first]), first)
    assert caption(target_prefix="two people").startswith("two people")


# ---- prefixes and alternatives


@pytest.mark.parametrize("prefix", ["Eine Katze", "Ein Hund läuft durch das Gras.", "Zwei Män", "„Hallo“, sagt"])
def test_an_answer_begins_with_its_prefix(shipped, prefix):
    for options in ({}, {"beam_size": 1}, {"sampling": Sampling(seed=1), "hypothesis_count": 4}):
        for found in translate(shipped, target_prefix=prefix, **options):
            assert found.text.startswith(prefix)
            assert found.decoding.log_prob == pytest.approx(sum(t.log_prob for t in found.decoding.tokens), abs=1e-3)


def test_a_prefix_of_tokens_is_the_same_as_its_text(shipped):
    [text] = translate(shipped, target_prefix="Eine Katze", include_attention=True)
    [tokens] = translate(shipped, target_prefix_tokens=ids(text)[:2], include_attention=True)
    assert tokens.text == text.text
    assert len(tokens.decoding.tokens[0].attention) == 8


def test_the_answers_own_beginning_as_prefix_changes_nothing(shipped):
    [usual] = translate(shipped, beam_size=1)
    for length in range(len(usual.decoding.tokens) - 1):
        [again] = translate(shipped, beam_size=1, target_prefix_tokens=ids(usual)[:length])
        assert ids(again) == ids(usual)
        assert again.decoding.log_prob == pytest.approx(usual.decoding.log_prob, abs=1e-3)


@pytest.mark.parametrize("prefix", ["", "Ein", "Ein Hund"])
def test_alternatives_differ_at_the_position_after_the_prefix(shipped, prefix):
    found = translate(shipped, target_prefix=prefix, alternatives=True, beam_size=12, hypothesis_count=6)
    place = len(prefix.split())
    assert len({ids(one)[place] for one in found}) == len(found) == 6
    assert all(one.text.startswith(prefix) for one in found)
    scores = [one.decoding.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_alternatives_of_a_tour_begin_at_different_points(shipped):
    options = DecodingOptions(alternatives=True, beam_size=12, hypothesis_count=6)
    found = shipped.pointing.FindTour(FindTourRequest(points=CLOUD, options=options), timeout=60).hypotheses
    assert sorted(one.point_indices[0] for one in found) == [0, 1, 2, 3, 4, 5]
    assert all(one.valid for one in found)


def test_a_prefix_of_points_is_kept_and_the_task_still_holds(shipped):
    for begin in ([5], [2, 0], [1, 3, 5]):
        options = DecodingOptions(target_prefix_tokens=[FIRST + point for point in begin])
        tour = shipped.pointing.FindTour(FindTourRequest(points=CLOUD, options=options), timeout=60).hypotheses[0]
        assert list(tour.point_indices[: len(begin)]) == begin
        assert tour.valid


# ---- sampling


def test_the_same_seed_gives_the_same_samples_alone_and_amid_others(shipped):
    options = {"sampling": Sampling(seed=11, temperature=1.2, top_k=100, top_p=0.95), "hypothesis_count": 4}
    alone = translate(shipped, **options)
    assert len(alone) == 4
    assert [found.decoding.seed for found in alone] == [11] * 4
    with ThreadPoolExecutor(24) as threads:
        others = [
            threads.submit(translate, shipped, TEXTS[i % 4], sampling=Sampling(seed=i), hypothesis_count=1 + i % 9)
            for i in range(20)
        ]
        amid = list(threads.map(lambda _: texts_of(translate(shipped, **options)), range(3)))
        assert all(other.result() for other in others)
    assert amid == [texts_of(alone)] * 3


def test_another_seed_gives_other_samples_and_without_one_the_drawn_seed_is_told(shipped):
    texts = {tuple(texts_of(translate(shipped, sampling=Sampling(seed=seed, temperature=2)))) for seed in range(6)}
    assert len(texts) > 1
    [drawn] = translate(shipped, sampling=Sampling(temperature=2))
    assert drawn.decoding.HasField("seed")
    [again] = translate(shipped, sampling=Sampling(temperature=2, seed=drawn.decoding.seed))
    assert again.text == drawn.text
    assert not translate(shipped)[0].decoding.HasField("seed")


def test_sampling_the_best_token_alone_is_greedy_search(shipped):
    [greedy] = translate(shipped, beam_size=1)
    for sampling in (Sampling(top_k=1), Sampling(top_p=1e-9), Sampling(temperature=0.01, top_k=1000)):
        [sampled] = translate(shipped, sampling=sampling)
        assert ids(sampled) == ids(greedy)
        assert sampled.decoding.log_prob == pytest.approx(greedy.decoding.log_prob, abs=1e-3)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_any_seed_will_do(shipped, seed):
    [found] = translate(shipped, sampling=Sampling(seed=seed))
    assert found.decoding.seed == seed


# ---- scores and lengths


def test_length_normalization_is_what_divides_the_log_prob(shipped):
    for found in translate(
        shipped,
        beam_size=8,
        hypothesis_count=8,
        length_penalty=1,
        length_normalization=decoding_pb2.LENGTH_NORMALIZATION_PLAIN,
    ):
        mean = found.decoding.log_prob / len(found.decoding.tokens)
        assert found.decoding.score == pytest.approx(mean, rel=1e-4)
    for found in translate(shipped, beam_size=8, hypothesis_count=8, length_penalty=0.6):
        penalty = ((5 + len(found.decoding.tokens)) / 6) ** 0.6
        assert found.decoding.score == pytest.approx(found.decoding.log_prob / penalty, rel=1e-4)


def test_a_coverage_penalty_lowers_the_score_by_what_was_not_looked_at(shipped):
    options = {"beam_size": 6, "hypothesis_count": 6, "length_penalty": 0, "include_attention": True}
    for found in translate(shipped, coverage_penalty=0.5, **options):
        looks = zip(*(token.attention for token in found.decoding.tokens), strict=True)
        missed = sum(math.log(min(max(sum(look), 1e-6), 1.0)) for look in looks)
        assert found.decoding.score == pytest.approx(found.decoding.log_prob + 0.5 * missed, abs=1e-2)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_comes_twice(shipped, size):
    options = {"min_length": 40, "max_length": 40, "no_repeat_ngram_size": size, "hypothesis_count": 5}
    for found in translate(shipped, **options):
        tokens = ids(found)
        grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
        assert len(set(grams)) == len(grams)


def test_a_repetition_penalty_makes_for_less_repetition_and_log_probs_stay_the_models(shipped):
    def repeated(**options) -> int:
        [found] = translate(shipped, min_length=40, max_length=40, **options)
        assert found.decoding.log_prob == pytest.approx(sum(t.log_prob for t in found.decoding.tokens), abs=1e-3)
        return len(ids(found)) - len(set(ids(found)))

    assert repeated(repetition_penalty=2) < repeated()


def test_patience_ends_a_search_earlier(shipped):
    def steps(**options) -> int:
        request = TranslateTextRequest(text=TEXTS[1], options=DecodingOptions(beam_size=8, **options))
        return shipped.translation.TranslateText(request, timeout=60).timings.step_count

    taken = [steps(patience=0.1), steps(patience=1), steps(patience=1.4), steps(patience=10)]
    assert all(fewer <= more for fewer, more in pairwise(taken))
    assert taken[0] < taken[-1]
    assert steps() == taken[2], "the model's own"


def test_lengths_are_kept_to(shipped):
    [cut] = translate(shipped, beam_size=1, max_length=3)
    assert (len(cut.decoding.tokens), cut.decoding.finish_reason) == (3, decoding_pb2.FINISH_REASON_MAX_LENGTH)
    for found in translate(shipped, min_length=20, max_length=30, hypothesis_count=5):
        assert 20 <= len([token for token in ids(found) if token != 2]) <= 30


# ---- the defaults, and what is no matter of a task


def test_every_option_at_its_default_changes_nothing(shipped):
    explicit = {
        "length_normalization": decoding_pb2.LENGTH_NORMALIZATION_GNMT,
        "coverage_penalty": 0,
        "repetition_penalty": 1,
        "no_repeat_ngram_size": 0,
        "min_length": 0,
        "hypothesis_count": 1,
        "on_deadline": decoding_pb2.ON_DEADLINE_FAIL,
        "ensemble_weight": 1,
    }
    for text in TEXTS:
        [usual], [spelt_out] = translate(shipped, text), translate(shipped, text, **explicit)
        assert ids(spelt_out) == ids(usual)
        assert spelt_out.decoding.score == pytest.approx(usual.decoding.score, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "request_type", "task"),
    [
        ("FindConvexHull", FindConvexHullRequest, "convex_hull"),
        ("FindDelaunayTriangulation", FindDelaunayTriangulationRequest, "delaunay"),
        ("FindTour", FindTourRequest, "tour"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [{"target_prefix": "x"}, {"suppressed_phrases": ["x"]}, {"required_phrases": ["x"]}],
    ids=lambda options: next(iter(options)),
)
def test_words_are_refused_where_answers_are_points(stubs, name, request_type, task, options):
    refused = refusal(getattr(stubs.pointing, name), request_type(points=SQUARE, options=DecodingOptions(**options)))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    [field] = options
    assert refused.message == f"options.{field}: given; allowed: unset: the answers of a {task} model are no text"


def test_every_other_option_works_on_points(shipped):
    options = DecodingOptions(
        beam_size=8,
        hypothesis_count=3,
        coverage_penalty=0.1,
        patience=1,
        repetition_penalty=1.1,
        no_repeat_ngram_size=100,
        length_penalty=1,
        length_normalization=decoding_pb2.LENGTH_NORMALIZATION_PLAIN,
        include_attention=True,
    )
    tours = shipped.pointing.FindTour(FindTourRequest(points=CLOUD, options=options), timeout=60).hypotheses
    assert [tour.valid for tour in tours] == [True] * 3
    sampled = DecodingOptions(sampling=Sampling(seed=2), hypothesis_count=5)
    for found in shipped.pointing.FindConvexHull(
        FindConvexHullRequest(points=CLOUD, options=sampled), timeout=60
    ).hypotheses:
        assert found.decoding.seed == 2
    without = DecodingOptions(suppressed_tokens=[FIRST + 4])
    hull = shipped.pointing.FindConvexHull(FindConvexHullRequest(points=CLOUD, options=without), timeout=60)
    assert 4 not in hull.hypotheses[0].point_indices
