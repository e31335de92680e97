"""A model whose next token depends on the last two through a table: exact, so that expected beams are worked out on paper."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.decoding.options import SpecialTokens
from serving.decoding.step import Encoded, StepInputs, StepOutputs, Tensors

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2)
FIRST = 3
"""The first token that means something, and in pointing the first position."""

Table = NDArray[np.float32]
"""(V, V, V) log-probs: the token before the last, the last token, the next token."""


class MarkovModel:
    """Chains by number; a source names its chain and its length.

    The token before the last travels in the state, so that a wrong gather by `parent` changes the answers, and the chain is
    read from the memory, so that a wrong `source` does. Step t attends to position t mod length alone.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = np.stack([np.asarray(table, np.float32) for table in tables])
        self.steps: list[StepInputs] = []
        self.encoded: list[int] = []

    def encode(self, inputs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Encoded:
        chains = [int(source["chain"]) for source in inputs]
        lengths = np.array([int(source["length"]) for source in inputs])
        self.encoded.append(len(inputs))
        mask = np.arange(lengths.max()) < lengths[:, None]
        memory = np.where(mask[..., None], np.array(chains, np.float32)[:, None, None], np.float32(0))
        rows = len(inputs)
        state: Tensors = {
            "state.before": np.full((rows, 1), SPECIAL.bos, np.int64),
            "state.step": np.zeros((rows, 1), np.int64),
        }
        return Encoded({"memory": memory, "memory_mask": mask}, state)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        self._check(inputs, memory, state)
        self.steps.append(inputs)
        before = state["state.before"][inputs.parent, 0]
        step = state["state.step"][inputs.parent, 0]
        chain = memory["memory"][inputs.source, 0, 0].astype(np.int64)
        log_prob = self.tables[chain, before, inputs.token].copy()  # (R, V)
        rows = np.arange(len(log_prob))
        query_log_prob = log_prob[rows, inputs.query]
        log_prob[rows[:, None], inputs.banned] = -np.inf
        first = np.where(np.isnan(log_prob), -np.inf, -log_prob)  # what is no number comes first, as torch.topk has it
        candidate = np.argsort(first, axis=1, kind="stable")[:, : inputs.candidates]
        best = np.take_along_axis(log_prob, candidate, axis=1)
        weights = None
        if attention:
            mask = memory["memory_mask"][inputs.source]
            weights = (np.arange(mask.shape[1]) == (step % mask.sum(axis=1))[:, None]).astype(np.float32)
        outputs = StepOutputs(best, candidate, query_log_prob, weights)
        return outputs, {"state.before": inputs.token[:, None], "state.step": (step + 1)[:, None]}

    def _check(self, inputs: StepInputs, memory: Tensors, state: Tensors) -> None:
        """State the step contract of docs/architecture.md."""
        rows = len(inputs.token)
        assert rows >= 1
        for array in (inputs.token, inputs.parent, inputs.source, inputs.query):
            assert array.shape == (rows,)
            assert array.dtype == np.int64
        assert inputs.banned.shape[0] == rows
        assert inputs.banned.dtype == np.int64
        assert inputs.parent.min() >= 0
        assert inputs.parent.max() < len(state["state.before"])
        assert inputs.source.min() >= 0
        assert inputs.source.max() < len(memory["memory"])
        assert memory["memory"].shape[:2] == memory["memory_mask"].shape
        assert 1 <= inputs.candidates <= self.tables.shape[-1]


def source(chain: int = 0, length: int = 3) -> dict[str, NDArray[np.generic]]:
    """Return one source."""
    return {"chain": np.array(chain), "length": np.array(length)}


def first_order(probabilities: Mapping[int, Mapping[int, float]], vocabulary_size: int) -> Table:
    """Return a table from the probabilities of what follows each token; unnamed ones are 0."""
    table = np.zeros((vocabulary_size, vocabulary_size))
    for last, following in probabilities.items():
        for token, probability in following.items():
            table[last, token] = probability
    with np.errstate(divide="ignore"):
        return np.broadcast_to(np.log(table), (vocabulary_size, *table.shape)).astype(np.float32)


def random_table(seed: int, vocabulary_size: int, *, sharpness: float = 2.0, levels: int | None = None) -> Table:
    """Return a random table; `levels` logits only, where given, so that many continuations are tied."""
    generator = np.random.default_rng(seed)
    shape = (vocabulary_size, vocabulary_size, vocabulary_size)
    logits = generator.normal(0, sharpness, shape) if levels is None else generator.integers(0, levels, shape) * 1.0
    logits[..., [SPECIAL.pad, SPECIAL.bos]] = -np.inf
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return np.asarray(log_probs, np.float32)
