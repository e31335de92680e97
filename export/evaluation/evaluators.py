"""One function a task: answer a corpus through serving, then score the answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from export.evaluation.caption_metrics import score_captions
from export.evaluation.captions import CaptionedImages
from export.evaluation.instances import Instance, Points, as_tour
from export.evaluation.parallel_text import ParallelText
from export.evaluation.pointing_metrics import (
    Figures,
    reference_hull,
    reference_triangulation,
    score_hulls,
    score_tours,
    score_triangulations,
)
from export.evaluation.report import SPEED, Report, refusal_notes
from export.evaluation.served import Served
from export.evaluation.translation_metrics import score_translations
from serving.bundle import Bundle
from serving.decoding.hypothesis import Hypothesis
from serving.tasks.captioning import Captioning
from serving.tasks.pointing import ConvexHull, Delaunay, Pointing, Tour
from serving.tasks.translation import Translation

Reference = TypeVar("Reference")
Answer = TypeVar("Answer")


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


def evaluate_pointing(bundle: Bundle, served: Served, instances: Sequence[Instance], data: str) -> Report:
    """Point at an answer for every instance; the bundle's task says which."""
    match bundle.manifest.task:
        case "convex_hull":
            hull = ConvexHull(bundle)
            return _point(hull, served, instances, _PointingProblem(reference_hull, hull.indices, score_hulls), data)
        case "tour":
            tour = Tour(bundle)
            return _point(tour, served, instances, _PointingProblem(as_tour, tour.indices, score_tours), data)
        case "delaunay":
            delaunay = Delaunay(bundle)
            problem = _PointingProblem(reference_triangulation, delaunay.triangles, score_triangulations)
            return _point(delaunay, served, instances, problem, data)
        case text:
            raise AssertionError(f"{text} is no pointing task")


@dataclass(frozen=True)
class _PointingProblem(Generic[Reference, Answer]):
    """What differs between pointing tasks: the reference of a line, the meaning of a hypothesis, the score of a corpus."""

    reference_of: Callable[[Instance], Reference]
    answer_of: Callable[[Hypothesis], Sequence[Answer]]
    score: Callable[[Sequence[Points], Sequence[Reference], Sequence[Sequence[Answer]]], Figures]


def _point(
    task: Pointing,
    served: Served,
    instances: Sequence[Instance],
    problem: _PointingProblem[Reference, Answer],
    data: str,
) -> Report:
    references = [problem.reference_of(instance) for instance in instances]  # first: a bad line stops before the work
    answers = served.answer_all(task, instances, lambda instance: task.source(instance.points), problem.answer_of)
    figures = problem.score(
        [instance.points for instance in instances], references, [answer or () for answer in answers.best]
    )
    return Report(data, len(instances), figures, refusal_notes(answers.refusals, "counted as invalid answers"))
