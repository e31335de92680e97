"""Evaluation of every task through the engine, with a model whose answers are known."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.evaluation.captions import CaptionedImage, CaptionedImages
from export.evaluation.evaluators import (
    PointingOptions,
    evaluate_captioning,
    evaluate_pointing,
    evaluate_translation,
)
from export.evaluation.instances import Instance, format_instance, parse_instance
from export.evaluation.lines import BadData
from export.evaluation.parallel_text import ParallelText
from export.evaluation.served import IN_FLIGHT, Served
from serving.bundle import Bundle
from serving.engine import Engine
from serving.errors import InvalidRequest
from serving.manifest import TaskName
from serving.tasks.options import RequestedOptions
from serving.tasks.text import Tokenizer
from serving.tasks.verification import Repair
from tests.fakes.bundles import SOURCE_LIMIT, write_bundle
from tests.fakes.planned import Inputs, PlannedModel

FIRST_POSITION = 3
SENTENCES = ["ein hund im gras", "ein rad im schnee", "das kind vor ein haus", "im haus ein hund"]


@contextmanager
def serve(
    bundle: Bundle, plan: Callable[[Inputs], Sequence[int]], requested: RequestedOptions | None = None
) -> Iterator[Served]:
    with Engine({bundle.key: PlannedModel(plan, bundle.manifest.vocabulary.size)}) as engine:
        yield Served(engine, bundle.key, requested or RequestedOptions(), lambda: None)


def copy_source(inputs: Inputs) -> list[int]:
    """Both tokenizers of the fake bundle are trained alike, so the source's pieces are a translation into itself."""
    return [int(token) for token in inputs["source_tokens"][:-1]]


def point_in_order(inputs: Inputs) -> range:
    return range(FIRST_POSITION, FIRST_POSITION + int(inputs["point_counts"]))


def test_translations_are_scored_in_the_order_of_the_sources(tmp_path):
    bundle = write_bundle(tmp_path, "translation")
    sources = tuple(SENTENCES[number % 4] for number in range(IN_FLIGHT + 20))
    with serve(bundle, copy_source) as served:
        report = evaluate_translation(bundle, served, ParallelText(sources, sources), "de", "four sentences")
    assert report.count == len(sources)
    assert {name: report.rounded()[name] for name in ("bleu_lower_tokenized", "bleu_13a", "chrf")} == {
        "bleu_lower_tokenized": 100,
        "bleu_13a": 100,
        "chrf": 100,
    }
    assert report.figures["sentences_per_second"] > 0


def test_an_empty_source_counts_as_an_empty_translation(tmp_path):
    bundle = write_bundle(tmp_path, "translation")
    text = ParallelText((SENTENCES[0], " "), (SENTENCES[0], SENTENCES[0]))
    with serve(bundle, copy_source) as served:
        report = evaluate_translation(bundle, served, text, "de", "data")
    assert report.count == 2
    assert report.rounded()["bleu_13a"] == pytest.approx(100 * np.exp(1 - 2), abs=1e-4)
    assert "1 refused by serving and counted as empty translations; source 2: text: 1 characters of white space" in str(
        report.notes
    )


def test_a_corpus_that_is_refused_whole_is_an_error(tmp_path):
    bundle = write_bundle(tmp_path, "translation")
    with (
        serve(bundle, copy_source) as served,
        pytest.raises(BadData, match="refuses all 2 sources; the first for: text: empty"),
    ):
        evaluate_translation(bundle, served, ParallelText(("", ""), ("a", "b")), "de", "data")


def test_an_option_out_of_range_is_an_error_and_not_a_refusal(tmp_path):
    bundle = write_bundle(tmp_path, "translation")
    text = ParallelText((SENTENCES[0],), (SENTENCES[0],))
    with (
        serve(bundle, copy_source, RequestedOptions(beam_size=99)) as served,
        pytest.raises(InvalidRequest, match=r"options\.beam_size: 99"),
    ):
        evaluate_translation(bundle, served, text, "de", "data")


