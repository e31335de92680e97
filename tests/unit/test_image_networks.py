"""Image networks against the published architectures: parameters, operations, names, strides, and blocks worked out by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.fakes.networks import NARROW, narrow_network, noise
from training.models.densenet import DenseBlock, Transition
from training.models.image_network import EPSILON, FrozenBatchNorm, ImageNetNetwork
from training.models.mobilenet_float import FloatMobileNetV2
from training.models.networks import EIGHT_BIT, NETWORKS
from training.models.resnet import PLANS, BasicBlock, Bottleneck

FLOAT_KINDS = [kind for kind in NETWORKS if kind != EIGHT_BIT]
CLASSES = 1000
# With the classifier of 1000 classes: parameters, and 10^9 multiplications of an image, as torchvision's page states them.
PUBLISHED = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "densenet121": (7_978_856, 2.834),
    "mobilenet_v2": (3_504_872, 0.301),
}
FEATURE_SIZES = {"resnet18": 512, "resnet34": 512, "densenet121": 1024, "mobilenet_v2": 1280}
SHAPES = {
    "resnet34": {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.2.conv2.weight": (64, 64, 3, 3),
        "layer3.0.conv1.weight": (256, 128, 3, 3),
        "layer3.0.downsample.0.weight": (256, 128, 1, 1),
        "layer4.2.bn2.running_var": (512,),
    },
    "resnet50": {
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer2.0.conv1.weight": (128, 256, 1, 1),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "layer4.0.downsample.1.running_mean": (2048,),
    },
    "densenet121": {
        "features.conv0.weight": (64, 3, 7, 7),
        "features.denseblock1.denselayer1.conv1.weight": (128, 64, 1, 1),
        "features.denseblock3.denselayer24.conv1.weight": (128, 992, 1, 1),
        "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
        "features.transition2.conv.weight": (256, 512, 1, 1),
        "features.norm5.weight": (1024,),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.17.conv.1.0.weight": (960, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.bias": (320,),
        "features.18.1.running_var": (1280,),
    },
}


def on_paper(kind):
    """A whole network without memory for its weights."""
    with torch.device("meta"):
        return NETWORKS[kind]()


def norm_names(name):
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def resnet_names(bottleneck, repeats):
    names = ["conv1.weight", *norm_names("bn1")]
    for layer, count in enumerate(repeats, start=1):
        for block in range(count):
            for number in range(1, 4 if bottleneck else 3):
                names += [f"layer{layer}.{block}.conv{number}.weight", *norm_names(f"layer{layer}.{block}.bn{number}")]
        if layer > 1 or bottleneck:
            names += [f"layer{layer}.0.downsample.0.weight", *norm_names(f"layer{layer}.0.downsample.1")]
    return names


def densenet_names():
    names = ["features.conv0.weight", *norm_names("features.norm0"), *norm_names("features.norm5")]
    for block, count in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, count + 1):
            for number in (1, 2):
                place = f"features.denseblock{block}.denselayer{layer}"
                names += [f"{place}.conv{number}.weight", *norm_names(f"{place}.norm{number}")]
    for number in (1, 2, 3):
        place = f"features.transition{number}"
        names += [f"{place}.conv.weight", *norm_names(f"{place}.norm")]
    return names


def mobilenet_names():
    names = []
    for place in ["features.0", "features.18"]:
        names += [f"{place}.0.weight", *norm_names(f"{place}.1")]
    for block in range(1, 18):
        place = f"features.{block}.conv"
        clipped = 1 if block == 1 else 2
        for number in range(clipped):
            names += [f"{place}.{number}.0.weight", *norm_names(f"{place}.{number}.1")]
        names += [f"{place}.{clipped}.weight", *norm_names(f"{place}.{clipped + 1}")]
    return names


NAMES = {
    "resnet18": resnet_names(False, (2, 2, 2, 2)),
    "resnet34": resnet_names(False, (3, 4, 6, 3)),
    "resnet50": resnet_names(True, (3, 4, 6, 3)),
    "resnet101": resnet_names(True, (3, 4, 23, 3)),
    "resnet152": resnet_names(True, (3, 8, 36, 3)),
    "densenet121": densenet_names(),
    "mobilenet_v2": mobilenet_names(),
}


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_a_network_has_as_many_parameters_as_published(kind):
    network = on_paper(kind)
    classifier = (network.feature_size + 1) * CLASSES
    assert sum(weights.numel() for weights in network.parameters()) + classifier == PUBLISHED[kind][0]


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_an_image_costs_as_many_multiplications_as_published(kind):
    """A stride in another place, such as the paper's in bottlenecks (3.8 instead of 4.1), shows here."""
    network = on_paper(kind)
    counter = FlopCounterMode(display=False)
    with counter:
        features = network(torch.empty(1, 224, 224, 3, dtype=torch.uint8, device="meta"))
    multiplications = counter.get_total_flops() / 2 + network.feature_size * CLASSES
    assert multiplications / 1e9 == pytest.approx(PUBLISHED[kind][1], abs=6e-4)
    assert features.shape == (1, 49, FEATURE_SIZES.get(kind, 2048))
    assert network.feature_size == features.shape[2]


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_tensors_have_torchvisions_names_and_shapes(kind):
    state = on_paper(kind).state_dict()
    assert set(state) == set(NAMES[kind])
    assert {name: tuple(state[name].shape) for name in SHAPES.get(kind, {})} == SHAPES.get(kind, {})


