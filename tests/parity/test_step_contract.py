"""The step's own arithmetic on a decoder whose logits are a table: every expected number is worked out by hand."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from export.onnx_writer import trace_graphs
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence, State

INFINITY = float("inf")
TABLE = torch.tensor(
    [
        [-INFINITY, -INFINITY, 0.0, 0.0, 0.0, 0.0],  # after token 0: four ties
        [-INFINITY, -INFINITY, 1.0, 2.0, 2.0, 1.0],  # after token 1: two pairs of ties
        [-INFINITY, -INFINITY, 0.0, 0.0, 0.0, 3.0],
    ]
).repeat(2, 1)


class TableEncoder(Encoder):
    """Remembers its tokens; the state counts from 100 times the first token."""

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Memory, State]:
        tokens, lengths = inputs["source_tokens"], inputs["source_lengths"]
        mask = torch.arange(tokens.shape[1]) < lengths.unsqueeze(1)
        return Memory(tokens.unsqueeze(2).float(), mask, {"twice": 2 * tokens}), {"count": 100 * tokens[:, 0]}


class TableDecoder(Decoder):
    """Looks logits up by the last token; attention shows the memory that was read, the state what was gathered."""

    def step(self, token: Tensor, memory: Memory, state: State) -> tuple[Tensor, State, Tensor]:
        return TABLE[token], {"count": state["count"] + 1}, memory.memory[:, :, 0] + memory.extra["twice"]


@pytest.fixture(scope="module")
def step():
    example = {"source_tokens": torch.arange(1, 13).reshape(3, 4), "source_lengths": torch.tensor([4, 3, 2])}
    graphs = trace_graphs(SequenceToSequence(TableEncoder(), TableDecoder()), "translation", example)
    session = onnxruntime.InferenceSession(graphs.decoder_step.SerializeToString())

    def run(**changes):
        rows = len(changes.get("token", [1, 1]))
        feeds = {
            "token": np.ones(rows, np.int64),
            "parent": np.zeros(rows, np.int64),
            "source": np.zeros(rows, np.int64),
            "memory": np.array([[[1.0], [2.0]], [[3.0], [4.0]]], np.float32),
            "memory_mask": np.ones((2, 2), np.bool_),
            "memory.twice": np.zeros((2, 2), np.int64),
            "state.count": np.array([100, 200, 300]),
            "banned": np.zeros((rows, 0), np.int64),
            "query": np.zeros(rows, np.int64),
            "candidates": np.array(6),
        }
        feeds |= {name: np.asarray(value) for name, value in changes.items()}
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


def test_ties_go_to_the_smaller_id(step):
    outputs = step(token=[0, 1, 2])
    assert outputs["candidate"][:, :4].tolist() == [[2, 3, 4, 5], [3, 4, 2, 5], [5, 2, 3, 4]]


def test_log_probs_are_natural_and_normalised_over_what_the_model_allows(step):
    outputs = step(token=[0])
    np.testing.assert_allclose(outputs["log_prob"][0], [np.log(1 / 4)] * 4 + [-INFINITY] * 2, rtol=1e-6)


def test_bans_leave_the_others_log_probs_as_they_are(step):
    outputs = step(token=[0, 0], banned=[[3, 0], [2, 5]], candidates=3)
    assert outputs["candidate"][0].tolist() == [2, 4, 5]
    np.testing.assert_allclose(outputs["log_prob"][0], [np.log(1 / 4)] * 3, rtol=1e-6)
    assert outputs["candidate"][1, :2].tolist() == [3, 4]
    assert outputs["log_prob"][1, 2] == -INFINITY


def test_a_query_is_answered_for_a_banned_token_too(step):
    outputs = step(token=[0, 1], banned=[[4], [4]], query=[4, 0])
    np.testing.assert_allclose(outputs["query_log_prob"], [np.log(1 / 4), -INFINITY], rtol=1e-6)


def test_states_are_repeated_reordered_and_dropped_by_parent(step):
    outputs = step(token=[1, 1, 1, 1], parent=[2, 2, 0, 2])
    assert outputs["next_state.count"].tolist() == [301, 301, 101, 301]


def test_rows_share_the_memory_that_source_names(step):
    outputs = step(token=[1, 1, 1], source=[1, 0, 1], **{"memory.twice": [[10, 20], [30, 40]]})
    assert outputs["attention"].tolist() == [[33, 44], [11, 22], [33, 44]]


@pytest.mark.parametrize("candidates", [1, 2, 6])
def test_as_many_candidates_come_back_as_were_asked_for(step, candidates):
    outputs = step(token=[1, 2], candidates=candidates)
    assert outputs["log_prob"].shape == outputs["candidate"].shape == (2, candidates)
