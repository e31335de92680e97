"""Pictures are files of the kind that was asked for, and say what is right and what is wrong."""

import json
import random
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from beamstep.pictures import file as picture_file
from beamstep.pictures.attention import draw_alignment, draw_looks
from beamstep.pictures.curves import draw_curves, read_curves
from beamstep.pictures.file import BadPicture, NoPictures, Over, check_picture
from beamstep.pictures.points import draw_panels, draw_points, hull, tour, triangulation
from beamstep.pictures.style import write
from beamstep.v1.captioning_pb2 import AttentionGrid
from beamstep.v1.decoding_pb2 import FINISH_REASON_END_OF_SEQUENCE, Decoding, Token

SQUARE = [(0.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0), (4.0, 3.0)]
CORNERS = [0, 1, 2, 3]
STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture(params=STARTS)
def suffix(request):
    return request.param


def verdict(points, answer) -> str:
    return draw_points(points, answer, "Title").axes[0].get_title(loc="left").removeprefix("Title\n")


def looked(*rows, pieces=None, finish_reason=FINISH_REASON_END_OF_SEQUENCE) -> Decoding:
    pieces = pieces or [f"▁{index}" for index in range(len(rows))]
    tokens = [Token(piece=piece, attention=row) for piece, row in zip(pieces, rows, strict=True)]
    return Decoding(tokens=tokens, finish_reason=finish_reason)


def titles(figure: Figure) -> list[str]:
    return [title for axes in figure.axes if (title := axes.get_title() or axes.get_title(loc="left"))]


def test_a_picture_is_of_the_kind_that_its_name_says_and_the_same_every_time(tmp_path, suffix):
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix.upper()}"
    for file in (one, other):
        write(draw_points(SQUARE, hull(CORNERS), "Hull $5 <&>"), file)
    assert one.read_bytes().startswith(STARTS[suffix])
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", ["picture", "picture.jpg", "png", "a.png/"])
def test_another_kind_of_file_is_refused_with_those_that_there_are(tmp_path, name):
    given = tmp_path / name
    if given.suffix == ".png":
        given = given / "picture.gif"
    with pytest.raises(BadPicture, match=r"allowed: a name that ends with \.png, \.svg or \.pdf"):
        check_picture(given)


def test_a_folder_that_is_not_there_is_known_before_anything_is_drawn(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_picture(tmp_path / "nowhere" / "picture.png")


def test_a_missing_package_is_named_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_file, "find_spec", lambda name: None if name == "scipy" else find_spec(name))
    with pytest.raises(NoPictures, match=r"the package scipy, .*pip install 'beamstep\[pictures\]'"):
        check_picture(tmp_path / "picture.png")


def test_nothing_that_draws_is_loaded_before_a_picture_is_asked_for():
    script = "import sys, beamstep.cli; print(sorted({'matplotlib', 'scipy', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


def test_an_alignment_has_a_row_a_target_piece_and_a_column_a_source_piece():
    decoding = looked([0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1], pieces=["▁Hund", "e", "</s>"])
    figure = draw_alignment(decoding, ["▁dog", "s", "</s>"], "Hunde")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Hund", "-e", "</s>"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["dog", "-s", "</s>"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1]], rtol=1e-6)
    assert axes.images[0].get_clim() == (0, 1), "weights are comparable from picture to picture"


def test_a_model_that_attends_to_nothing_has_no_attention_to_draw():
    with pytest.raises(BadPicture, match="no attention weights"):
        draw_alignment(looked([], []), [])


def test_a_long_sentence_gets_a_larger_picture(tmp_path):
    short = draw_alignment(looked(*np.eye(5)), ["a"] * 5)
    long = draw_alignment(looked(*np.eye(60)), ["a"] * 60, "word " * 60)
    assert long.get_figwidth() > 4 * short.get_figwidth()


