"""Recipes: what is wrong with one is said by its key, what was given and what is allowed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from training.config import RecipeError
from training.recipe import find_recipe, read_recipe
from training.variants import packaged_recipes

PACKAGED = sorted(packaged_recipes())


def reverse_with(tmp_path: Path, changes: dict[str, Any]) -> Path:
    """The packaged toy recipe with values set by dotted keys."""
    recipe = yaml.safe_load(find_recipe("reverse").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = recipe
        for name in sections:
            section = section[name]
        section[last] = value
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_recipe_is_right_and_named_as_its_file(name: str) -> None:
    assert read_recipe(find_recipe(name)).name == name


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.stepz", 5, ["training.stepz: unknown key, given 5", "steps", "validate_every"]),
        ("problem.lettters", "ab", ["problem.reverse.lettters: unknown key", "letters, max_length"]),
        ("training.steps", -3, ["training.steps: given -3", "greater than or equal to 0"]),
        (
            "training.steps",
            0,
            ["training.steps 0 without start_from leaves random weights; allowed: at least 1, or start_from"],
        ),
        ("training.steps", "many", ["training.steps: given 'many'", "valid integer"]),
        ("model.cell", "qrnn", ["model.translation.cell: given 'qrnn'", "'gru_reset_after' or 'lstm'"]),
        ("problem.kind", "revers", ["problem: given", "'revers'", "'reverse', 'translation'"]),
        ("training.schedule.peak", 0, ["training.schedule.peak: given 0", "greater than 0"]),
        ("name", "a/b", ["name: given 'a/b'"]),
        ("export.limits.beam_size", 2, ["export: given", "defaults.beam_size 3 is above limits.beam_size 2"]),
        ("export.limits.min_source_length", 65, ["min_source_length 65 is above limits.source_length 64"]),
        ("problem.min_length", 7, ["problem.reverse: given", "min_length 7 is above max_length 6"]),
        (
            "model",
            {"kind": "pointer", "encoder": {"kind": "set", "hidden_size": 32, "num_heads": 5}},
            ["model.pointer.encoder.set: given", "hidden_size 32 is no multiple of num_heads 5"],
        ),
        (
            "model",
            {"kind": "translation", "encoder": "attentive", "encoder_size": 20, "encoder_heads": 4},
            [
                "model.translation: given",
                "encoder_size 20 of an attentive encoder is no multiple of twice encoder_heads, 8",
            ],
        ),
        ("data_sources", [{"name": "x"}], ["data_sources.0.licence: missing"]),
    ],
)
def test_a_fault_is_named_by_its_key(tmp_path: Path, key: str, value: object, said: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        read_recipe(reverse_with(tmp_path, {key: value}))
    for words in said:
        assert words in str(error.value)


def test_a_model_refuses_a_problem_of_another_kind(tmp_path: Path) -> None:
    toy = read_recipe(find_recipe("reverse"))
    hull = read_recipe(find_recipe("hull"))
    with pytest.raises(
        RecipeError, match=r"'pointer' with a problem that has no points; allowed: hull, delaunay, tour"
    ):
        hull.model.build(toy.problem.build(None, tmp_path, 1))
    with pytest.raises(RecipeError, match="'translation' with a problem that is not text to text"):
        toy.model.build(hull.problem.build(None, tmp_path, 1))
    transformer = read_recipe(find_recipe("translation-small-transformer"))
    with pytest.raises(RecipeError, match="'transformer' with a problem that is not text to text"):
        transformer.model.build(hull.problem.build(None, tmp_path, 1))


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        read_recipe(reverse_with(tmp_path, {"training.steps": -1, "model.dropout": 1.0}))
    assert "training.steps" in str(error.value)
    assert "model.translation.dropout" in str(error.value)


def test_a_file_that_is_no_yaml_or_no_recipe_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for content in ("a: [", "- just\n- a list\n", ""):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(RecipeError, match=r"recipe\.yaml"):
            read_recipe(path)


def test_an_unknown_name_gets_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"'revrse' is neither a file nor a packaged recipe.*reverse"):
        find_recipe("revrse")


def test_a_recipe_cannot_be_changed_after_it_was_checked() -> None:
    recipe = read_recipe(find_recipe("reverse"))
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2
