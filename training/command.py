"""`beamstep train`: a recipe and its data in, a run folder out."""

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from training.config import RecipeError
from training.progress import Reporter
from training.recipe import Recipe, find_recipe, read_recipe
from training.trainer import Trainer, Validation, seed_everything


def train(  # noqa: PLR0917 - typer makes options of them
    recipe: Annotated[str, typer.Argument(help="A recipe's path, or the name of one that comes with the package.")],
    data: Annotated[
        Path | None, typer.Option(help="The data folder; not needed where the problem makes its own.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The run folder; default: runs/<the recipe's name>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away the run of that name and begin again.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Training time of the run; it then ends as at its last step.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: one a core.")] = None,
) -> None:
    """Train a model by a recipe."""
    if threads is not None:
        torch.set_num_threads(threads)
    console = Console()
    try:
        file = find_recipe(recipe)
        checked = read_recipe(file)
        folder = run or Path("runs") / checked.name
        validation = train_recipe(file, checked, data, folder, console, resume=resume, restart=restart, minutes=minutes)
    except RecipeError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped; --resume goes on from the last checkpoint", err=True)
        raise typer.Exit(130) from error
    console.print(
        f"{folder}/averaged.pt: validation loss {validation.loss:.4f}, token accuracy {validation.token_accuracy:.1f} %"
    )


def train_recipe(
    file: Path,
    recipe: Recipe,
    data: Path | None,
    run: Path,
    console: Console,
    *,
    resume: bool = False,
    restart: bool = False,
    minutes: float | None = None,
) -> Validation:
    """Train `recipe`, read from `file`, in the folder `run`; return how the averaged weights validate."""
    prepare_folder(file, recipe, run, resume=resume, restart=restart)
    seed_everything(recipe.seed)
    problem = recipe.problem.build(data, run, recipe.seed)
    model = recipe.model.build(problem)
    trainer = Trainer(recipe.training, model, problem, run, reporter=Reporter(console), minutes=minutes)
    parameters = sum(weights.numel() for weights in model.parameters())
    console.print(f"{recipe.name}: {parameters:,} parameters, {torch.get_num_threads()} threads, {trainer.device}")
    if resume and trainer.last_checkpoint.is_file():
        trainer.resume()
        console.print(f"going on from step {trainer.position.step}")
    return trainer.train()


def prepare_folder(file: Path, recipe: Recipe, run: Path, *, resume: bool, restart: bool) -> None:
    """Make the run folder and put the recipe into it, unless a run begun there is to go on.

    RecipeError where a run with a checkpoint is there and neither option was given, both were, or the recipe is another one.
    """
    kept, begun = run / "recipe.yaml", (run / "checkpoints" / "last.pt").is_file()
    if resume and restart:
        raise RecipeError("--resume and --restart: both given; allowed: one of them")
    if begun and not (resume or restart):
        raise RecipeError(f"--run: {run} holds a run already; allowed: --resume, --restart or another folder")
    if begun and resume:
        if read_recipe(kept) != recipe:
            raise RecipeError(f"--resume: {kept} differs from {file}; allowed: the recipe the run was begun with")
        return
    run.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    for name in ("averaged.pt", "metrics.jsonl", *recipe.problem.tokenizer_files):
        (run / name).unlink(missing_ok=True)
    if not (kept.is_file() and kept.samefile(file)):
        kept.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
