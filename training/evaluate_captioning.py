"""A quick look at a captioning run, also while it trains: captions of the held-back photos, and their BLEU and CIDEr.

`python -m training.evaluate_captioning RUN --data DIR`. Figures to report come from `beamstep evaluate`, which measures
what is served.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from training.decoding import search
from training.models.base import SequenceToSequence
from training.problems.captioning import CaptioningProblem
from training.run import load_run, newest_weights


def caption_validation(
    model: SequenceToSequence, problem: CaptioningProblem, *, beam_size: int = 1, length_penalty: float = 0.0
) -> list[list[int]]:
    """Return a caption of each held-back image as ids, in order."""
    return [
        answer
        for batch in problem.validation_batches()
        for answer in search(
            model,
            batch.inputs,
            problem.longest_answer(batch.inputs),
            beam_size=beam_size,
            length_penalty=length_penalty,
        )
    ]


def main(
    run: Annotated[Path, typer.Argument(help="The run folder of a captioning problem.")],
    data: Annotated[Path, typer.Option(help="The data folder.")],
    show: Annotated[int, typer.Option(min=0, help="How many captions to print.")] = 10,
    beam_size: Annotated[int, typer.Option(min=1, help="1 is greedy.")] = 1,
    length_penalty: Annotated[list[float], typer.Option(min=0, help="May be given several times.")] = [0.0],  # noqa: B006
) -> None:
    """Print some captions and the metrics, of the averaged weights, or of the last checkpoint while there are none."""
    torch.set_num_threads(1)
    weights = newest_weights(run)
    loaded = load_run(run, data, weights)
    problem = loaded.problem
    if not isinstance(problem, CaptioningProblem):
        raise typer.BadParameter(f"{run} holds a problem of kind {loaded.recipe.problem.kind}; allowed: captioning")
    for penalty in length_penalty:
        answers = caption_validation(loaded.model, problem, beam_size=beam_size, length_penalty=penalty)
        for image, answer in list(zip(problem.photos.validation_images, answers, strict=True))[:show]:
            caption = problem.tokenizer.decode(answer)
            typer.echo(f"{image.path.name}\n  -> {caption}\n   = {' | '.join(image.captions)}")
        scores = ", ".join(f"{name} {value:.2f}" for name, value in problem.score(answers).items())
        typer.echo(f"{weights}: beam {beam_size}, length penalty {penalty:g}: {scores}")


if __name__ == "__main__":
    typer.run(main)
