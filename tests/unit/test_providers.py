"""Names of execution providers, what they are told, and the reason why one did not load."""

import _ctypes
from pathlib import Path

import pytest

from serving.errors import BadConfiguration
from serving.precision import CPU
from serving.runtime.config import SessionConfig
from serving.runtime.device import Device
from serving.runtime.padding import Unpadded
from serving.runtime.providers import CUDA, TENSORRT, provider_names, provider_options, why_not_loaded


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu", (CPU,)),
        ("tensorrt,cuda", (TENSORRT, CUDA)),
        (" CUDA , cpu ", (CUDA, CPU)),
        ("CUDAExecutionProvider", (CUDA,)),
        ("OpenVINOExecutionProvider", ("OpenVINOExecutionProvider",)),
        (",", ()),
    ],
)
def test_a_list_of_short_and_full_names_keeps_its_order(text, names):
    assert provider_names(text) == names


def test_what_is_not_in_the_build_is_refused_with_what_is():
    with pytest.raises(
        BadConfiguration, match=r"asked for TensorrtExecutionProvider; .* has .*CPU.*; beamstep\[gpu\] has"
    ):
        SessionConfig(providers=provider_names("tensorrt"))
    with pytest.raises(BadConfiguration, match="asked for none"):
        SessionConfig(providers=())


def test_a_gpu_keeps_its_tensors_and_pads_them_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    assert [(c.bound, c.padded) for c in map(SessionConfig, [(CPU,), (CUDA,), (TENSORRT, CUDA)])] == [
        (False, False),
        (True, True),
        (True, True),
    ]
    with pytest.raises(BadConfiguration, match="pad_to_buckets: True without io_binding"):
        SessionConfig(pad_to_buckets=True)


def test_each_provider_is_told_what_it_understands():
    assert provider_options(CPU, device_id=3, float16=True) == {}
    cuda = provider_options(CUDA, device_id=3, float16=False)
    assert (cuda["device_id"], cuda["use_tf32"]) == ("3", "0")
    tensorrt = provider_options(TENSORRT, device_id=3, float16=True, cache=Path("/engines"))
    assert tensorrt["trt_fp16_enable"] == "True"
    assert tensorrt["trt_engine_cache_path"] == "/engines"
    assert "trt_engine_cache_enable" not in provider_options(TENSORRT, device_id=3, float16=True)


def test_the_loader_says_what_is_missing(tmp_path):
    assert why_not_loaded(CUDA, tmp_path).startswith(f"{tmp_path}/libonnxruntime_providers_cuda.so is not there; CUDA")
    library = tmp_path / "libonnxruntime_providers_cuda.so"
    library.write_bytes(b"no library")
    (tmp_path / "libonnxruntime_providers_shared.so").symlink_to(_ctypes.__file__)
    assert f"{library}: " in why_not_loaded(CUDA, tmp_path)
    library.unlink()
    library.symlink_to(_ctypes.__file__)
    assert "it is the driver or the device" in why_not_loaded(CUDA, tmp_path)
    assert "own lines above" in why_not_loaded("OpenVINOExecutionProvider", tmp_path)


def test_tensors_stay_on_the_gpu_that_was_asked_for_whichever_provider_has_it():
    """TensorRT's device is CUDA's, and rows are moved there by CUDA even where nobody asked for CUDA itself."""
    for provider in (CUDA, TENSORRT):
        device = Device(provider, 2, Unpadded())
        assert (device.kind, device.number) == ("cuda", 2)
        assert device._provider == (CUDA, provider_options(CUDA, device_id=2, float16=False))
    assert (Device(CPU, 2, Unpadded()).kind, Device(CPU, 2, Unpadded()).number) == ("cpu", 0)
