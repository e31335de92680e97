"""Cached features: views of an image, and a file that is computed once."""

import numpy as np
import pytest
from PIL import Image
from torch import nn

from training.features import CROP_SIZE, cached_features, read_image, view_of


class Colours(nn.Module):
    """Stands for the network: one cell with the mean colour; counts the images it has seen."""

    seen = 0

    def forward(self, image):
        self.seen += len(image)
        return image.float().mean((1, 2)).unsqueeze(1)


@pytest.fixture
def images(tmp_path):
    """Twenty images of one colour each, and a file that stands for weights."""
    (tmp_path / "weights").write_bytes(b"some")
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        Image.new("RGB", (224, 224), (number, 2 * number, 200)).save(path)
    return paths


def compute(network, images, view=0, weights="weights"):
    folder = images[0].parent
    return cached_features(network, folder / weights, images, view, folder / "cache")


def test_features_come_in_the_order_of_the_images(images):
    features = compute(Colours(), images)
    assert features.shape == (20, 1, 3)
    assert features.dtype == np.float16
    assert features[:, 0].tolist() == [[number, 2 * number, 200] for number in range(20)]


def test_features_are_computed_once(images):
    network = Colours()
    first = compute(network, images)
    assert network.seen == 20
    again = compute(network, images)
    assert network.seen == 20
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("change", ["weights", "images", "order", "view"])
def test_anything_that_matters_makes_another_file(images, change):
    network = Colours()
    compute(network, images)
    (images[0].parent / "other").write_bytes(b"other")
    match change:
        case "weights":
            compute(network, images, weights="other")
        case "images":
            compute(network, images[:-1])
        case "order":
            compute(network, images[::-1])
        case "view":
            compute(network, images, view=1)
    assert network.seen == 20 + (19 if change == "images" else 20)


def test_a_file_is_not_there_before_it_is_whole(images):
    class Failing(Colours):
        def forward(self, image):
            if self.seen:
                raise KeyboardInterrupt
            return super().forward(image)

    with pytest.raises(KeyboardInterrupt):
        compute(Failing(), images)
    network = Colours()
    assert compute(network, images)[-1, 0].tolist() == [19, 38, 200]
    assert network.seen == 20


def test_odd_views_are_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(view_of(image, 0, seed=3), image)
    np.testing.assert_array_equal(view_of(image, 1, seed=3), image[:, ::-1])


def test_later_views_show_a_part_that_depends_on_the_view_and_the_seed_alone():
    columns = np.broadcast_to(np.arange(224, dtype=np.uint8)[None, :, None], (224, 224, 3))
    shown = view_of(columns, 2, seed=3)
    assert shown.shape == (224, 224, 3)
    assert int(shown.max()) - int(shown.min()) in range(CROP_SIZE - 3, CROP_SIZE + 1)
    np.testing.assert_array_equal(shown, view_of(columns, 2, seed=3))
    assert any((view_of(columns, 2, seed=seed) != shown).any() for seed in range(5))


def test_images_of_any_size_and_mode_are_read_as_224_rgb(tmp_path):
    Image.new("L", (50, 30), 7).save(tmp_path / "grey.png")
    pixels = read_image(tmp_path / "grey.png")
    assert pixels.shape == (224, 224, 3)
    assert (pixels == 7).all()


def test_views_of_stored_images_are_what_the_network_gives(images):
    class Corner(nn.Module):
        def forward(self, image):
            return image[:, 0, :1].float()

    Image.fromarray(np.tile(np.linspace(0, 223, 224, dtype=np.uint8)[None, :, None], (224, 1, 3))).save(images[4])
    assert compute(Corner(), images)[4].tolist() == [[0, 0, 0]]
    assert compute(Corner(), images, view=1)[4].tolist() == [[223, 223, 223]]