def write_image(path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_captions_are_scored_against_all_references_and_a_damaged_image_counts(tmp_path):
    bundle = write_bundle(tmp_path, "captioning")
    assert bundle.manifest.tokenizers.target is not None
    caption = Tokenizer(bundle.path(bundle.manifest.tokenizers.target)).encode("ein hund")
    (tmp_path / "damaged.png").write_bytes(b"no image")
    images = (
        CaptionedImage(write_image(tmp_path / "good.png"), ("eine katze im haus", "ein hund")),
        CaptionedImage(tmp_path / "damaged.png", ("ein kind",)),
    )
    with serve(bundle, lambda _: caption) as served:
        report = evaluate_captioning(bundle, served, CaptionedImages(images, missing=3), "data")
    assert report.rounded()["bleu_2"] == pytest.approx(100 * np.exp(1 - 4 / 2), abs=1e-3)
    assert any(note.startswith("3 records left out") for note in report.notes)
    assert any(note.startswith("1 refused by serving and counted as empty captions; source 2") for note in report.notes)


def pointing_instance(points: Sequence[tuple[float, float]], output: Sequence[int] | None) -> Instance:
    return parse_instance(format_instance(np.array(points, np.float64), output), "here")


SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize(
    ("task", "output", "figures"),
    [
        ("convex_hull", [0, 1, 2, 3, 0], {"exact": 100, "valid": 100, "area": 100}),
        ("convex_hull", None, {"exact": 100, "valid": 100, "area": 100}),
        (
            "tour",
            [0, 2, 1, 3, 0],
            {"valid": 100, "mean_length": 4, "given_mean_length": 4.8284, "gap": -17.1573, "length_over_two_opt": 1},
        ),
        ("delaunay", [0, 1, 2, 0, 2, 3], {"exact": 100, "valid": 100, "triangle_coverage": 100}),
    ],
)
def test_pointing_is_scored_by_its_task(tmp_path, task: TaskName, output, figures):
    bundle = write_bundle(tmp_path, task)
    plan = (lambda _: [3, 4, 5]) if task == "delaunay" else point_in_order
    with serve(bundle, plan) as served:
        report = evaluate_pointing(bundle, served, [pointing_instance(SQUARE, output)], "data")
    assert report.rounded() == {"count": 1, **figures}


@pytest.mark.parametrize("symmetries", [0, 8])
@pytest.mark.parametrize(
    ("task", "plan", "figures"),
    [
        ("convex_hull", [3, 4, 5], {"exact": 100, "valid": 100, "area": 100}),
        ("delaunay", [3, 4, 5], {"exact": 100, "valid": 100, "triangle_coverage": 100}),
        (
            "tour",
            [3, 5, 4, 6],
            {"valid": 100, "mean_length": 4, "given_mean_length": 4, "gap": 0, "length_over_two_opt": 1},
        ),
    ],
)
def test_repaired_answers_are_measured_after_the_repair(tmp_path, task: TaskName, plan, figures, symmetries):
    bundle = write_bundle(tmp_path, task)
    output = [0, 1, 2, 3, 0] if task == "tour" else None
    options = PointingOptions(symmetries, Repair.FIX)
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.25, 1.0], [0.0, 1.0]]) if task == "delaunay" else SQUARE
    with serve(bundle, lambda _: plan) as served:
        report = evaluate_pointing(bundle, served, [pointing_instance(points, output)] * 3, "data", options)
    assert report.rounded() == {"count": 3, **figures, "repaired": 100}


def test_more_sets_of_points_than_the_queue_takes_are_decoded_in_all_symmetries(tmp_path):
    bundle = write_bundle(tmp_path, "tour")
    instances = [pointing_instance(SQUARE, [0, 1, 2, 3, 0])] * 70
    with serve(bundle, point_in_order) as served:
        report = evaluate_pointing(bundle, served, instances, "data", PointingOptions(symmetries=8))
    assert report.rounded()["gap"] == 0


def test_tsplib_instances_are_measured_in_rounded_distances_too(tmp_path):
    bundle = write_bundle(tmp_path, "tour")
    points = np.array([[0.0, 0.0], [10.4, 0.0], [10.4, 10.4], [0.0, 10.4]])
    given = Instance("square", points, (0, 2, 1, 3), rounded=True)
    with serve(bundle, point_in_order) as served:
        report = evaluate_pointing(bundle, served, [given], "data")
    assert report.rounded()["gap_rounded"] == pytest.approx(100 * (40 / 50 - 1))
    assert report.notes[0] == "square: 40, given 50, in rounded distances: -20.00 %"


def test_too_many_points_count_as_an_invalid_answer(tmp_path):
    bundle = write_bundle(tmp_path, "tour")
    circle = [(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 6, SOURCE_LIMIT + 1)]
    instances = [pointing_instance(points, [*range(len(points)), 0]) for points in (SQUARE, circle)]
    with serve(bundle, point_in_order) as served:
        report = evaluate_pointing(bundle, served, instances, "data")
    assert report.figures["valid"] == 50
    assert "source 2: points: 21 points" in report.notes[0]


def test_a_bad_reference_stops_before_the_first_answer(tmp_path):
    bundle = write_bundle(tmp_path, "tour")
    with serve(bundle, lambda _: pytest.fail("was asked")) as served, pytest.raises(BadData, match="visits 3 of 4"):
        evaluate_pointing(bundle, served, [pointing_instance(SQUARE, [0, 1, 2, 0])], "data")
