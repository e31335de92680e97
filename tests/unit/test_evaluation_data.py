"""Reading the data of `beamstep evaluate`: plain and gzip, and what is wrong with a bad file."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from export.evaluation.captions import read_captions
from export.evaluation.instances import as_cycle, as_tour, as_triangles, format_instance, parse_instance, read_instances
from export.evaluation.lines import BadData, read_lines
from export.evaluation.parallel_text import read_parallel_text

SQUARE = "0 0 1 0 1 1 0 1"


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_plain_and_gzip_files_read_alike_whatever_their_names(tmp_path):
    text = "eins\nzwei\n"
    plain = write(tmp_path / "plain.gz", text)
    packed = tmp_path / "packed.txt"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_lines(plain) == read_lines(packed) == ["eins", "zwei"]


def test_only_a_newline_ends_a_line(tmp_path):
    lines = read_lines(write(tmp_path / "a", "one\u2028still one\r\n\ntwo\x85still two"))
    assert lines == ["one\u2028still one", "", "two\x85still two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (b"fine\nf\xfcnf\n", r"a:2: not UTF-8"),
        (gzip.compress(b"cut off " * 100)[:20], "damaged gzip"),
        (b"\x1f\x8b\x08\x00 not really", "damaged gzip"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(BadData, match=message):
        read_lines(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadData, match=r"absent: No such file"):
        read_lines(tmp_path / "absent")


def test_unequal_line_counts_are_refused_and_a_limit_takes_the_first(tmp_path):
    source, reference = write(tmp_path / "en", "a\nb\n"), write(tmp_path / "de", "x\ny\n")
    assert read_parallel_text(source, reference, limit=1).references == ("x",)
    with pytest.raises(BadData, match=r"has 2 lines and .* has 3"):
        read_parallel_text(source, write(tmp_path / "de", "x\ny\nz\n"))


def captions_file(folder: Path, *records: object) -> Path:
    return write(folder / "captions.jsonl", "".join(f"{json.dumps(record)}\n" for record in records))


def record(image: str, split: str = "val") -> dict[str, object]:
    return {"image": image, "split": split, "captions": [f"a picture of {image}"], "further": 1}


def test_captions_of_a_split_leave_out_and_count_absent_images(tmp_path):
    write(tmp_path / "b.jpg", "not opened here")
    path = captions_file(tmp_path, record("a.jpg"), record("b.jpg"), record("c.jpg", split="train"))
    found = read_captions(path, tmp_path, "val")
    assert [(image.path.name, image.captions) for image in found.images] == [("b.jpg", ("a picture of b.jpg",))]
    assert found.missing == 1


@pytest.mark.parametrize(
    ("records", "split", "message"),
    [
        ([record("a.jpg")], "test", "no record of split 'test'; the file has: val"),
        ([record("a.jpg")], "val", "none of the 1 images"),
        ([record("a.jpg"), {"image": "b.jpg", "split": "val"}], "val", r"jsonl:2: captions: "),
        ([{**record("a.jpg"), "captions": []}], "val", r"jsonl:1: captions: "),
        (["text"], "val", r"jsonl:1: "),
    ],
)
def test_bad_captions_are_named_by_line(tmp_path, records, split, message):
    with pytest.raises(BadData, match=message):
        read_captions(captions_file(tmp_path, *records), tmp_path, split)


def test_an_instance_is_read_zero_based_and_written_back():
    instance = parse_instance(f"{SQUARE} output 1 2 3 4 1 ", "here")
    assert instance.points.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert instance.output == (0, 1, 2, 3, 0)
    assert as_tour(instance) == (0, 1, 2, 3)
    again = parse_instance(format_instance(instance.points, instance.output), "here")
    assert np.array_equal(again.points, instance.points)
    assert again.output == instance.output


def test_an_instance_without_output_only_asks():
    instance = parse_instance(SQUARE, "here")
    assert instance.output is None
    with pytest.raises(BadData, match="no 'output'"):
        as_cycle(instance)


def test_triangles_compare_equal_whatever_their_order():
    one, other = (parse_instance(f"{SQUARE} output {output}", "here") for output in ("1 2 3 1 3 4", "4 3 1 2 3 1"))
    assert as_triangles(one) == as_triangles(other) == {(0, 1, 2), (0, 2, 3)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "0 coordinates"),
        ("0 0 1 1 output 1 2 1", "4 coordinates"),
        ("0 0 1 0 1 output 1 2 1", "5 coordinates"),
        ("0 0 1 0 1 one output 1 2 1", "could not convert"),
        ("0 0 1 0 1 nan", "not finite"),
        (f"{SQUARE} output", "nothing after"),
        (f"{SQUARE} output 1 5 1", "index 5; allowed: 1 to 4"),
        (f"{SQUARE} output 0 1 2", "index 0; allowed: 1 to 4"),
        (f"{SQUARE} output 1 x 1", "index x; allowed: 1 to 4"),
    ],
)
def test_a_malformed_instance_is_named_by_its_line(tmp_path, line, message):
    path = write(tmp_path / "instances", f"{SQUARE} output 1 2 3 4 1\n{line}\n")
    with pytest.raises(BadData, match=f"instances:2: .*{message}"):
        read_instances(path)


@pytest.mark.parametrize("output", ["1 2 1", "1 2 3 2 1"])
def test_a_cycle_names_three_points_or_more_each_once(output):
    with pytest.raises(BadData, match="each once"):
        as_cycle(parse_instance(f"{SQUARE} output {output}", "here"))


def test_a_given_tour_visits_every_point():
    with pytest.raises(BadData, match="visits 3 of 4"):
        as_tour(parse_instance(f"{SQUARE} output 1 2 3 1", "here"))


@pytest.mark.parametrize(("output", "message"), [("1 2 3 4", "no whole number"), ("1 2 2", "a corner twice")])
def test_a_given_triangulation_has_whole_triangles(output, message):
    with pytest.raises(BadData, match=message):
        as_triangles(parse_instance(f"{SQUARE} output {output}", "here"))
