"""One function a task: answer a corpus through serving, then score the answers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export.evaluation.caption_metrics import score_captions
from export.evaluation.captions import CaptionedImages
from export.evaluation.instances import Instance, as_tour
from export.evaluation.parallel_text import ParallelText
from export.evaluation.pointing_metrics import (
    Figures,
    reference_hull,
    reference_triangulation,
    rounded_gaps,
    score_hulls,
    score_tours,
    score_triangulations,
)
from export.evaluation.report import SPEED, Report, refusal_notes
from export.evaluation.served import Served
from export.evaluation.translation_metrics import score_translations
from serving.bundle import Bundle
from serving.errors import InvalidRequest
from serving.tasks.captioning import Captioning
from serving.tasks.pointing import ConvexHull, Delaunay, Tour
from serving.tasks.translation import Translation
from serving.tasks.verification import (
    HullJudge,
    JudgedHull,
    JudgedTour,
    JudgedTriangulation,
    Repair,
    TourJudge,
    TriangulationJudge,
)

Judged = JudgedHull | JudgedTriangulation | JudgedTour


def evaluate_translation(bundle: Bundle, served: Served, text: ParallelText, language: str, data: str) -> Report:
    """Translate every source; `language` is the target's, for its tokens."""
    task = Translation(bundle)
    began = time.perf_counter()
    answers = served.answer_all(task, text.sources, task.source, task.text)
    elapsed_s = time.perf_counter() - began
    scores = score_translations([answer or "" for answer in answers.best], text.references, language)
    figures = {
        "bleu_lower_tokenized": scores.bleu_lower_tokenized,
        "bleu_13a": scores.bleu_13a,
        "chrf": scores.chrf,
        SPEED: len(text.sources) / elapsed_s,
    }
    notes = (*scores.notes, *refusal_notes(answers.refusals, "counted as empty translations"))
    return Report(data, len(text.sources), figures, notes)


def evaluate_captioning(bundle: Bundle, served: Served, captioned: CaptionedImages, data: str) -> Report:
    """Caption every image."""
    task = Captioning(bundle)
    images = captioned.images
    answers = served.answer_all(task, images, lambda image: task.source(image.path.read_bytes()), task.text)
    scores = score_captions([answer or "" for answer in answers.best], [image.captions for image in images])
    figures = {f"bleu_{order}": bleu for order, bleu in enumerate(scores.bleu, start=1)} | {"cider": scores.cider}
    notes = (
        "bleu: corpus BLEU, closest reference length, no smoothing; lower case, no punctuation",
        f"cider: CIDEr-D times 100, document frequencies of the {len(images)} images evaluated",
        *((f"{captioned.missing} records left out: their image is not there",) if captioned.missing else ()),
        *refusal_notes(answers.refusals, "counted as empty captions"),
    )
    return Report(data, len(images), figures, notes)


@dataclass(frozen=True)
class PointingOptions:
    """How points are asked for, beside the decoding options: see the requests of protos/beamstep/v1/pointing.proto."""

    symmetries: int = 0
    repair: Repair = Repair.NONE


def evaluate_pointing(
    bundle: Bundle, served: Served, instances: Sequence[Instance], data: str, options: PointingOptions | None = None
) -> Report:
    """Point at an answer for every instance; the bundle's task says which."""
    options = options or PointingOptions()
    match bundle.manifest.task:
        case "convex_hull":
            return _evaluate_hulls(ConvexHull(bundle), served, instances, data, options)
        case "delaunay":
            return _evaluate_triangulations(Delaunay(bundle), served, instances, data, options)
        case "tour":
            return _evaluate_tours(Tour(bundle), served, instances, data, options)
        case text:
            raise AssertionError(f"{text} is no pointing task")


def _evaluate_hulls(
    task: ConvexHull, served: Served, instances: Sequence[Instance], data: str, options: PointingOptions
) -> Report:
    references = [reference_hull(instance) for instance in instances]  # first: a bad line stops before the work
    point_sets = [instance.points for instance in instances]
    answers = served.point_all(task, point_sets, options.symmetries)
    judged = [
        None if found is None else HullJudge(points).judge(found.answer, options.repair)
        for points, found in zip(point_sets, answers.best, strict=True)
    ]
    figures = score_hulls(point_sets, references, [() if one is None else one.corners for one in judged])
    return _pointing_report(data, figures, answers.refusals, judged, options)


def _evaluate_triangulations(
    task: Delaunay, served: Served, instances: Sequence[Instance], data: str, options: PointingOptions
) -> Report:
    references = [reference_triangulation(instance) for instance in instances]
    point_sets = [instance.points for instance in instances]
    answers = served.point_all(task, point_sets, options.symmetries)
    judged = [
        None if found is None else TriangulationJudge(points).judge(found.answer, options.repair)
        for points, found in zip(point_sets, answers.best, strict=True)
    ]
    figures = score_triangulations(point_sets, references, [() if one is None else one.triangles for one in judged])
    return _pointing_report(data, figures, answers.refusals, judged, options)


def _evaluate_tours(
    task: Tour, served: Served, instances: Sequence[Instance], data: str, options: PointingOptions
) -> Report:
    references = [as_tour(instance) for instance in instances]
    point_sets = [instance.points for instance in instances]
    answers = served.point_all(task, point_sets, options.symmetries)
    judged = [
        None if found is None else TourJudge(points).judge(found.answer, options.repair)
        for points, found in zip(point_sets, answers.best, strict=True)
    ]
    orders = [() if one is None else one.order for one in judged]
    ratios = [one.length_over_two_opt for one in judged if one is not None and one.valid]
    figures = score_tours(point_sets, references, orders)
    figures["length_over_two_opt"] = sum(ratios) / len(ratios) if ratios else None
    notes: tuple[str, ...] = ()
    if any(instance.rounded for instance in instances):
        rounded, notes = rounded_gaps(instances, references, orders)
        figures["gap_rounded"] = rounded
    return _pointing_report(data, figures, answers.refusals, judged, options, notes=notes)


def _pointing_report(
    data: str,
    figures: Figures,
    refusals: Mapping[int, InvalidRequest],
    judged: Sequence[Judged | None],
    options: PointingOptions,
    *,
    notes: tuple[str, ...] = (),
) -> Report:
    """Report on all answers; where they were repaired the figures are those after it, and how many were is one more."""
    count = len(judged)
    if options.repair is not Repair.NONE:
        repaired = sum(one is not None and one.repaired is not None for one in judged)
        figures = {**figures, "repaired": 100 * repaired / count}
    return Report(data, count, figures, (*notes, *refusal_notes(refusals, "counted as invalid answers")))
