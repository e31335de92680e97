"""The ranges of shapes that TensorRT is told of, written as ONNX Runtime reads them."""

import pytest

from serving.manifest import GraphSpec, Manifest, TensorSpec
from serving.runtime.padding import Padding
from serving.runtime.profiles import profile_options, ranges
from tests.fakes.bundles import write_bundle

PADDING = Padding((8, 32))


def spec(name, dtype, *axes):
    return TensorSpec(name=name, dtype=dtype, axes=axes)


def test_profiles_reach_from_the_smallest_bucket_to_the_servers_limits(translation_manifest):
    sizes = ranges(translation_manifest, PADDING, batch_rows=100, batch_sources=20)
    graph = GraphSpec(
        file="step.onnx",
        sha256="0" * 64,
        inputs=(
            spec("token", "int64", "R"),
            spec("memory.keys", "float32", "N", "S", 512),
            spec("state.hidden", "float32", "Q", 512),
            spec("banned", "int64", "R", "M"),
            spec("candidates", "int64"),
        ),
        outputs=(),
    )
    assert profile_options(graph, sizes) == {
        "trt_profile_min_shapes": "token:1,memory.keys:1x8x512,state.hidden:1x512,banned:1x1,candidates:1",
        "trt_profile_opt_shapes": "token:32,memory.keys:8x32x512,state.hidden:32x512,banned:32x1,candidates:5",
        "trt_profile_max_shapes": "token:128,memory.keys:64x40x512,state.hidden:256x512,banned:128x4096,candidates:65536",
    }


@pytest.fixture
def translation_manifest(tmp_path) -> Manifest:
    manifest = write_bundle(tmp_path, "translation").manifest
    limits = manifest.limits.model_copy(update={"source_length": 40})
    return manifest.model_copy(update={"source_buckets": (8, 32), "limits": limits})
