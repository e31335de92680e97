"""What a certificate measures, on models whose answers are known; and what it must show to pass."""

import dataclasses
import hashlib
import re

import numpy as np
import pytest

from export.certification.bounds import faults_of
from export.certification.metric import metric_change
from export.certification.neighbours import measure_influence
from export.certification.probes import compare_tensors
from export.certification.references import GreedyAnswer, record_references
from export.certification.references_file import FILE, load_references, write_references
from export.certification.sources import drawn_picture, likeness, picture, random_source
from export.certification.speed import speed_ratios
from export.certification.tokens import CUT, compare_beam, compare_greedy, greedy_margin
from serving.errors import BadBundle, ModelFault
from serving.manifest import MetricChange, TokenAgreement
from serving.session import SessionConfig
from serving.tasks.geometry import convex_hull
from tests.fakes.bundles import passed, write_bundle
from tests.fakes.planned import FAVOURED, PlannedModel, open_planned


@pytest.fixture(params=["translation", "captioning", "convex_hull", "delaunay", "tour"])
def bundle(request, tmp_path):
    return write_bundle(tmp_path, request.param)


@pytest.fixture
def hull(tmp_path):
    return write_bundle(tmp_path, "convex_hull")


def planned(bundle) -> PlannedModel:
    return open_planned(bundle, SessionConfig())


def sources_of(bundle, count=6):
    if bundle.manifest.image is not None:
        size = (bundle.manifest.image.height, bundle.manifest.image.width)
        return [drawn_picture(seed, *size) for seed in range(count)]
    random, like = np.random.default_rng(1), [likeness(bundle)]
    return [random_source(bundle.manifest.task, random, 3 + place, like) for place in range(count)]


def references_of(bundle, golds=None):
    return record_references(bundle.manifest, planned(bundle), sources_of(bundle), label="toys", golds=golds)