def test_a_caption_has_a_tile_a_word_clear_where_its_pieces_looked(tmp_path):
    Image.new("RGB", (70, 140), (0, 0, 0)).save(tmp_path / "photo.png")
    first, second = np.zeros(49), np.zeros(49)
    first[0] = second[48] = 1.0
    decoding = looked(first, second, second, first, pieces=["▁a", "▁do", "g", "</s>"])
    figure = draw_looks(tmp_path / "photo.png", decoding, AttentionGrid(row_count=7, column_count=7), "a dog")
    assert titles(figure) == ["the photo", "a", "dog"]
    photo, a, dog = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert photo.shape == (140, 70, 3)
    assert photo.max() == 0
    assert (a[2, 2].max(), dog[-2, -2].max()) == (0, 0), "as the photo is"
    assert min(a[-2, -2].min(), dog[2, 2].min()) > 150, "faded"


def test_a_caption_cut_short_keeps_its_last_word(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "photo.webp")
    decoding = looked([1, 0], [0, 1], finish_reason=0)
    figure = draw_looks(tmp_path / "photo.webp", decoding, AttentionGrid(row_count=1, column_count=2))
    assert titles(figure) == ["the photo", "0", "1"]


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "photo.jpg").write_text("words")
    with pytest.raises(BadPicture, match=r"photo\.jpg"):
        draw_looks(tmp_path / "photo.jpg", looked([1.0]), AttentionGrid(row_count=1, column_count=1))


def labels(points, answer) -> set[str]:
    return {text.get_text() for text in draw_points(points, answer, "").legends[0].get_texts()}


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        (CORNERS, "exact: 4 corners"),
        ([0, 1, 2], "1 of 4 corners missed\narea lost: 50 %"),
        ([0, 4, 1, 2, 3], "1 too many\narea lost: 19 %"),
        ([0, 4, 2, 3], "1 of 4 corners missed, 1 too many\narea lost: 44 %"),
        ([0, 2, 1, 3], "corners in a wrong order\narea lost: 100 %"),
        ([], "4 of 4 corners missed\narea lost: 100 %"),
    ],
)
def test_a_hull_is_told_right_from_wrong(corners, words):
    assert verdict(SQUARE, hull(corners)) == words
    assert ("the right hull" in labels(SQUARE, hull(corners))) == (corners != CORNERS)


def test_points_on_a_side_and_equal_points_may_be_corners_or_not():
    points = [*SQUARE, (4.0, 0.0), (0.0, 0.0)]
    assert verdict(points, hull([0, 1, 2, 3])) == verdict(points, hull([6, 5, 1, 2, 3])) == "exact: 4 corners"


def test_points_on_a_line_are_drawn_though_nothing_is_right():
    line = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]
    assert verdict(line, hull([0, 2])) == "2 corners"
    assert verdict(line, triangulation([(0, 1, 2)])) == "1 triangles"
    assert verdict([(1.0, 1.0)] * 3, tour([0, 1, 2])) == "no legs cross"


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([0, 1, 2, 3], "1 points left out"),
        ([0, 4, 1, 2, 3], "no legs cross"),
        ([0, 2, 1, 3, 4], "3 legs cross"),
        ([], "5 points left out"),
    ],
)
def test_legs_of_a_tour_that_cross_are_shown(order, words):
    assert verdict(SQUARE, tour(order)) == words


def test_a_triangulation_is_told_right_from_wrong():
    points = [(0, 0), (4, 0), (4, 1), (0, 1), (2, 0.9)]
    assert verdict(points, triangulation([(0, 1, 4), (1, 2, 4), (2, 3, 4), (0, 3, 4)])) == "exact: 4 triangles"
    wrong = [(0, 1, 2), (0, 2, 4), (2, 3, 4), (0, 3, 4)]
    assert verdict(points, triangulation(wrong)) == "2 of 4 triangles right, 2 wrong"
    assert labels(points, triangulation(wrong)) == {"a wrong triangle", "the model's triangles", "a right edge missed"}


def test_either_way_to_part_points_on_a_circle_is_right():
    corners = SQUARE[:4]
    for triangles in ([(0, 1, 2), (0, 2, 3)], [(0, 1, 3), (1, 2, 3)]):
        assert verdict(corners, triangulation(triangles)) == "exact: 2 triangles"


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_coordinates_may_be_as_large_as_a_request_allows(tmp_path, scale):
    points = [(scale * x, scale * y) for x, y in SQUARE]
    assert verdict(points, hull(CORNERS)) == "exact: 4 corners"
    write(draw_points(points, hull(CORNERS), ""), tmp_path / "hull.png")


