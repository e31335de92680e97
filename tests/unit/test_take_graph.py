"""The graph that moves rows on a device, held against the onnx package."""

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.runtime.take_graph import ELEMENT_TYPES, IR_VERSION, OPSET, take_graph

dtypes = pytest.mark.parametrize("dtype", ELEMENT_TYPES)
axes = pytest.mark.parametrize("axis", [0, 1])


@dtypes
@axes
def test_its_bytes_are_those_that_the_onnx_package_reads_as_this_graph(dtype, axis):
    read = onnx.load_from_string(take_graph(dtype, 3, axis))
    onnx.checker.check_model(read, full_check=True)
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = {
        name: onnx.helper.make_tensor_value_info(name, kind, [None] * rank)
        for name, kind, rank in (
            ("first", element, 3),
            ("second", element, 3),
            ("indices", onnx.TensorProto.INT64, 1),
            ("taken", element, 3),
        )
    }
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Concat", ["first", "second"], ["both"], axis=axis),
            onnx.helper.make_node("Gather", ["both", "indices"], ["taken"], axis=axis),
        ],
        "take",
        [values["first"], values["second"], values["indices"]],
        [values["taken"]],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    written = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    opset.ClearField("domain")  # the same opset, not written out
    written.opset_import[0].ClearField("domain")
    assert read == written


@dtypes
@axes
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_it_takes_from_both(dtype, axis, rank):
    random = np.random.default_rng(rank)
    first, second = (random.integers(0, 2, [3, 3, *[2] * (rank - 2)]).astype(dtype) for _ in range(2))
    indices = np.array([5, 0, 0, 3])
    session = onnxruntime.InferenceSession(take_graph(dtype, rank, axis))
    [taken] = session.run(None, {"first": first, "second": second, "indices": indices})
    np.testing.assert_array_equal(taken, np.concatenate([first, second], axis).take(indices, axis))
