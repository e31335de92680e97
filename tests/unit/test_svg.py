"""Drawings are well-formed and stay inside their frame."""

from xml.etree.ElementTree import fromstring

import pytest

from beamstep.svg import SIZE, draw

NAMESPACE = "{http://www.w3.org/2000/svg}"
TRIANGLE = [(0.0, 0.0), (1e6, 0.0), (0.0, 3e6)]


def test_a_drawing_shows_every_point_its_index_and_the_answer():
    picture = fromstring(draw(TRIANGLE, [[0, 1, 2]], "hull <&> answer"))
    assert picture.find(f"{NAMESPACE}title").text == "hull <&> answer"
    assert [text.text for text in picture.iter(f"{NAMESPACE}text")] == ["0", "1", "2"]
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in picture.iter(f"{NAMESPACE}circle")]
    corners = [
        tuple(map(float, corner.split(","))) for corner in picture.find(f"{NAMESPACE}polygon").get("points").split()
    ]
    assert corners == circles
    assert all(0 < value < SIZE for circle in circles for value in circle)
    assert circles[2][1] < circles[0][1], "y grows upwards"


@pytest.mark.parametrize("points", [[], [(3.0, 4.0)], [(3.0, 4.0)] * 5])
def test_points_without_any_extent_are_drawn_too(points):
    picture = fromstring(draw(points, [], "few"))
    assert len(list(picture.iter(f"{NAMESPACE}circle"))) == len(points)
