"""The end of a step picks what sorting the whole table would, whichever way it takes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from export.selection import FEW_BANS, append_selection, cut_selection


def model_of(size):
    """A graph whose logits (R, V) are its input; `size` is V, or "V" where it is free."""
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, ["R", size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["R", size])
    kept = helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["R", size])
    nodes = [
        helper.make_node("Identity", ["given"], ["logits"], "one"),
        helper.make_node("Neg", ["given"], ["kept"], "two"),
    ]
    graph = helper.make_graph(nodes, "step", [given], [logits, kept])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(params=[120, 97, 6000, "V"], ids=str)
def session(request):
    """Vocabularies that have blocks, that have none, that are large, that are free."""
    model = model_of(request.param)
    append_selection(model)
    onnx.checker.check_model(model, full_check=True)
    size = request.param if isinstance(request.param, int) else 41
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]), size


def expected(log_probs, banned, k):
    allowed = log_probs.copy()
    allowed[np.arange(len(banned))[:, None], banned] = -np.inf
    best = np.argsort(-allowed, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(allowed, best, 1), best


@pytest.mark.parametrize("bans", [0, 1, FEW_BANS, FEW_BANS + 1, 30])
@pytest.mark.parametrize("k", [1, 2, 7, 20])
def test_the_best_are_those_of_a_sort(session, bans, k):
    run, size = session
    random = np.random.default_rng(bans * 100 + k)
    logits = random.normal(size=(6, size)).astype(np.float32)
    likely = np.argsort(-logits, axis=1)[:, : max(3 * k, bans)]
    banned = np.stack([random.choice(row, bans) for row in likely]) if bans else np.zeros((6, 0), np.int64)
    query = random.integers(0, size, 6)
    feeds = {"given": logits, "banned": banned, "query": query, "candidates": np.array(k)}
    log_prob, candidate, query_log_prob = run.run(["log_prob", "candidate", "query_log_prob"], feeds)
    log_probs = run.run(
        ["log_prob", "candidate"], feeds | {"candidates": np.array(size), "banned": np.zeros((6, 0), np.int64)}
    )
    table = np.empty_like(logits)
    np.put_along_axis(table, log_probs[1], log_probs[0], 1)
    np.testing.assert_allclose(np.exp(table).sum(1), 1, rtol=1e-5)
    wanted, ids = expected(table, banned, k)
    np.testing.assert_array_equal(log_prob, wanted)
    real = np.isfinite(wanted)
    np.testing.assert_array_equal(candidate[real], ids[real])
    np.testing.assert_array_equal(query_log_prob, table[np.arange(6), query])


@pytest.mark.parametrize("bans", [0, 3, FEW_BANS + 1])
def test_ties_go_to_the_smaller_id(session, bans):
    run, size = session
    random = np.random.default_rng(7)
    logits = random.integers(0, 3, (8, size)).astype(np.float32)
    banned = random.integers(0, size, (8, bans))
    feeds = {"given": logits, "banned": banned, "query": banned[:, 0] if bans else np.zeros(8, np.int64)}
    _, candidate = run.run(["log_prob", "candidate"], feeds | {"candidates": np.array(10)})
    _, ids = expected(logits, banned, 10)
    np.testing.assert_array_equal(candidate, ids)


def test_a_banned_token_is_given_last_and_with_no_probability(session):
    run, size = session
    logits = np.zeros((1, size), np.float32)
    banned = np.arange(min(size - 2, FEW_BANS))[None]
    feeds = {"given": logits, "banned": banned, "query": np.array([0]), "candidates": np.array(size)}
    log_prob, candidate = run.run(["log_prob", "candidate"], feeds)
    assert sorted(candidate[0]) == list(range(size))
    assert np.isneginf(log_prob[0, -banned.shape[1] :]).all()
    assert np.isfinite(log_prob[0, : -banned.shape[1]]).all()


def test_cutting_undoes_appending():
    model = model_of(6000)
    before = model.graph.SerializeToString(deterministic=True)
    append_selection(model)
    cut = cut_selection(model)
    del cut.graph.value_info[:]
    assert cut.graph.SerializeToString(deterministic=True) == before
