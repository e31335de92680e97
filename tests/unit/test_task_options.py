"""Every decoding option is checked by the task, and refused with its field, what was given and what is allowed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serving.decoding.bans import NoRepeatedNgram, SuppressedTokens
from serving.decoding.options import LengthNormalization
from serving.errors import InvalidRequest
from serving.tasks.base import Plan
from serving.tasks.options import RequestedOptions, RequestedSampling
from serving.tasks.pointing import ConvexHull, Tour
from serving.tasks.translation import Translation
from tests.fakes.bundles import BEAM_LIMIT, MAX_LENGTH, write_bundle

PAD, BOS, EOS, UNK, FIRST = range(5)
"""The special tokens, and a piece; in pointing the first position is one less."""
SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


@pytest.fixture(scope="module")
def translation(tmp_path_factory):
    return Translation(write_bundle(tmp_path_factory.mktemp("translation"), "translation"))


def plan(task, source, **requested) -> Plan:
    return task.plan(RequestedOptions(**requested), source)


@pytest.fixture(scope="module")
def planned(translation):
    """Plan for a short text."""
    source = translation.source("ein hund")
    return lambda **requested: plan(translation, source, **requested)


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """Plan for a tour of four points, tokens 3 to 6."""
    tour = Tour(write_bundle(tmp_path_factory.mktemp("tour"), "tour"))
    return lambda **requested: plan(tour, tour.source(SQUARE), **requested)


def refusal(call, *arguments, **requested) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call(*arguments, **requested)
    return str(caught.value)


NUMBERS = {
    "coverage_penalty": ("from 0 to 5", (0, 0.5, 5), (-0.1, 5.1, math.nan, math.inf, -math.inf)),
    "patience": ("from 0.1 to 10", (0.1, 1, 10), (0, 0.09, 10.5, -1, math.nan, math.inf)),
    "repetition_penalty": ("from 1 to 10", (1, 1.5, 10), (0, 0.9, 10.5, math.nan, -math.inf)),
    "no_repeat_ngram_size": ("from 0 to 100", (0, 1, 100), (-1, 101, 2**31 - 1)),
    "sampling.temperature": ("from 0.01 to 100", (0.01, 1, 100), (0, 0.001, 101, -1, math.nan, math.inf)),
    "sampling.top_k": ("from 1 to 1000", (1, 50, 1000), (0, -1, 1001, 2**31 - 1)),
    "sampling.top_p": ("above 0, up to 1", (1e-300, 0.5, 1), (0, -0.5, 1.01, math.nan, math.inf)),
    "sampling.seed": (f"from 0 to {2**63 - 1}", (0, 2**63 - 1), (-1, -(2**63))),
}
"""By field: the range as a refusal has it, values in it, and values out of it."""


def requested_number(field: str, value: float) -> dict:
    name = field.removeprefix("sampling.")
    return {"sampling": RequestedSampling(**{name: value})} if name != field else {field: value}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in NUMBERS for value in NUMBERS[field][2]])
def test_a_number_out_of_range_is_refused_with_the_range(planned, field, value):
    given = f"{value:g}" if isinstance(value, float) else str(value)
    message = refusal(planned, **requested_number(field, value))
    assert message == f"options.{field}: {given}; allowed: {NUMBERS[field][0]}"


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in NUMBERS for value in NUMBERS[field][1]])
def test_a_number_in_range_is_taken(planned, field, value):
    options = planned(**requested_number(field, value)).options
    if field.startswith("sampling."):
        assert getattr(options.sampling, field.removeprefix("sampling.")) == value
    elif field != "no_repeat_ngram_size":
        assert getattr(options, field) == value


@pytest.mark.parametrize("field", ["suppressed_tokens", "target_prefix_tokens"])
@pytest.mark.parametrize("token", [PAD, BOS, EOS, -1, "size", 2**31 - 1, -(2**31)])
def test_a_token_that_is_none_or_a_special_one_is_refused_by_its_place(planned, field, token):
    size = planned().options.vocabulary_size
    token = size if token == "size" else token
    allowed = f"from 0 to {size - 1}, the special tokens 0, 1 and 2 excepted"
    assert refusal(planned, **{field: (FIRST, token)}) == f"options.{field}[1]: {token}; allowed: {allowed}"
    assert planned(**{field: (UNK, size - 1)})


LISTS = {
    "suppressed_tokens": (1000, "tokens", FIRST),
    "target_prefix_tokens": (10_000, "tokens", FIRST),
    "suppressed_phrases": (100, "phrases", "hund"),
    "required_phrases": (20, "phrases", "hund"),
}


@pytest.mark.parametrize("field", LISTS)
def test_too_many_entries_are_refused_by_their_number(planned, field):
    most, noun, entry = LISTS[field]
    for count in (most + 1, 100_000):
        message = refusal(planned, **{field: (entry,) * count})
        assert message == f"options.{field}: {count} {noun}; allowed: up to {most}"
    if field != "target_prefix_tokens":
        assert planned(**{field: (entry,) * most})


@pytest.mark.parametrize("field", ["suppressed_phrases", "required_phrases"])
@pytest.mark.parametrize(
    ("phrase", "description"),
    [
        ("", "empty; allowed: at least one other character"),
        (" \t\n\u2028", "white space; allowed: at least one other character"),
        ("x" * 201, "201 characters; allowed: up to 200 characters"),
        ("x" * 100_000, "100000 characters; allowed: up to 200 characters"),
    ],
)
def test_a_phrase_without_text_or_with_too_much_is_refused_by_its_place(planned, field, phrase, description):
    assert refusal(planned, **{field: ("hund", phrase)}) == f"options.{field}[1]: {description}"


@pytest.mark.parametrize("field", ["target_prefix", "required_phrases[0]"])
@pytest.mark.parametrize(
    ("text", "unknown"),
    [("hund 🐕", "🐕"), ("日本語", "日本語"), ("a\0b", "\0"), ("x" * 199, "x"), ("HUND", "HUND")],
)
def test_what_the_vocabulary_cannot_write_is_refused_with_what_it_lacks(planned, field, text, unknown):
    requested = {"target_prefix": text} if field == "target_prefix" else {"required_phrases": (text,)}
    message = refusal(planned, **requested)
    lacks, allowed = "which the model's vocabulary lacks", "text that it can write"
    shown = message.removeprefix(f"options.{field}: ").removesuffix(f", {lacks}; allowed: {allowed}")
    assert shown.startswith("'")
    assert shown[1] == repr(unknown)[1]
    assert len(shown) < 100


def test_what_cannot_be_written_can_be_suppressed(planned):
    assert planned(suppressed_phrases=("🐕", "日本語", "x" * 200))


def test_a_prefix_of_text_is_cut_into_pieces_and_normalised(planned, translation):
    tokens = planned(target_prefix="ein hund").options.prefix
    assert "".join(translation.pieces(tokens)) == "▁ein▁hund"
    assert planned(target_prefix="  ein \n hund ").options.prefix == tokens
    assert planned(target_prefix_tokens=tokens).options.prefix == tokens
    assert planned(target_prefix=" ").options.prefix == planned(target_prefix="\u200b").options.prefix == ()


def test_a_prefix_longer_than_the_answer_may_be_is_refused(planned):
    usual = planned().options.max_length
    assert len(planned(target_prefix_tokens=(FIRST,) * usual).options.prefix) == usual
    tokens = (FIRST,) * (usual + 1)
    message = f"{usual + 1} tokens; allowed: up to max_length, {usual} here"
    assert refusal(planned, target_prefix_tokens=tokens) == f"options.target_prefix_tokens: {message}"
    pieces = len(planned(target_prefix="ein hund").options.prefix)
    message = f"{pieces} tokens; allowed: up to max_length, 1 here"
    assert refusal(planned, target_prefix="ein hund", max_length=1) == f"options.target_prefix: {message}"
    message = "100,000 characters; allowed: up to 10,000 characters"
    assert refusal(planned, target_prefix="x" * 100_000) == f"options.target_prefix: {message}"


def test_phrases_that_do_not_fit_together_are_refused(planned):
    count = planned(required_phrases=("hund", "ein")).options.required.token_count
    room = f"{count} tokens together; allowed: up to {count - 1}, which max_length leaves"
    options = {"required_phrases": ("hund", "ein")}
    assert refusal(planned, max_length=count - 1, **options) == f"options.required_phrases: {room}"
    message = refusal(planned, max_length=count, target_prefix_tokens=(FIRST,), **options)
    assert message == f"options.required_phrases: {room} after the prefix"
    assert planned(max_length=count, **options)


EXCLUDED = [
    ("beam_size", {"beam_size": 1, "sampling": RequestedSampling()}, "sampling"),
    ("patience", {"patience": 1.0, "sampling": RequestedSampling()}, "sampling"),
    ("required_phrases", {"required_phrases": ("hund",), "sampling": RequestedSampling()}, "sampling"),
    ("alternatives", {"alternatives": True, "sampling": RequestedSampling()}, "sampling"),
    ("alternatives", {"alternatives": True, "required_phrases": ("hund",)}, "required_phrases"),
    ("target_prefix_tokens", {"target_prefix_tokens": (FIRST,), "target_prefix": "ein"}, "target_prefix"),
]


@pytest.mark.parametrize(("field", "requested", "other"), EXCLUDED)
def test_options_that_exclude_each_other_are_refused(planned, field, requested, other):
    message = f"options.{field}: given together with {other}; allowed: one of the two"
    assert refusal(planned, **requested) == message
    for one in requested:
        assert planned(**{one: requested[one]}), "each alone is taken"


def test_samples_are_as_many_as_a_beam_may_be_wide(planned):
    options = planned(sampling=RequestedSampling(), hypothesis_count=BEAM_LIMIT).options
    assert options.beam_size == options.hypothesis_count == BEAM_LIMIT
    message = refusal(planned, sampling=RequestedSampling(), hypothesis_count=BEAM_LIMIT + 1)
    assert message == f"options.hypothesis_count: 9; allowed: from 1 to {BEAM_LIMIT}"


def test_sampling_has_defaults_and_draws_a_seed(planned):
    drawn = [planned(sampling=RequestedSampling()).options for _ in range(3)]
    assert len({options.sampling.seed for options in drawn}) == 3
    assert (drawn[0].beam_size, drawn[0].sampling.top_k) == (1, 50)
    assert drawn[0].sampling.temperature == drawn[0].sampling.top_p == 1


def test_one_hypothesis_has_no_alternatives(planned):
    assert not planned(alternatives=True).options.alternatives
    assert planned(alternatives=True, hypothesis_count=2).options.alternatives


def test_an_option_at_its_default_changes_nothing(planned):
    spelt_out = planned(
        hypothesis_count=1,
        min_length=0,
        length_normalization=LengthNormalization.GNMT,
        coverage_penalty=0.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        target_prefix="",
        alternatives=False,
    )
    assert spelt_out == planned()
    assert spelt_out.constraint is None
    assert planned().options.patience is None


def test_a_model_s_own_patience_holds_where_a_request_says_nothing_and_searches(translation):
    manifest = translation.bundle.manifest
    defaults = manifest.defaults.model_copy(update={"patience": 1.4})
    patient = Translation(replace(translation.bundle, manifest=manifest.model_copy(update={"defaults": defaults})))
    source = patient.source("ein hund")
    assert plan(patient, source).options.patience == 1.4
    assert plan(patient, source, patience=10.0).options.patience == 10
    assert plan(patient, source, sampling=RequestedSampling(seed=1)).options.patience is None


def test_what_a_request_rules_out_joins_what_the_task_does(planned, toured):
    assert planned(suppressed_tokens=(FIRST, UNK)).constraint == SuppressedTokens((FIRST, UNK))
    assert planned(no_repeat_ngram_size=2).constraint == NoRepeatedNgram(2, PAD)
    nothing = np.zeros((1, 0), np.int64)
    assert toured(suppressed_tokens=(5,)).constraint.banned(nothing).tolist() == [[EOS, 5]]


@pytest.mark.parametrize(
    ("cut", "end"),
    [
        ("▁ein ▁h u", "nd"),
        ("▁ein ▁h u n", "d"),
        ("▁ ei n ▁ h u n", "d"),
        ("▁d u ▁ein ▁ h u", "nd"),
        ("▁d u", None),
        ("▁m ei n ▁h u", None),
    ],
)
def test_a_phrase_is_suppressed_however_it_is_cut(planned, translation, cut, end):
    size = planned().options.vocabulary_size
    ids = {piece: token for token, piece in enumerate(translation.pieces(range(size)))}
    row = np.array([[ids[piece] for piece in cut.split()]])
    banned = set(planned(suppressed_phrases=("ein hund",)).constraint.banned(row)[0].tolist()) - {PAD}
    assert banned == ({ids[end]} if end else set())


@pytest.mark.parametrize("field", ["target_prefix", "suppressed_phrases", "required_phrases"])
def test_words_are_refused_where_answers_are_points(toured, field):
    given = "x" if field == "target_prefix" else ("x",)
    message = f"options.{field}: given; allowed: unset: the answers of a tour model are no text"
    assert refusal(toured, **{field: given}) == message


def test_tokens_of_points_are_those_of_the_request(toured):
    allowed = "from 0 to 6, the special tokens 0, 1 and 2 excepted"
    assert refusal(toured, suppressed_tokens=(7,)) == f"options.suppressed_tokens[0]: 7; allowed: {allowed}"
    assert toured(target_prefix_tokens=(6, 3)).options.prefix == (6, 3)
    message = "options.target_prefix_tokens[2]: 6; allowed: every point once"
    assert refusal(toured, target_prefix_tokens=(6, 3, 6)) == message


def test_a_prefix_names_a_corner_by_its_first_name(tmp_path):
    hull = ConvexHull(write_bundle(tmp_path, "convex_hull"))
    source = hull.source([*SQUARE, SQUARE[0]])
    message = refusal(plan, hull, source, target_prefix_tokens=(7,))
    rule = "corners of a convex polygon, counter-clockwise, of equal points the first"
    assert message == f"options.target_prefix_tokens[0]: 7; allowed: {rule}"


def test_a_scored_target_is_the_whole_answer(translation):
    source, target = translation.source("ein hund"), translation.target("target", "ein hund")
    requested = RequestedOptions(attention=True, length_penalty=2.0, coverage_penalty=0.5)
    options, constraint = translation.plan_score(requested, source, target)
    assert options.scored
    assert (options.beam_size, options.hypothesis_count, options.prefix) == (1, 1, target)
    assert (options.length_penalty, options.coverage_penalty, options.attention) == (2.0, 0.5, True)
    assert constraint is None
    assert translation.plan_score(RequestedOptions(), source, ()).options.prefix == ()
    longest = (FIRST,) * MAX_LENGTH
    assert translation.plan_score(RequestedOptions(), source, longest).options.max_length == MAX_LENGTH
    refused = refusal(translation.plan_score, RequestedOptions(length_penalty=9.0), source, target)
    assert refused == "options.length_penalty: 9; allowed: from 0 to 5"


@pytest.mark.parametrize("name", ["suppressed_phrases", "required_phrases"])
def test_a_phrase_of_which_normalisation_leaves_nothing_is_refused(planned, name):
    message = refusal(planned, **{name: ("hund", "\u200b")})
    assert message == f"options.{name}[1]: only characters that the model drops; allowed: at least one that it writes"


@pytest.mark.parametrize(
    ("requested", "place", "written"),
    [
        ({"suppressed_phrases": ("ein hund",), "required_phrases": ("das", "das", "ein hund")}, 2, "ein hund"),
        ({"no_repeat_ngram_size": 1, "required_phrases": ("das", "ein hund ein")}, 1, "ein hund ein"),
    ],
)
def test_a_phrase_that_the_request_itself_rules_out_is_refused_by_its_own_place(planned, requested, place, written):
    given = f"{written!r}, which a suppressed option or no_repeat_ngram_size rules out"
    expected = f"options.required_phrases[{place}]: {given}; allowed: what they leave"
    assert refusal(planned, max_length=20, **requested) == expected


def test_a_phrase_spelt_like_a_special_token_does_not_ban_it(planned, translation):
    constraint = planned(suppressed_phrases=("hund</s>", "hund<unk>", "</s>")).constraint
    row = np.array([translation.target("target", "hund")])
    assert constraint.banned(row).tolist() == [[]]
