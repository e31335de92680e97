"""Publishing: all or nothing."""

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


def test_code_outside_git_has_no_commit(tmp_path):
    assert git_commit(tmp_path) == "unknown"
