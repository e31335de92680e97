"""The documentation's pictures are there, small, and made of points that stay the same."""

import re
from pathlib import Path

import pytest
from PIL import Image

from beamstep.v1.pointing_pb2 import ConvexHullHypothesis, FindConvexHullResponse
from benchmarks.pictures import _shrink, panels, sets

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = re.findall(r"!\[[^]]+\]\((pictures/[^)]+)\)", (DOCS / "pictures.md").read_text("utf-8"))


def test_every_picture_that_is_kept_is_shown():
    assert sorted(SHOWN) == sorted(f"pictures/{file.name}" for file in (DOCS / "pictures").iterdir())


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_is_small_and_whole(name):
    file = DOCS / name
    assert file.stat().st_size < 150_000
    with Image.open(file) as image:
        image.load()
        assert image.width >= 600


def test_sets_are_the_same_every_time():
    first, second = sets(2, 3), sets(2, 3)
    assert list(first) == list(second)
    assert next(sets(1, 1)) == [(0.13436424411240122, 0.8474337369372327)]


def test_answers_stand_beside_each_other():
    answer = FindConvexHullResponse(hypotheses=[ConvexHullHypothesis(point_indices=[0, 1, 2])])
    figure = panels([([(0, 0), (1, 0), (0, 1)], answer)], "Hulls")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["exact: 3 corners"]


@pytest.mark.parametrize(("photo", "suffix"), [(False, ".png"), (True, ".jpg")])
def test_a_picture_is_written_again_in_fewer_bytes(tmp_path, photo, suffix):
    Image.effect_noise((200, 200), 50).convert("RGB").save(tmp_path / "a.png")
    before = (tmp_path / "a.png").stat().st_size
    after = _shrink(tmp_path / "a.png", photo)
    assert (list(tmp_path.iterdir()), after.suffix) == ([after], suffix)
    assert after.stat().st_size < before
