"""A bundle that somebody else wrote, its graphs with plain onnx.helper: it goes to the nearest point that is left."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import MANIFEST_FILE

INT64, FLOAT, DOUBLE, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL
FIRST_POSITION = 3
HIDDEN = -np.inf
END = -1000.0
"""The logit of `eos`: less than that of any point, so that the tour ends when nothing else is left."""


def write_own_bundle(folder: Path) -> None:
    """Write both graphs and a manifest without hashes, tensors and seal."""
    folder.mkdir(parents=True)
    onnx.save(encoder(), folder / "encoder.onnx")
    onnx.save(decoder_step(), folder / "decoder_step.onnx")
    manifest = {
        "format": 2,
        "name": "nearest",
        "version": "1",
        "task": "tour",
        "description": "Goes to the nearest point that is left.",
        "graphs": {"fp32": {"encoder": {"file": "encoder.onnx"}, "decoder_step": {"file": "decoder_step.onnx"}}},
        "vocabulary": {"pad": 0, "bos": 1, "eos": 2, "first_position": FIRST_POSITION},
        "defaults": {"beam_size": 1, "length_penalty": 0, "max_length": {"per_source": 1, "plus": 1}},
        "limits": {"beam_size": 8, "source_length": 50, "min_source_length": 3, "max_length": 51},
        "source_buckets": [8, 50],
        "provenance": {
            "created": "2026-11-24",
            "git_commit": "none",
            "recipe": "none",
            "seed": 0,
            "data_sources": [],
            "tool_versions": [f"onnx=={onnx.__version__}"],
        },
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")


def encoder() -> onnx.ModelProto:
    """Memory is the points themselves; the state counts steps, for a state there shall be."""
    nodes = [
        helper.make_node("Cast", ["points"], ["memory"], to=FLOAT),
        helper.make_node("Shape", ["points"], ["size"], start=1, end=2),
        helper.make_node("Squeeze", ["size"], ["length"]),
        helper.make_node("Range", ["zero", "length", "one"], ["places"]),
        helper.make_node("Unsqueeze", ["point_counts", "last"], ["counts"]),
        helper.make_node("Less", ["places", "counts"], ["memory_mask"]),
        helper.make_node("Mul", ["counts", "zero"], ["none"]),
        helper.make_node("Cast", ["none"], ["state.count"], to=FLOAT),
    ]
    inputs = [_value("points", DOUBLE, ["batch", "length", 2]), _value("point_counts", INT64, ["batch"])]
    outputs = [
        _value("memory", FLOAT, ["batch", "length", 2]),
        _value("memory_mask", BOOL, ["batch", "length"]),
        _value("state.count", FLOAT, ["batch", 1]),
    ]
    return _model(nodes, inputs, outputs, {"zero": 0, "one": 1, "last": [-1]})


def decoder_step() -> onnx.ModelProto:
    """Log-probs fall with the squared distance from the point that was chosen last, at first from point 0."""
    nodes = [
        helper.make_node("Gather", ["memory", "source"], ["points"]),  # (R, S, 2)
        helper.make_node("Gather", ["memory_mask", "source"], ["mask"]),
        helper.make_node("Gather", ["state.count", "parent"], ["count"]),
        helper.make_node("Add", ["count", "one"], ["next_state.count"]),
        helper.make_node("Sub", ["token", "first_position"], ["signed"]),
        helper.make_node("Max", ["signed", "zero"], ["place"]),
        helper.make_node("Unsqueeze", ["place", "last"], ["column"]),
        helper.make_node("GatherND", ["points", "column"], ["here"], batch_dims=1),  # (R, 2)
        helper.make_node("Unsqueeze", ["here", "middle"], ["from"]),
        helper.make_node("Sub", ["points", "from"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["distance"], keepdims=0),
        helper.make_node("Neg", ["distance"], ["near"]),
        helper.make_node("Where", ["mask", "near", "hidden"], ["of_points"]),
        helper.make_node("Softmax", ["of_points"], ["attention"], axis=-1),
        helper.make_node("Mul", ["next_state.count", "zero_float"], ["zeros"]),  # (R, 1)
        helper.make_node("Add", ["zeros", "special"], ["of_special"]),  # (R, 3)
        helper.make_node("Concat", ["of_special", "of_points"], ["logits"], axis=1),
        helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=-1),
        helper.make_node("Unsqueeze", ["query", "last"], ["queries"]),
        helper.make_node("GatherElements", ["log_probs", "queries"], ["asked"], axis=1),
        helper.make_node("Squeeze", ["asked", "last"], ["query_log_prob"]),
        helper.make_node("Shape", ["banned"], ["bans"]),
        helper.make_node("Expand", ["hidden", "bans"], ["ban_values"]),
        helper.make_node("ScatterElements", ["log_probs", "banned", "ban_values"], ["allowed"], axis=1),
        helper.make_node("Reshape", ["candidates", "last"], ["k"]),
        helper.make_node("TopK", ["allowed", "k"], ["log_prob", "candidate"], axis=1),
    ]
    rows = [_value(name, INT64, ["rows"]) for name in ("token", "parent", "source", "query")]
    inputs = [
        *rows,
        _value("memory", FLOAT, ["batch", "length", 2]),
        _value("memory_mask", BOOL, ["batch", "length"]),
        _value("state.count", FLOAT, ["rows_before", 1]),
        _value("banned", INT64, ["rows", "bans"]),
        _value("candidates", INT64, []),
    ]
    outputs = [
        _value("log_prob", FLOAT, ["rows", "k"]),
        _value("candidate", INT64, ["rows", "k"]),
        _value("query_log_prob", FLOAT, ["rows"]),
        _value("next_state.count", FLOAT, ["rows", 1]),
        _value("attention", FLOAT, ["rows", "length"]),
    ]
    constants = {"first_position": FIRST_POSITION, "zero": 0, "last": [-1], "middle": [1]}
    floats = {"one": 1.0, "zero_float": 0.0, "hidden": HIDDEN, "special": [[HIDDEN, HIDDEN, END]]}
    return _model(nodes, inputs, outputs, constants, floats)


def _value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def _model(nodes, inputs, outputs, constants, floats=()):
    initializers = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    initializers += [numpy_helper.from_array(np.array(floats[name], np.float32), name) for name in floats]
    graph = helper.make_graph(nodes, "own", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
