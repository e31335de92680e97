"""`beamstep train`: a recipe and its data in, a run folder out."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from training.config import RecipeError
from training.progress import Reporter
from training.recipe import Recipe, find_recipe, read_recipe
from training.trainer import Trainer, Validation, seed_everything
from training.variants import write_whole


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
    except (RecipeError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except FloatingPointError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
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
    clock: Callable[[], float] = time.monotonic,
) -> Validation:
    """Train `recipe`, read from `file`, in the folder `run`, for `minutes` by `clock`; return how the averaged weights validate.

    Raises:
        RecipeError: the recipe, the data or the folder must be another.
        FloatingPointError: training diverged.
        OSError: the run folder cannot be written.
    """
    check_data(recipe, data)
    goes_on = resume and (run / "checkpoints" / "last.pt").is_file()
    start = None if goes_on else recipe.start_from  # a checkpoint has all of it
    if start is not None and restart:
        start.check(run)
    prepare_folder(file, recipe, run, resume=resume, restart=restart)
    seed_everything(recipe.seed)
    if start is not None:
        start.take_tokenizers(run)
    problem = recipe.problem.build(data, run, recipe.seed)
    model = recipe.model.build(problem)
    if start is not None:
        taken = start.take_weights(model, run)
        console.print(f"beginning with {taken:,} weights of {', '.join(start.runs)}")
    trainer = Trainer(recipe.training, model, problem, run, reporter=Reporter(console), minutes=minutes, clock=clock)
    parameters = sum(weights.numel() for weights in model.parameters())
    console.print(
        f"{recipe.name}: {parameters:,} parameters, {torch.get_num_threads()} threads, {trainer.device}, {trainer.precision}"
    )
    if goes_on:
        trainer.resume()
        console.print(f"going on from step {trainer.position.step}")
    elif resume:
        console.print("no checkpoint to go on from: beginning at step 0")
    return trainer.train()


def check_data(recipe: Recipe, data: Path | None) -> None:
    """Raise RecipeError where the problem needs a data folder and has none; before --restart throws anything away."""
    if data is None and recipe.problem.needs_data:
        raise RecipeError(f"--data: missing; a problem of kind {recipe.problem.kind!r} needs its data folder")
    if data is not None and not data.is_dir():
        raise RecipeError(f"--data: {data} is no folder; allowed: the folder that the recipe's paths are in")


def prepare_folder(file: Path, recipe: Recipe, run: Path, *, resume: bool, restart: bool) -> None:
    """Make the run folder and put the recipe into it, unless a run begun there is to go on.

    RecipeError where a run with weights is there and neither option was given, both were, or the recipe is another one.
    """
    kept = run / "recipe.yaml"
    checkpoint, averaged = ((run / name).is_file() for name in ("checkpoints/last.pt", "averaged.pt"))
    begun = checkpoint or averaged
    if resume and restart:
        raise RecipeError("--resume and --restart: both given; allowed: one of them")
    if begun and not (resume or restart):
        raise RecipeError(f"--run: {run} holds a run already; allowed: --resume, --restart or another folder")
    if begun and resume:
        if read_recipe(kept) != recipe:
            raise RecipeError(f"--resume: {kept} differs from {file}; allowed: the recipe the run was begun with")
        if not checkpoint:
            raise RecipeError(f"--resume: {run} has ended and kept no checkpoint; allowed: --restart or another folder")
        return
    run.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    for name in ("averaged.pt", "metrics.jsonl", *recipe.problem.tokenizer_files):
        (run / name).unlink(missing_ok=True)
    if not (kept.is_file() and kept.samefile(file)):
        write_whole(file, kept)
