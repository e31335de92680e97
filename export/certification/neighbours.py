"""Whether a row's log-probs depend on what is beside it: on other rows of the step, and on sources encoded with its own."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.certification.sources import Source
from serving.decoding.step import Encoded, Model, StepInputs, StepOutputs
from serving.errors import ModelFault
from serving.manifest import Manifest

ROWS: Final = (2, 5, 20, 40, 80, 161)
SOURCES: Final = 33
PATHS: Final = 5
"""Rows of one source, which part at the first token, as in a beam."""
STEPS: Final = 4
CANDIDATES: Final = 5
INFINITE: Final = 1e6
"""Stands for an infinite change, which JSON cannot hold."""


class Influence(NamedTuple):
    """The largest changes of a log-prob, relative where the log-prob is above 1 in size.

    Attributes:
        of_rows: by other rows in the step, the encoder memory being the same.
        of_sources: by encoding the row's source in one batch with others, of other lengths, and padding it to the longest.
    """

    of_rows: float
    of_sources: float


class _Path(NamedTuple):
    """A row to be decoded: its source's number, and what each of STEPS steps is told, `bos` first."""

    source: int
    tokens: tuple[int, ...]

    @property
    def query(self) -> int:
        """Return the token that is asked about at every step."""
        return self.tokens[1]


def measure_influence(manifest: Manifest, model: Model, sources: Sequence[Source]) -> Influence:
    """Compare rows alone with the same rows beside others, at each step in another order.

    Args:
        manifest: the special ids.
        model: the one to ask.
        sources: of different lengths; the first `SOURCES` are used.

    Raises:
        ModelFault: a log-prob is no number.
    """
    chosen = sources[:SOURCES]
    together = model.encode(chosen)
    paths: list[_Path] = []
    alone, beside_sources = [], []
    for place, source in enumerate(chosen):
        encoded = model.encode([source])
        for path in _paths(manifest, model, encoded, place):
            paths.append(path)
            alone.append(_step_alone(model, encoded, 0, path))
            beside_sources.append(_step_alone(model, together, place, path))
    random = np.random.default_rng(0)
    of_rows = []
    for rows in ROWS:
        some = random.permutation(np.resize(np.arange(len(paths)), rows))
        said = _step_together(model, together, [paths[place] for place in some], random)
        of_rows.append(_change(np.array([beside_sources[place] for place in some]), said))
    return Influence(max(of_rows), _change(np.array(alone), np.array(beside_sources)))


def _paths(manifest: Manifest, model: Model, encoded: Encoded, place: int) -> list[_Path]:
    """Return rows of one source: told `bos`, one of the likeliest first tokens, and then the same again; which does not matter.

    Nothing is ever asked after `eos`.
    """
    vocabulary = manifest.vocabulary
    outputs, _ = model.step(_only(0, vocabulary.bos, vocabulary.bos, 0), encoded.memory, encoded.state)
    _said(outputs)
    possible = outputs.candidate[0, np.isfinite(outputs.log_prob[0])].tolist()
    likeliest = [token for token in possible if token != vocabulary.eos][:PATHS]
    return [_Path(place, (vocabulary.bos, *[token] * (STEPS - 1))) for token in likeliest]


def _step_alone(model: Model, encoded: Encoded, source: int, path: _Path) -> NDArray[np.float64]:
    """Step a single row that reads one source of those encoded; return what is said, (STEPS, CANDIDATES + 1)."""
    said, state, parent = [], encoded.state, source  # the first state has one row a source
    for token in path.tokens:
        outputs, state = model.step(_only(source, token, path.query, parent), encoded.memory, state)
        said.append(_said(outputs)[0])
        parent = 0
    return np.array(said)


def _step_together(
    model: Model, encoded: Encoded, paths: Sequence[_Path], random: np.random.Generator
) -> NDArray[np.float64]:
    """Step all paths in one batch, their order another at each step; return what is said, (paths, STEPS, CANDIDATES + 1)."""
    sources = np.array([path.source for path in paths])
    tokens = np.array([path.tokens for path in paths])
    queries = np.array([path.query for path in paths])
    none = np.zeros((len(paths), 0), np.int64)
    state, row_of_path, said = encoded.state, sources, []
    for step in range(STEPS):
        order = random.permutation(len(paths))
        inputs = StepInputs(
            tokens[order, step], row_of_path[order], sources[order], none, queries[order], candidates=CANDIDATES
        )
        outputs, state = model.step(inputs, encoded.memory, state)
        row_of_path = np.argsort(order)
        said.append(_said(outputs)[row_of_path])
    return np.stack(said, axis=1)


def _change(alone: NDArray[np.float64], beside: NDArray[np.float64]) -> float:
    """Return the largest change; minus infinity, which some tokens always have, may stay so."""
    with np.errstate(invalid="ignore"):
        change = np.where(alone == beside, 0, np.abs(beside - alone) / np.maximum(1, np.abs(alone)))
    return min(float(np.nan_to_num(change, nan=np.inf).max(initial=0)), INFINITE)


def _said(outputs: StepOutputs) -> NDArray[np.float64]:
    """Return the log-probs of all rows (R, CANDIDATES + 1), that of the query last.

    Raises:
        ModelFault: one is no number, or a row's best is not finite.
    """
    said = np.column_stack((outputs.log_prob, outputs.query_log_prob)).astype(np.float64)
    if np.isnan(said).any() or not np.isfinite(said[:, 0]).all():
        raise ModelFault("the model's log-probs are not numbers")
    return said


def _only(source: int, token: int, query: int, parent: int) -> StepInputs:
    """Return what a single row is told."""
    none = np.zeros((1, 0), np.int64)
    return StepInputs(
        np.array([token]), np.array([parent]), np.array([source]), none, np.array([query]), candidates=CANDIDATES
    )