def test_the_first_block_of_a_later_stage_halves_the_image():
    for kind, plan in PLANS.items():
        network = on_paper(kind)
        for number, layer in enumerate((network.layer1, network.layer2, network.layer3, network.layer4), start=1):
            halving = layer[0].conv1 if plan.block is BasicBlock else layer[0].conv2
            assert halving.kernel_size == (3, 3)
            strided = [name for name, module in layer.named_modules() if getattr(module, "stride", None) == (2, 2)]
            conv = "conv1" if plan.block is BasicBlock else "conv2"
            assert strided == ([] if number == 1 else [f"0.{conv}", "0.downsample.0"])


def test_only_the_first_block_of_a_mobilenet_stage_halves_and_the_others_have_shortcuts():
    blocks = list(FloatMobileNetV2().features)[1:-1]
    strides = [list(block.conv)[-3][0].stride for block in blocks]
    assert [index for index, stride in enumerate(strides, start=1) if stride == (2, 2)] == [2, 4, 7, 14]
    assert [index for index, block in enumerate(blocks, start=1) if not block.has_shortcut] == [1, 2, 4, 7, 11, 14, 17]


# Worked out by hand


def line(norm, scale, shift):
    """Make a normalisation scale * x + shift."""
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4 - EPSILON)
    nn.init.constant_(norm.weight, 2 * scale)
    nn.init.constant_(norm.bias, shift + scale)


@torch.no_grad()
def test_a_basic_block_adds_its_input_before_the_last_rectifier():
    block = BasicBlock(1, 1, stride=1)
    block.conv1.weight.zero_()[0, 0, 1, 1] = 2  # twice the pixel itself
    line(block.bn1, 1, -1)
    block.conv2.weight.zero_()[0, 0, 1, 2] = 1  # the pixel to the right
    line(block.bn2, 1, -1)
    image = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])
    # 2x - 1 is 1 3 / 5 -9; rectified and moved 3 0 / 0 0; less 1, with the image added 3 1 / 2 -5.
    torch.testing.assert_close(block(image)[0, 0], torch.tensor([[3.0, 1.0], [2.0, 0.0]]))


@torch.no_grad()
def test_a_bottleneck_strides_in_its_second_convolution_and_projects_its_input():
    block = Bottleneck(1, 1, stride=2)
    for conv in (block.conv1, block.conv3):
        conv.weight.fill_(1)
    block.conv2.weight.fill_(1)
    block.downsample[0].weight.fill_(10)
    line(block.bn1, 1, 0)
    line(block.bn2, 1, 0)
    line(block.bn3, 1, -20)
    line(block.downsample[1], 1, 0)
    image = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, -6.0], [0.0, 0.0, 9.0]]]])
    # Rectified, then summed over the windows around the four corners: 12 10 / 9 14. Less 20, plus ten times the corner.
    expected = torch.tensor([[12.0 - 20 + 10, 10.0 - 20 + 30], [0.0, 14.0 - 20 + 90]])
    torch.testing.assert_close(block(image)[0], expected.expand(4, 2, 2))