def test_references_survive_the_file(bundle):
    references = references_of(bundle)
    spec = write_references(bundle.folder, references)
    again = load_references(
        dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"references": spec}))
    )
    for one, other in zip(references.sources, again.sources, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert (again.label, again.beam_size, again.beam, again.golds) == ("toys", 5, references.beam, None)
    assert [answer.tokens for answer in again.greedy] == [answer.tokens for answer in references.greedy]
    assert compare_tensors(again.probes, planned(bundle)) == (0, 0)


def test_a_file_that_holds_no_references_is_refused_by_name(hull):
    spec = write_references(hull.folder, references_of(hull))
    (hull.folder / FILE).write_bytes(b"PK nothing")
    changed = dataclasses.replace(hull, manifest=hull.manifest.model_copy(update={"references": spec}))
    with pytest.raises(BadBundle, match=rf"{FILE}: holds no references"):
        load_references(changed)


def test_the_same_model_agrees_in_everything(bundle):
    references, model = references_of(bundle), planned(bundle)
    greedy = compare_greedy(bundle.manifest, model, references)
    beam, answers = compare_beam(bundle.manifest, model, references)
    assert (greedy.identical, greedy.largest_margin, greedy.inputs) == (1, None, 6)
    assert (beam.identical, beam.beam_size) == (1, 5)
    assert [answer.tokens for answer in answers] == list(references.beam)
    influence = measure_influence(bundle.manifest, model, references.sources)
    assert (influence.of_rows, influence.of_sources) == (0, 0)


def test_the_margin_is_how_much_the_reference_preferred_its_own_token(hull):
    other = PlannedModel(lambda inputs: [3 + corner for corner in convex_hull(inputs["points"])][::-1], None)
    references = references_of(hull)
    greedy = compare_greedy(hull.manifest, other, references)
    assert greedy.identical == 0
    rest = (1 - FAVOURED) / len(references.sources[0]["points"])
    assert greedy.largest_margin >= np.log(FAVOURED / rest) - 1e-3
    beam, _ = compare_beam(hull.manifest, other, references)
    assert beam.largest_margin > 1, "it prefers its own answer by far"


def test_a_token_beyond_the_recorded_ones_counts_as_the_last_of_them():
    answer = GreedyAnswer((5, 2), np.array([[6, 7], [8, 9]]), np.array([[0.25, 0.5], [1.0, 2.0]]))
    assert greedy_margin(answer, (6, 2)) == 0.25
    assert greedy_margin(answer, (11, 2)) == 0.5
    assert greedy_margin(answer, (5, 9)) == 2.0
    assert greedy_margin(answer, (5, 2, 2)) == CUT


class Influenced(PlannedModel):
    """Its log-probs fall with the rows of the step, or with the padding of the memory."""

    def __init__(self, bundle, by_rows=0.0, by_width=0.0, add=0.0):
        self.__dict__ |= vars(planned(bundle))
        self.by_rows, self.by_width, self.add = by_rows, by_width, add

    def step(self, inputs, memory, state, *, attention=False):
        outputs, after = super().step(inputs, memory, state, attention=attention)
        width = memory["memory"].shape[1]
        change = np.float32(self.by_rows * len(inputs.token) + self.by_width * width + self.add)
        return outputs._replace(log_prob=outputs.log_prob - change), after


def test_the_influence_of_rows_is_told_from_that_of_sources(tmp_path):
    text = write_bundle(tmp_path, "translation")
    sources = sources_of(text)
    of_rows, of_sources = measure_influence(text.manifest, Influenced(text, by_rows=1e-4), sources)
    assert of_rows == pytest.approx(160e-4, rel=0.1)
    assert of_sources == 0
    of_rows, of_sources = measure_influence(text.manifest, Influenced(text, by_width=1e-4), sources)
    assert of_rows == 0
    assert of_sources == pytest.approx(5e-4, rel=0.1), "3 pieces beside 8"


def test_log_probs_that_are_no_numbers_are_a_fault_of_the_model(hull):
    with pytest.raises(ModelFault):
        measure_influence(hull.manifest, Influenced(hull, add=np.nan), sources_of(hull))


def test_tensors_differ_by_what_was_added_and_infinities_are_counted(hull):
    probes = references_of(hull).probes
    error, unlike = compare_tensors(probes, Influenced(hull, add=0.125))
    assert (error, unlike) == (pytest.approx(0.125), 0)
    assert compare_tensors(probes, Influenced(hull, add=np.inf)).unlike > 0


def test_the_metric_is_that_of_both_sides_answers(bundle):
    indices = {"convex_hull": None, "tour": (0, 2, 1), "delaunay": (0, 1, 2)}
    golds = (
        [("ein hund",)] * 6
        if bundle.manifest.vocabulary.size
        else [indices[bundle.manifest.task] or tuple(convex_hull(one["points"])) for one in sources_of(bundle)]
    )
    if bundle.manifest.task == "tour":
        golds = [tuple(range(len(one["points"]))) for one in sources_of(bundle)]
    references = references_of(bundle, golds)
    _, answers = compare_beam(bundle.manifest, planned(bundle), references)
    change = metric_change(bundle, references, answers)
    names = {"translation": "bleu_lower_tokenized", "captioning": "bleu_4", "tour": "mean_length"}
    assert change.metric == names.get(bundle.manifest.task, "exact")
    assert change.pytorch == change.served
    assert metric_change(bundle, references_of(bundle), answers) is None


def test_speed_is_how_many_times_faster_in_turns(hull):
    fast, slow = planned(hull), planned(hull)
    slow.step_s = 0.005
    ratios = speed_ratios(hull.manifest, fast, slow, sources_of(hull))
    assert [(ratio.sources, ratio.rows) for ratio in ratios] == [
        (1, None),
        (8, None),
        (None, 5),
        (None, 40),
        (None, 160),
    ]
    assert all(ratio.times_faster > 1.5 for ratio in ratios[2:])


def test_a_drawn_picture_is_the_same_everywhere():
    drawn = picture(7, 24, 32)
    assert drawn.shape == (24, 32, 3)
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "44a49ab2dfdaf8bd"
    assert not np.array_equal(drawn, picture(8, 24, 32))


GREEDY = TokenAgreement(beam_size=1, inputs=1000, identical_alone=1, identical_in_batch=1)
BLEU = MetricChange(metric="bleu_lower_tokenized", inputs=1000, pytorch=39.0, served=38.9)


@pytest.mark.parametrize(
    ("precision", "change", "fault"),
    [
        ("fp32", {}, ""),
        ("fp32", {"tensor_error": 2e-3}, "tensors: differ from PyTorch's by 0.002"),
        ("int8", {"tensor_error": 0.3}, ""),
        ("fp32", {"tokens": [GREEDY.model_copy(update={"identical_alone": 0.985})]}, "greedy: 98.5 % .* needed: 99 %"),
        (
            "fp32",
            {"tokens": [GREEDY.model_copy(update={"largest_margin": 0.01})]},
            "0.01 likelier; allowed: up to 0.001",
        ),
        ("int8", {"tokens": [GREEDY.model_copy(update={"largest_margin": 0.4})]}, ""),
        ("int8", {"tokens": [GREEDY.model_copy(update={"largest_margin": 0.6})]}, "0.6 likelier; allowed: up to 0.5"),
        ("int8", {"tokens": [GREEDY.model_copy(update={"identical_in_batch": 0.7})]}, "greedy: 70.0 % .* needed: 80 %"),
        ("int8", {"tokens": [GREEDY.model_copy(update={"identical_in_batch": 0.7})], "metric": BLEU}, ""),
        (
            "int8",
            {"metric": BLEU.model_copy(update={"served": 38.7})},
            "bleu_lower_tokenized: 38.70, .* 39.00; allowed: 0.2",
        ),
        (
            "int8",
            {"metric": BLEU.model_copy(update={"metric": "mean_length", "served": 39.1})},
            "mean_length: 0.26 % longer",
        ),
        (
            "int8",
            {"neighbours_error": 2e-5},
            "neighbours: other rows change a row's log-probs by 2e-05; allowed: 5e-06",
        ),
        ("fp16", {"neighbours_error": 2e-3}, ""),
        ("fp32", {"padding_error": 1e-4}, "padding: .* by 0.0001; allowed: 1e-05"),
    ],
)
def test_each_bound_is_kept_or_named_with_figure_and_bound(precision, change, fault):
    faults = faults_of(passed(precision).model_copy(update=change))
    assert len(faults) == bool(fault)
    assert not fault or re.search(fault, faults[0])


def test_an_image_encoder_in_8_bits_may_move_captions_that_its_metric_judges():
    moved = GREEDY.model_copy(update={"identical_alone": 0.4, "identical_in_batch": 0.4, "largest_margin": 2.6})
    certificate = passed("int8").model_copy(update={"tokens": (moved,)})
    assert faults_of(certificate)
    assert not faults_of(certificate, of_images=True)
    assert faults_of(certificate.model_copy(update={"precision": "fp16"}), of_images=True)
