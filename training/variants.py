"""Recipes that build on others: `based_on: NAME` and what differs, merged into one whole recipe.

Mappings are merged key by key; anything else, a list too, is replaced. So is a mapping whose `kind` differs: keys of one kind
mean nothing to another. `name` and `description` are never taken over, for they say what is different.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from training.config import RecipeError

BASED_ON: Final = "based_on"
OWN: Final = ("name", "description")
"""What a recipe says for itself."""


def packaged_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, those in folders too, by the name of their file."""
    folder = Path(str(resources.files("training"))) / "recipes"
    return {file.stem: file for file in sorted(folder.rglob("*.yaml"))}


def read_content(path: Path) -> Any:
    """Return what a recipe's file says, merged with all that it builds on: a mapping without `based_on`, unless it is none.

    Raises:
        RecipeError: a file cannot be read, what `based_on` names is not there, or builds on itself.
    """
    content = _read(path)
    chain = [path.resolve()]
    merged = content
    while isinstance(content, Mapping) and BASED_ON in content:
        base = _base(chain[-1], content[BASED_ON])
        if base in chain:
            raise RecipeError(
                f"{path}:\n  {BASED_ON}: given {content[BASED_ON]!r}, which builds on itself; allowed: a chain that ends"
            )
        chain.append(base)
        content = _read(base)
        if not isinstance(content, Mapping):
            raise RecipeError(f"{base}: has no keys; allowed: a recipe")
        taken = {key: value for key, value in content.items() if key not in OWN}
        merged = merge(taken, {key: value for key, value in merged.items() if key != BASED_ON})
    return merged


def write_whole(file: Path, to: Path) -> None:
    """Write the recipe in `file` to another file that needs no third: as it stands, or merged where it builds on another."""
    text = file.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    if isinstance(content, Mapping) and BASED_ON in content:
        whole = yaml.safe_dump(read_content(file), sort_keys=False, allow_unicode=True, width=120)
        text = f"# {file.name} with what it builds on, {content[BASED_ON]}.\n{whole}"
    to.write_text(text, encoding="utf-8")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `over` says instead, mapping by mapping; keys keep the base's order."""
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        if (
            isinstance(before, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind") in {None, before.get("kind")}
        ):
            merged[key] = merge(before, value)
        else:
            merged[key] = value
    return merged


def _base(path: Path, name: Any) -> Path:
    """Return the file that the recipe `path` builds on: a path beside it, or a packaged recipe's."""
    beside = path.parent / str(name)
    if beside.is_file():
        return beside.resolve()
    try:
        return packaged_recipes()[name].resolve()
    except (KeyError, TypeError):
        raise RecipeError(
            f"{path}:\n  {BASED_ON}: given {name!r}, which is neither a file beside it nor a packaged recipe; "
            f"allowed: a path from there, or one of {', '.join(packaged_recipes())}"
        ) from None


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {error}") from error