def test_right_answers_of_random_points_are_called_exact():
    from scipy.spatial import ConvexHull, Delaunay

    generator = random.Random(4)
    for count in (5, 20, 80):
        points = [(generator.random(), generator.random()) for _ in range(count)]
        assert verdict(points, hull(ConvexHull(points).vertices)).startswith("exact")
        triangles = [tuple(sorted(map(int, corners))) for corners in Delaunay(points).simplices]
        assert verdict(points, triangulation(triangles)) == f"exact: {len(triangles)} triangles"


def test_panels_stand_beside_each_other_under_one_legend():
    figure = draw_panels(
        [(SQUARE, hull(corners), "") for corners in (CORNERS, [0, 1, 2], [1, 2, 3], [0, 4, 1, 2, 3])], "Hulls"
    )
    assert len(titles(figure)) == 4
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(texts) == ["a corner missed", "no corner", "the model's hull", "the right hull"]


def line(kind, step, loss, **more) -> str:
    return json.dumps({"kind": kind, "step": step, "seconds": step * 6.0, "loss": loss, "token_accuracy": 50.0, **more})


@pytest.fixture
def runs(tmp_path):
    """Two runs, one of them over."""
    for name, lines in {
        "one": [line("validation", 10, 3.0), line("validation", 20, 2.0, bleu=12.5), line("averaged", 20, 1.9)],
        "two": [line("validation", 15, 2.5)],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return [tmp_path / "one", tmp_path / "two"]


def test_each_run_is_a_curve_and_its_average_a_star(runs):
    figure = draw_curves(read_curves(runs), ["loss", "token_accuracy"], Over.STEPS)
    one, star, two, _ = figure.axes[0].lines[:4]
    assert (list(one.get_xdata()), list(one.get_ydata())) == ([10, 20], [3.0, 2.0])
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([20], [1.9])
    assert (list(two.get_xdata()), two.get_marker()) == ([15], "o")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two", "average of checkpoints"]
    assert titles(figure) == ["validation loss, nats a token", "validation token accuracy, %"]


def test_curves_run_over_minutes_and_show_what_only_some_runs_have(runs):
    figure = draw_curves(read_curves(runs), ["bleu"], Over.MINUTES)
    assert [list(line.get_xdata()) for line in figure.axes[0].lines[:4]] == [[2.0], [], [], []]


def test_runs_whose_folders_are_called_alike_are_called_by_their_paths(runs, tmp_path):
    (tmp_path / "two" / "one").mkdir()
    (tmp_path / "two" / "one" / "metrics.jsonl").write_text(line("validation", 1, 1.0))
    again = tmp_path / "two" / "one"
    assert [curve.name for curve in read_curves([runs[0], again, runs[1]])] == [str(runs[0]), str(again), "two"]


def test_a_metric_that_no_run_has_is_refused_with_those_that_there_are(runs):
    with pytest.raises(BadPicture, match="given 'meteor'; allowed for these runs: bleu, loss, token_accuracy"):
        draw_curves(read_curves(runs), ["meteor"], Over.STEPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no validation yet"),
        (line("averaged", 3, 1.0), "no validation yet"),
        ("{", "line 1"),
        ("[]", "line 1"),
        ('{"kind": "validation", "step": "x", "seconds": 1}', "line 1"),
        (line("validation", 3, 1.0) + '\n{"step": 3}', "line 2"),
    ],
)
def test_a_file_that_is_no_runs_is_refused_with_its_name(runs, text, message):
    (runs[1] / "metrics.jsonl").write_text(text)
    with pytest.raises(BadPicture, match=rf"two.metrics\.jsonl.*{message}"):
        read_curves(runs)


def test_the_axes_say_how_far_the_points_reach():
    figure = draw_points([(0, 10), (30, 10), (0, 50)], tour([0, 1, 2]), "")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["10", "50"]