@torch.no_grad()
def test_a_dense_layer_reads_all_maps_before_it_and_adds_its_own():
    block = DenseBlock(inputs=1, growth=1, layers=2)
    for layer in block.values():
        layer.conv1.weight.zero_()[0] = 1  # one of the four channels: the sum of all maps
        layer.conv2.weight.zero_()[0, 0, 1, 1] = 2
        for norm in (layer.norm1, layer.norm2):
            line(norm, 1, 0)
    line(block["denselayer2"].norm1, 1, 1)
    # 2 * 3 is 6; 2 * (4 + 7) is 22. Below zero nothing passes the rectifier but what the second layer's line lifts.
    expected = [[3.0, -5.0], [6.0, 0.0], [22.0, 2.0]]
    assert block(torch.tensor([[[[3.0, -5.0]]]]))[0, :, 0].tolist() == expected


@torch.no_grad()
def test_a_transition_halves_channels_and_size():
    transition = Transition(2)
    transition.conv.weight.copy_(torch.tensor([1.0, 10.0]).view(1, 2, 1, 1))
    line(transition.norm, 1, 0)
    image = torch.tensor([[[[1.0, 3.0], [5.0, -7.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    torch.testing.assert_close(transition(image), torch.tensor([[[[(1 + 3 + 5 + 40) / 4]]]]))


def test_pixels_are_normalised_as_torchvision_does():
    class Looking(ImageNetNetwork):
        def grid(self, image):
            return image

    image = torch.tensor([[[[255, 0, 128]]]], dtype=torch.uint8)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(Looking(3)(image), torch.tensor([[expected]]))


# Statistics and training


def test_normalisation_is_the_papers_line():
    norm = FrozenBatchNorm(2)
    norm.running_mean.copy_(torch.tensor([3.0, -1.0]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
    given = torch.tensor([5.0, 0.0]).view(1, 2, 1, 1)
    expected = torch.tensor([1.5, 4.0])
    torch.testing.assert_close(norm(given).flatten(), expected, rtol=1e-4, atol=0)
    scale, shift = norm.line()
    torch.testing.assert_close(scale * given.flatten() + shift, norm(given).flatten())


@pytest.mark.parametrize("name", NARROW)
def test_an_image_has_its_features_whatever_is_beside_it_in_training_too(name):
    network = narrow_network(name).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images = noise(3)
    together = network(images)
    assert together.shape == (3, 4, network.feature_size)
    assert together.std() > 0.1
    torch.testing.assert_close(network(images[1:2]), together[1:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.state_dict(), before)


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("trainable", ["none", "last", "all"])
def test_training_changes_the_weights_it_was_told_to(name, trainable):
    network = narrow_network(name)
    network.set_trainable(trainable)
    chosen = {key for key, weights in network.named_parameters() if weights.requires_grad}
    everything = {key for key, _ in network.named_parameters()}
    if trainable == "all":
        assert chosen == everything
    elif trainable == "none":
        assert not chosen
    else:
        first, last = next(iter(everything - chosen)), {"basic": "layer4", "bottleneck": "layer4"}.get(name)
        assert first
        if last:
            assert {key.split(".")[0] for key in chosen} == {last}
        network(noise(2)).square().sum().backward()
        assert all((weights.grad is not None) == (key in chosen) for key, weights in network.named_parameters())


def test_the_last_stage_is_what_works_at_the_size_of_the_grid():
    def first_trained(kind):
        network = on_paper(kind)
        network.set_trainable("last")
        return next(key for key, weights in network.named_parameters() if weights.requires_grad)

    assert first_trained("resnet50") == "layer4.0.conv1.weight"
    assert first_trained("densenet121") == "features.denseblock4.denselayer1.norm1.weight"
    assert first_trained("mobilenet_v2") == "features.14.conv.0.0.weight"
