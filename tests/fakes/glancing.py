"""A Markov model that looks about: what a row attends to depends on its last two tokens, at random."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from serving.decoding.step import FloatArray, StepInputs, StepOutputs, Tensors
from tests.fakes.markov import MarkovModel, Table


class GlancingModel(MarkovModel):
    """Chains as in `MarkovModel`; row after row, attention is a function of chain, source length and the last two tokens.

    A wrong gather of attention by `parent` changes the answers of a search that scores by it.
    """

    def __init__(self, tables: Sequence[Table], seed: int = 0) -> None:
        super().__init__(tables)
        self._seed = seed
        self.look = cache(self._look)

    def _look(self, chain: int, before: int, last: int, length: int) -> FloatArray:
        """Return (length,) weights that sum to 1, most of them near 0."""
        generator = np.random.default_rng((self._seed, chain, before, last, length))
        return generator.dirichlet(np.full(length, 0.4)).astype(np.float32)

    def step(
        self, inputs: StepInputs, memory: Tensors, state: Tensors, *, attention: bool = False
    ) -> tuple[StepOutputs, Tensors]:
        outputs, after = super().step(inputs, memory, state)
        if not attention:
            return outputs, after
        before = state["state.before"][inputs.parent, 0].tolist()
        chains = memory["memory"][inputs.source, 0, 0].astype(np.int64).tolist()
        lengths = memory["memory_mask"][inputs.source].sum(axis=1).tolist()
        weights = np.zeros((len(before), memory["memory_mask"].shape[1]), np.float32)
        for row, about in enumerate(zip(chains, before, inputs.token.tolist(), lengths, strict=True)):
            weights[row, : about[-1]] = self.look(*about)
        return StepOutputs(outputs.log_prob, outputs.candidate, outputs.query_log_prob, weights), after
