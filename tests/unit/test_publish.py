"""Publishing: all or nothing."""

from pathlib import Path

import pytest

from export.errors import ExportError
from export.publish import git_commit, staged


def test_a_bundle_appears_whole_when_the_block_ends(tmp_path):
    with staged(tmp_path, "toy", "1", replace=False) as folder:
        (folder / "manifest.json").touch()
        assert not (tmp_path / "toy").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "toy",
        "toy/1",
        "toy/1/manifest.json",
    ]


def fail_while_writing(tmp_path, *, replace):
    with staged(tmp_path, "toy", "1", replace=replace) as folder:
        (folder / "manifest.json").write_text("new")
        raise ZeroDivisionError


def test_nothing_is_left_of_one_that_failed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path, replace=False)
    assert not list(tmp_path.iterdir())


def test_a_failed_replacement_leaves_the_old_one(tmp_path):
    with staged(tmp_path, "toy", "1", replace=False) as folder:
        (folder / "manifest.json").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path, replace=True)
    assert (tmp_path / "toy/1/manifest.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_version_that_is_there_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "toy/1").mkdir(parents=True)
    with pytest.raises(ExportError, match=r"toy/1: is there already; give another --bundle-version, or --replace"):
        fail_while_writing(tmp_path, replace=False)


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("../toy", "1", "--name: given '../toy'"),
        ("toy", "../1", "--bundle-version: given '../1'"),
        ("toy", "", "--bund"),
    ],
)
def test_a_name_that_is_no_folder_s_is_refused_before_anything_is_written(tmp_path, name, version, said):
    inside = tmp_path / "models"
    with pytest.raises(ExportError, match=said), staged(inside, name, version, replace=True):
        pytest.fail("the block ran")
    assert not list(tmp_path.iterdir())


def test_a_replacement_that_cannot_be_put_in_place_gives_the_old_one_back(tmp_path, monkeypatch):
    with staged(tmp_path, "toy", "1", replace=False) as folder:
        (folder / "manifest.json").write_text("old")
    rename = Path.rename

    def refuse_the_new(path, target):
        if path.suffix == ".partial":
            raise OSError("no space left")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(OSError, match="no space left"), staged(tmp_path, "toy", "1", replace=True) as folder:
        (folder / "manifest.json").write_text("new")
    assert [path.read_text() for path in tmp_path.rglob("*.json")] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_code_outside_git_has_no_commit(tmp_path):
    assert git_commit(tmp_path) == "unknown"
