"""The task's metric of answers to sources whose true answers are known, as `beamstep evaluate` computes it."""

from collections.abc import Sequence

import numpy as np

from export.certification.references import References
from export.evaluation.caption_metrics import score_captions
from export.evaluation.instances import sorted_triangle
from export.evaluation.pointing_metrics import score_hulls, score_tours, score_triangulations
from export.evaluation.translation_metrics import score_translations, target_language
from serving.bundle import Bundle
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.manifest import MetricChange
from serving.registry import TASKS
from serving.tasks.base import Task, TextTask
from serving.tasks.pointing import Delaunay, Pointing


def metric_change(bundle: Bundle, references: References, answers: Sequence[Hypothesis]) -> MetricChange | None:
    """Score the references' beam answers and the ones given; None where the true answers are not known, or no answer is any."""
    if references.golds is None:
        return None
    task = TASKS[bundle.manifest.task](bundle)
    recorded = [_hypothesis(tokens) for tokens in references.beam]
    name, pytorch = _measure(task, references, recorded)
    _, served = _measure(task, references, answers)
    if pytorch is None or served is None:
        return None
    return MetricChange(metric=name, inputs=len(references.sources), pytorch=pytorch, served=served)


def _measure(task: Task, references: References, answers: Sequence[Hypothesis]) -> tuple[str, float | None]:
    """Return the metric's name, which is that of `beamstep evaluate`, and its value."""
    assert references.golds is not None
    if isinstance(task, TextTask):
        return _measure_text(task, [tuple(map(str, gold)) for gold in references.golds], answers)
    assert isinstance(task, Pointing)
    points = [np.asarray(source["points"], np.float64) for source in references.sources]
    golds = [tuple(map(int, gold)) for gold in references.golds]
    if isinstance(task, Delaunay):
        triangles = [frozenset(map(sorted_triangle, zip(*(iter(gold),) * 3, strict=True))) for gold in golds]
        return "exact", score_triangulations(points, triangles, list(map(task.triangles, answers)))["exact"]
    indices = list(map(task.indices, answers))
    if task.bundle.manifest.task == "tour":
        return "mean_length", score_tours(points, golds, indices)["mean_length"]
    return "exact", score_hulls(points, golds, indices)["exact"]


def _measure_text(
    task: TextTask, golds: Sequence[tuple[str, ...]], answers: Sequence[Hypothesis]
) -> tuple[str, float | None]:
    texts, manifest = list(map(task.text, answers)), task.bundle.manifest
    if manifest.task == "captioning":
        return "bleu_4", score_captions(texts, golds).bleu[3]
    scores = score_translations(texts, [gold[0] for gold in golds], target_language(manifest.name, None))
    return "bleu_lower_tokenized", scores.bleu_lower_tokenized


def _hypothesis(tokens: tuple[int, ...]) -> Hypothesis:
    """Return recorded tokens as a task reads them, which looks at nothing else."""
    return Hypothesis(tokens, (0.0,) * len(tokens), 0.0, 0.0, FinishReason.END_OF_SEQUENCE)
