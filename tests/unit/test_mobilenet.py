"""The frozen network: SAME padding, 8-bit weights, shapes and names."""

import numpy as np
import pytest
import torch

from training.models.convolution import QuantizedConvolution, same_padding
from training.models.mobilenet import MobileNetV2, MobileNetV2Classifier, load_weights


def convolution_of(weight, stride=1):
    """One channel in and out, the integers 1 above zero's stand-in for every 1 of `weight`, scale 1."""
    kernel = len(weight)
    layer = QuantizedConvolution(1, 1, kernel, stride)
    layer.weight_q.copy_(torch.tensor(weight)[None, None] + 100)
    layer.weight_zero.fill_(100)
    return layer


def write_random_weights(path, seed=0):
    """Write weights of a whole network whose activations neither die nor saturate."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, tensor in MobileNetV2Classifier().state_dict().items():
        shape = tuple(tensor.shape)
        match name.rsplit(".", 1)[1]:
            case "weight_q":
                arrays[name] = random.integers(0, 256, shape, dtype=np.uint8)
                fan_in = np.prod(shape[1:])
            case "weight_scale":
                arrays[name] = np.float32(1.5 / 74 / np.sqrt(fan_in))
            case "weight_zero":
                arrays[name] = np.uint8(127)
            case "bias":
                arrays[name] = random.normal(0.1, 0.1, shape).astype(np.float32)
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (7, 3, 1, (1, 1)),
        (5, 1, 1, (0, 0)),
        (8, 5, 2, (1, 2)),
        (6, 1, 2, (0, 0)),
    ],
)
def test_same_padding_puts_the_odd_zero_after(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


def test_a_stride_two_convolution_sums_the_windows_that_start_at_even_pixels():
    layer = convolution_of([[1, 1, 1], [1, 1, 1], [1, 1, 1]], stride=2)
    image = torch.arange(16.0).view(1, 1, 4, 4)
    # Windows start at rows and columns 0 and 2; what lies beyond the last row and column is 0.
    expected = [
        [0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11],
        [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15],
    ]
    assert layer(image)[0, 0].tolist() == expected


def test_a_stride_one_convolution_keeps_the_size():
    layer = convolution_of([[0, 0, 0], [0, 0, 1], [0, 0, 0]])
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert layer(image)[0, 0].tolist() == [[1, 2, 0], [4, 5, 0], [7, 8, 0]]


def test_a_weight_is_scale_times_integer_less_zero():
    layer = QuantizedConvolution(1, 3, kernel=1)
    layer.weight_q.copy_(torch.tensor([0, 130, 255]).view(3, 1, 1, 1))
    layer.weight_zero.fill_(130)
    layer.weight_scale.fill_(0.25)
    assert layer.weight().flatten().tolist() == [-32.5, 0.0, 31.25]


def test_groups_filter_each_channel_alone():
    layer = QuantizedConvolution(2, 2, kernel=1, groups=2)
    layer.weight_q.copy_(torch.tensor([2, 3]).view(2, 1, 1, 1))
    layer.bias.copy_(torch.tensor([0.0, 10.0]))
    assert layer(torch.ones(1, 2, 1, 1)).flatten().tolist() == [2.0, 13.0]


def test_the_network_has_the_names_shapes_and_size_of_the_weight_file():
    state = MobileNetV2Classifier().state_dict()
    assert len(state) == 4 * 53
    assert sum(tensor.numel() for name, tensor in state.items() if name.endswith(("weight_q", "bias"))) == 3_489_097
    assert state["features.0.0.weight_q"].shape == (32, 3, 3, 3)
    assert state["features.1.conv.0.0.weight_q"].shape == (32, 1, 3, 3)
    assert state["features.1.conv.1.weight_q"].shape == (16, 32, 1, 1)
    assert state["features.17.conv.1.0.weight_q"].shape == (960, 1, 3, 3)
    assert state["features.17.conv.2.weight_q"].shape == (320, 960, 1, 1)
    assert state["features.18.0.weight_q"].shape == (1280, 320, 1, 1)
    assert state["classifier.1.weight_q"].shape == (1001, 1280, 1, 1)
    assert {tensor.dtype for name, tensor in state.items() if name.endswith(("_q", "_zero"))} == {torch.uint8}


def test_only_the_first_block_of_a_stage_halves_the_image_and_the_others_have_shortcuts():
    blocks = list(MobileNetV2().features)[1:-1]
    strides = [list(block.conv)[-2][0].stride for block in blocks]
    assert [index for index, stride in enumerate(strides, start=1) if stride == 2] == [2, 4, 7, 14]
    assert [index for index, block in enumerate(blocks, start=1) if not block.has_shortcut] == [1, 2, 4, 7, 11, 14, 17]


def test_an_image_gives_49_cells_and_batches_give_the_same_numbers(tmp_path):
    write_random_weights(tmp_path / "weights.npz")
    network = MobileNetV2().eval()
    load_weights(network, tmp_path / "weights.npz")
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features, alone = network(images), network(images[1:])
    assert features.shape == (2, 49, 1280)
    assert features.dtype == torch.float32
    assert features.min() >= 0
    assert features.max() <= 6
    assert features.std() > 0.01
    torch.testing.assert_close(features[1:], alone, rtol=1e-4, atol=1e-4)  # other tilings, other orders of summing


def test_loading_fills_every_layer_and_refuses_a_file_that_lacks_one(tmp_path):
    arrays = write_random_weights(tmp_path / "weights.npz")
    network = MobileNetV2()
    load_weights(network, tmp_path / "weights.npz")
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), arrays[name])
    del arrays["features.3.conv.2.bias"]
    np.savez(tmp_path / "lacking.npz", **arrays)
    with pytest.raises(RuntimeError, match=r"features\.3\.conv\.2\.bias"):
        load_weights(MobileNetV2(), tmp_path / "lacking.npz")


def test_the_classifier_scores_1001_classes(tmp_path):
    write_random_weights(tmp_path / "weights.npz")
    network = MobileNetV2Classifier().eval()
    load_weights(network, tmp_path / "weights.npz")
    with torch.inference_mode():
        logits = network(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    assert logits.shape == (1, 1001)
    assert logits.std() > 0
