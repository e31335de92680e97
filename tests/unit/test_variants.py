"""A recipe that builds on another states what differs, and a run keeps the whole."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from training.command import prepare_folder
from training.config import RecipeError
from training.recipe import find_recipe, read_recipe
from training.variants import merge, packaged_recipes, read_content


def write(path: Path, **keys: Any) -> Path:
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def variant(folder: Path, name: str = "variant", based_on: str = "reverse", **keys: Any) -> Path:
    return write(folder / f"{name}.yaml", based_on=based_on, name=name, description="Another.", **keys)


def test_mappings_are_merged_and_all_else_is_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": 3}
    assert merge(base, {"a": {"c": [3]}, "d": 4}) == {"a": {"b": 1, "c": [3]}, "d": 4, "f": 3}
    assert base["a"] == {"b": 1, "c": [1, 2]}


def test_a_mapping_of_another_kind_is_replaced_and_one_of_the_same_is_merged() -> None:
    base = {"encoder": {"kind": "set", "num_heads": 4}}
    assert merge(base, {"encoder": {"kind": "recurrent", "cell": "lstm"}}) == {
        "encoder": {"kind": "recurrent", "cell": "lstm"}
    }
    assert merge(base, {"encoder": {"kind": "set", "size": 8}})["encoder"] == {"kind": "set", "num_heads": 4, "size": 8}


def test_what_differs_is_changed_and_the_rest_is_the_bases(tmp_path: Path) -> None:
    base, changed = read_recipe(find_recipe("reverse")), read_recipe(variant(tmp_path, model={"cell": "lstm"}))
    assert (changed.name, changed.model.cell) == ("variant", "lstm")
    assert changed.model_copy(update={"name": base.name, "description": base.description, "model": base.model}) == base


def test_a_chain_is_followed_and_a_path_is_one_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    variant(tmp_path / "below", "first", training={"steps": 7}, seed=3)
    last = variant(tmp_path, "last", "below/first.yaml", seed=4)
    recipe = read_recipe(last)
    assert (recipe.name, recipe.training.steps, recipe.seed) == ("last", 7, 4)


@pytest.mark.parametrize("own", ["name", "description"])
def test_a_variant_says_its_own_name_and_description(tmp_path: Path, own: str) -> None:
    content = {"based_on": "reverse", "name": "other", "description": "Other."}
    del content[own]
    with pytest.raises(RecipeError, match=f"{own}: missing"):
        read_recipe(write(tmp_path / "other.yaml", **content))


def test_a_fault_of_a_variant_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"variant\.yaml:\n  model\.translation\.cell: given 'qrnn'"):
        read_recipe(variant(tmp_path, model={"cell": "qrnn"}))


@pytest.mark.parametrize("name", ["revrse", "nowhere/at-all.yaml", ["reverse"], 3])
def test_a_base_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, name: object) -> None:
    path = write(tmp_path / "variant.yaml", based_on=name, name="variant", description="Another.")
    with pytest.raises(RecipeError, match=r"based_on: given .* neither a file beside it nor a packaged .*reverse"):
        read_recipe(path)


def test_a_recipe_that_builds_on_itself_is_refused(tmp_path: Path) -> None:
    first = variant(tmp_path, "first", "second.yaml")
    variant(tmp_path, "second", "first.yaml")
    with pytest.raises(RecipeError, match=r"based_on: given .first\.yaml., which builds on itself"):
        read_recipe(first)


def test_a_base_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("- a list\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"base\.yaml: has no keys"):
        read_recipe(variant(tmp_path, based_on="base.yaml"))


def test_the_run_keeps_the_whole_recipe(tmp_path: Path) -> None:
    base = variant(tmp_path, "base", training={"steps": 9})
    file = variant(tmp_path, "last", "base.yaml", seed=5)
    recipe, run = read_recipe(file), tmp_path / "run"
    prepare_folder(file, recipe, run, resume=False, restart=False)
    base.unlink()
    assert read_recipe(run / "recipe.yaml") == recipe
    assert "based_on" not in yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    (run / "averaged.pt").touch()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    write(tmp_path / "base.yaml", **read_content(find_recipe("reverse")))  # the base has changed since
    with pytest.raises(RecipeError, match=r"--resume: .* differs"):
        prepare_folder(file, read_recipe(file), run, resume=True, restart=False)


def test_recipes_in_folders_come_with_the_package_under_names_of_their_own() -> None:
    files = sorted(find_recipe("reverse").parent.rglob("*.yaml"))
    assert sorted(packaged_recipes().values()) == files, "no two files have the same name"
    assert find_recipe("ptr-net-5").parent.name == "papers"
