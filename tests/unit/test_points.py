"""Points from the text that people have."""

import re

import pytest

from beamstep.points import BadPoints, parse_points

TWO = [(0.5, 1.0), (-2.0, 3e-3)]


@pytest.mark.parametrize(
    "text",
    [
        "0.5,1\n-2,3e-3",
        "0.5 1\n-2 3e-3\n",
        "0.5;1\n-2 ; 3e-3\n",
        "0.5\t1\r\n-2\t3e-3\r\n",
        "x,y\n0.5,1\n-2,3e-3\n",
        "left,up\n0.5,1\n-2,3e-3\n",
        '"X","Y"\n"0.5","1"\n"-2","3e-3"\n',
        "name,y,x\na,1,0.5\nb,3e-3,-2\n",
        "\ufeff# two points\n\n0.5, 1\n\n-2, 3e-3\n",
    ],
)
def test_every_common_form_gives_the_same_points(text):
    assert parse_points(text) == TWO


def test_nothing_is_no_point():
    assert parse_points("") == []
    assert parse_points("x,y\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1\n0.5\n", "line 2: '0.5'; allowed: two numbers"),
        ("0,1\n# note\n1,two\n", "line 3: '1,two'; allowed: two numbers"),
        ("0,1,2\n", "line 1: '0,1,2'; allowed: two numbers, or columns named x and y"),
        ("y,z,x\n1,2\n", "line 2: '1,2'; allowed: two numbers"),
    ],
)
def test_a_line_without_a_point_is_named(text, message):
    with pytest.raises(BadPoints, match=re.escape(message)):
        parse_points(text)
