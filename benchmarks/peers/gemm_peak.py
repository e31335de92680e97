"""How many multiply-adds a second one core does: python -m benchmarks.peers.gemm_peak prints JSON.

A process of its own, for NumPy's BLAS is told its threads before it is loaded. Each is the best of several runs of a product that
fits into the caches, as a peak should be.
"""

import json
import os

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
import onnxruntime
import typer
from onnx import helper

SIZE: Final = 384
"""Of the three sides: 1.8 MB of float32, within the caches of a core."""
RUNS: Final = 60


def gemm_peak() -> None:
    """Print the multiply-adds a second, in 10^9, of float32 in NumPy and in ONNX Runtime, and of 8 bits in ONNX Runtime."""
    random = np.random.default_rng(0)
    left, right = (random.random((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    whole = random.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
    factors = random.integers(-63, 63, (SIZE, SIZE), dtype=np.int8)
    float_session = _session("MatMul", onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, right)
    int_session = _session("MatMulInteger", onnx.TensorProto.UINT8, onnx.TensorProto.INT32, factors)
    peaks = {
        "numpy float32": _peak(lambda: left @ right),
        "onnxruntime float32": _peak(lambda: float_session.run(None, {"x": left})),
        "onnxruntime int8": _peak(lambda: int_session.run(None, {"x": whole})),
    }
    typer.echo(json.dumps(peaks))


def _session(
    operator: str, given: int, result: int, weight: "np.ndarray[tuple[int, int], np.dtype[np.generic]]"
) -> onnxruntime.InferenceSession:
    """Return a session of one product with a constant, on one thread."""
    shape = (SIZE, SIZE)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("x", given, shape)],
        [helper.make_tensor_value_info("y", result, shape)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _peak(product: Callable[[], object]) -> float:
    product()
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        product()
        times.append(time.perf_counter() - began)
    return float(SIZE**3 / min(times) / 1e9)


if __name__ == "__main__":
    typer.run(gemm_peak)
