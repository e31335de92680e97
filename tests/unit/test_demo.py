"""The parts of `make demo` that need no model."""

from typer import Typer
from typer.testing import CliRunner

from benchmarks.demo import PLOT_COLUMNS, PLOT_ROWS, demo, plot

app = Typer()
app.command()(demo)


def test_a_server_that_cannot_start_is_reported_in_one_sentence(tmp_path):
    result = CliRunner().invoke(app, ["--models", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == f"error: the server did not start: error: {tmp_path}: no bundle in it; expected " + (
        "models/<name>/<version>/manifest.json\n"
    )


def test_points_are_plotted_where_they_are_with_the_corners_bold():
    rows = plot([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0.5)], corners=[0, 1, 2, 3])
    assert len(rows) == PLOT_ROWS
    assert {len(row) for row in rows} == {PLOT_COLUMNS}
    assert rows[0].plain.split() == ["3", "2"]
    assert rows[-1].plain.split() == ["0", "1"]
    styles = {row.plain[span.start : span.end]: span.style for row in rows for span in row.spans}
    assert styles == {"0": "bold green", "1": "bold green", "2": "bold green", "3": "bold green", "4": "dim"}
