"""Tables of `beamstep bench`, on wide terminals and on narrow ones."""

import io

import pytest
from rich.console import Console

from beamstep.bench.tables import print_loads

FIGURES = ["offered", "achieved", "p50", "p99"]
LOADS = [["10/s", "9.5", "8.69", "646", "1667 (897-2437)"], ["20/s", "18.8", "16.2", "1423", "3518 (1475-5562)"]]
OF_LOADS = [
    ["load", "offered", "achieved", "p50", "p99"],
    ["10/s", "9.5", "8.69", "646", "1667 (897-2437)"],
    ["20/s", "18.8", "16.2", "1423", "3518 (1475-5562)"],
]
OF_FIGURES = [
    ["load", "10/s", "20/s"],
    ["offered", "9.5", "18.8"],
    ["achieved", "8.69", "16.2"],
    ["p50", "646", "1423"],
    ["p99", "1667 (897-2437)", "3518 (1475-5562)"],
]


@pytest.mark.parametrize(("width", "expected"), [(80, OF_LOADS), (52, OF_FIGURES)])
def test_a_line_is_a_load_where_it_fits_and_a_figure_elsewhere(width, expected):
    output = io.StringIO()
    print_loads(Console(file=output, width=width), FIGURES, LOADS)
    lines = [line.replace("┃", "│").split("│")[1:-1] for line in output.getvalue().splitlines()]
    assert [[cell.strip() for cell in cells] for cells in lines if cells] == expected
