"""TSPLIB files: read with the tour beside them, and refused with their place."""

import numpy as np
import pytest

from export.evaluation.lines import BadData
from export.evaluation.pointing_metrics import rounded_length
from export.evaluation.tsplib import is_tsplib, read_tsplib

SQUARE = """NAME : square
TYPE: TSP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
 1 0 0
 2 1.0e1 0
 3 10 10
 4 0.0 10.0
EOF
"""
TOUR = "NAME: square.opt.tour\nTYPE : TOUR\nTOUR_SECTION\n2\n1 4\n3\n-1\nEOF\n"


@pytest.fixture
def square(tmp_path):
    (tmp_path / "square.opt.tour").write_text(TOUR)
    path = tmp_path / "square.tsp"
    path.write_text(SQUARE)
    return path


def test_a_file_is_read_with_the_tour_beside_it(square):
    (instance,) = read_tsplib(square)
    np.testing.assert_array_equal(instance.points, [[0, 0], [10, 0], [10, 10], [0, 10]])
    assert instance.output == (1, 0, 3, 2)
    assert instance.rounded
    assert is_tsplib(square)


def test_a_folder_is_read_by_name_and_a_tour_may_be_missing(square):
    (square.parent / "another.tsp").write_text(SQUARE)
    assert is_tsplib(square.parent)
    first, second = read_tsplib(square.parent)
    assert (first.output, second.output) == (None, (1, 0, 3, 2))
    assert len(read_tsplib(square.parent, limit=1)) == 1
    assert not is_tsplib(square.parent / "instances.txt.gz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EUC_2D", "GEO", "square.tsp: EDGE_WEIGHT_TYPE GEO; allowed: EUC_2D"),
        ("NODE_COORD_SECTION", "", "square.tsp: no NODE_COORD_SECTION"),
        (" 3 10 10", " 3 10", "square.tsp:8: '3 10'; expected a number and two coordinates"),
        (" 3 10 10", " 3 10 inf", "square.tsp:8: a coordinate is not finite"),
        (" 3 10 10", " 2 10 10", "square.tsp:8: node 2 for the second time"),
        (" 3 10 10", " 9 10 10", "square.opt.tour:6: node 3, which the .tsp file does not have"),
        (" 3 10 10\n 4 0.0 10.0\n", "", "square.tsp: 2 points; expected at least 3"),
    ],
)
def test_what_is_wrong_is_named(square, old, new, message):
    square.write_text(SQUARE.replace(old, new))
    with pytest.raises(BadData) as caught:
        read_tsplib(square)
    assert message in str(caught.value)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(BadData, match=r"no \.tsp files in it"):
        read_tsplib(tmp_path)


def test_rounded_distances_round_halves_up():
    points = np.array([[0.0, 0.0], [2.5, 0.0], [2.5, 1.4], [0.0, 1.4]])
    assert rounded_length(points, [0, 1, 2, 3]) == 3 + 1 + 3 + 1
