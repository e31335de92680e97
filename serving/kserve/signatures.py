"""Which tensors each task takes and gives, and which typed request stands behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from beamstep.v1 import captioning_pb2, decoding_pb2, pointing_pb2, translation_pb2
from serving.kserve.outputs import Output
from serving.kserve.sources import Payload, Tensors, images, point_sets, texts
from serving.kserve.tensors import BYTES, Input
from serving.manifest import TaskName
from serving.tasks.base import Task

SOURCES: Final = (-1,)
HYPOTHESES: Final = (-1, -1)
LISTS: Final = (-1, -1, -1)
WORST: Final = float("-inf")
NONE: Final = -1


@dataclass(frozen=True)
class Signature:
    """A task in tensors.

    Attributes:
        request: the typed request that stands for one source.
        inputs: what the task takes.
        sources: turns them into fields of typed requests, one a source.
        outputs: what it gives.
    """

    request: type[Message]
    inputs: tuple[Input, ...]
    sources: Callable[[Tensors, Task], list[Payload]]
    outputs: tuple[Output, ...]


def _finish_reason(hypothesis: Any) -> str:
    name = decoding_pb2.FinishReason.Name(hypothesis.decoding.finish_reason)
    return name.removeprefix("FINISH_REASON_")


SEARCH: Final = (
    Output("score", "FP32", HYPOTHESES, lambda found: found.decoding.score, WORST),
    Output("log_prob", "FP32", HYPOTHESES, lambda found: found.decoding.log_prob, WORST),
    Output("token_count", "INT32", HYPOTHESES, lambda found: len(found.decoding.tokens)),
    Output("finish_reason", BYTES, HYPOTHESES, _finish_reason, ""),
    Output("hypothesis_count", "INT32", SOURCES, lambda answer: len(answer.hypotheses)),
    Output("deadline_reached", "BOOL", SOURCES, lambda answer: answer.deadline_reached),
)
REPAIRED: Final = Output(
    "repaired", "BOOL", HYPOTHESES, lambda found: found.repair_outcome == pointing_pb2.REPAIR_OUTCOME_REPAIRED, False
)
VALID: Final = Output("valid", "BOOL", HYPOTHESES, lambda found: found.valid, False)
EXACT: Final = Output("exact", "BOOL", HYPOTHESES, lambda found: found.exact, False)
INDICES: Final = (
    Output("indices", "INT32", LISTS, lambda found: found.point_indices, NONE),
    Output("length", "INT32", HYPOTHESES, lambda found: len(found.point_indices)),
)
POINTS: Final = (
    Input("points", ("FP64", "FP32"), ((-1, -1, 2),), alone=(-1, 2)),
    Input("point_counts", ("INT32", "INT64"), ((-1,), (-1, 1)), required=False),
)
SIGNATURES: Final[Mapping[TaskName, Signature]] = {
    "translation": Signature(
        translation_pb2.TranslateTextRequest,
        (Input("text", (BYTES,), ((-1,), (-1, 1))),),
        texts,
        (Output("text", BYTES, HYPOTHESES, lambda found: found.text, ""), *SEARCH),
    ),
    "captioning": Signature(
        captioning_pb2.CaptionImageRequest,
        (Input("image", (BYTES,), ((-1,), (-1, 1))),),
        images,
        (Output("text", BYTES, HYPOTHESES, lambda found: found.caption, ""), *SEARCH),
    ),
    "convex_hull": Signature(
        pointing_pb2.FindConvexHullRequest,
        POINTS,
        point_sets,
        (
            *INDICES,
            *SEARCH,
            VALID,
            EXACT,
            Output("area", "FP64", HYPOTHESES, lambda found: found.area),
            Output("area_coverage", "FP64", HYPOTHESES, lambda found: found.area_coverage),
            REPAIRED,
            Output("changed_corner_count", "INT32", HYPOTHESES, lambda found: found.changed_corner_count),
        ),
    ),
    "delaunay": Signature(
        pointing_pb2.FindDelaunayTriangulationRequest,
        POINTS,
        point_sets,
        (
            Output(
                "triangles",
                "INT32",
                (*LISTS, 3),
                lambda found: [(corner.a, corner.b, corner.c) for corner in found.triangles],
                NONE,
            ),
            Output("length", "INT32", HYPOTHESES, lambda found: len(found.triangles)),
            *SEARCH,
            VALID,
            EXACT,
            Output("triangle_coverage", "FP64", HYPOTHESES, lambda found: found.triangle_coverage),
            REPAIRED,
            Output("changed_triangle_count", "INT32", HYPOTHESES, lambda found: found.changed_triangle_count),
        ),
    ),
    "tour": Signature(
        pointing_pb2.FindTourRequest,
        POINTS,
        point_sets,
        (
            *INDICES,
            *SEARCH,
            VALID,
            Output("tour_length", "FP64", HYPOTHESES, lambda found: found.length),
            Output("length_over_two_opt", "FP64", HYPOTHESES, lambda found: found.length_over_two_opt),
            REPAIRED,
            Output("changed_edge_count", "INT32", HYPOTHESES, lambda found: found.changed_edge_count),
        ),
    ),
}
