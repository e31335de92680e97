"""A model that knows its answer from the start: a plan made of the source, followed token by token."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.decoding.step import Encoded, StepInputs, StepOutputs, Tensors
from serving.session import SessionConfig
from serving.tasks.geometry import convex_hull

Inputs = Mapping[str, NDArray[np.generic]]
PLAN_LENGTH = 128
FIRST_POSITION = 3
FAVOURED = 0.9
"""Probability of the planned token; the others share the rest evenly."""


class PlannedModel:
    """Follows `plan(inputs)`, tokens without `eos`; looks at one source position after the other.

    Attributes:
        turn: set while steps may run; clear it to hold the engine between two steps.
        steps: how many were run.
    """

    def __init__(self, plan: Callable[[Inputs], Sequence[int]], vocabulary_size: int | None) -> None:
        self._plan = plan
        self._vocabulary_size = vocabulary_size
        self.turn = threading.Event()
        self.turn.set()
        self.step_s = 0.0
        self.steps = 0

    def warm_up(self) -> None:
        """Nothing is cold."""

    def encode(self, inputs: Sequence[Inputs]) -> Encoded:
        lengths = [_length(source) for source in inputs]
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        plans = np.full((len(inputs), PLAN_LENGTH), 2)
        for row, source in zip(plans, inputs, strict=True):
            plan = self._plan(source)
            row[: len(plan)] = plan
        memory = mask[..., None].astype(np.float32)
        return Encoded(
            {"memory": memory, "memory_mask": mask},
            {"state.plan": plans, "state.place": np.zeros((len(inputs), 1), np.int64)},
        )

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        self.turn.wait(timeout=20)
        time.sleep(self.step_s)
        self.steps += 1
        plan, place = state["state.plan"][inputs.parent], state["state.place"][inputs.parent]
        mask = memory["memory_mask"][inputs.source]
        size = self._vocabulary_size or FIRST_POSITION + mask.shape[1]
        rows = np.arange(len(plan))
        others = mask.sum(axis=1, keepdims=True) if self._vocabulary_size is None else size - 3
        log_prob = np.empty((len(plan), size), np.float32)
        log_prob[:] = np.log((1 - FAVOURED) / others)
        log_prob[:, :2] = -np.inf
        if self._vocabulary_size is None:
            log_prob[:, FIRST_POSITION:][~mask] = -np.inf
        log_prob[rows, plan[rows, place[:, 0]]] = np.log(FAVOURED)
        query = log_prob[rows, inputs.query]
        log_prob[rows[:, None], inputs.banned] = -np.inf
        candidate = np.argsort(-log_prob, axis=1, kind="stable")[:, : inputs.candidates]
        weights = (np.arange(mask.shape[1]) == place % mask.sum(axis=1, keepdims=True)).astype(np.float32)
        outputs = StepOutputs(
            np.take_along_axis(log_prob, candidate, axis=1), candidate, query, weights if attention else None
        )
        return outputs, {"state.plan": plan, "state.place": place + 1}


def open_planned(bundle: Bundle, config: SessionConfig) -> PlannedModel:
    """Stand in for OnnxModel: texts are echoed, an image gets a fixed caption, hulls and tours are right."""
    plans: dict[str, Callable[[Inputs], Sequence[int]]] = {
        "translation": lambda inputs: inputs["source_tokens"].tolist()[:-1],
        "captioning": lambda inputs: [4 + int(inputs["image"].mean() > 127), 6, 7],
        "convex_hull": lambda inputs: [FIRST_POSITION + corner for corner in convex_hull(inputs["points"])],
        "tour": lambda inputs: range(FIRST_POSITION, FIRST_POSITION + len(inputs["points"])),
        "delaunay": lambda inputs: _fan(convex_hull(inputs["points"])),
    }
    return PlannedModel(plans[bundle.manifest.task], bundle.manifest.vocabulary.size)


def _fan(hull: Sequence[int]) -> list[int]:
    """Triangulate a convex polygon from its first corner; right where no point is inside."""
    tokens = [FIRST_POSITION + corner for corner in hull]
    return [token for b, c in pairwise(tokens[1:]) for token in (tokens[0], b, c)]


def _length(source: Inputs) -> int:
    if "image" in source:
        return 6
    return len(source["source_tokens" if "source_tokens" in source else "points"])
