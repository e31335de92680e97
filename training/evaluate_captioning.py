"""A quick look at a captioning run, also while it trains: greedy captions of the held-back photos, and their BLEU.

`python -m training.evaluate_captioning RUN --data DIR`. Figures to report come from `beamstep evaluate`, which measures
what is served.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from sacrebleu.metrics.bleu import BLEU, BLEUScore

from training.evaluate import decode_greedily
from training.models.base import SequenceToSequence
from training.problems.captioning import CaptioningProblem
from training.run import load_run, newest_weights

MAX_LENGTH = 30


def caption_validation(model: SequenceToSequence, problem: CaptioningProblem) -> list[str]:
    """Return a greedy caption of each held-back image, in order."""
    return [
        problem.tokenizer.decode(tokens)
        for batch in problem.validation_batches()
        for tokens in decode_greedily(model, batch.inputs, MAX_LENGTH)
    ]


def caption_bleu(captions: list[str], references: list[tuple[str, ...]]) -> BLEUScore:
    """Compare captions with several references each, all normalised; every image has as many."""
    columns = [list(column) for column in zip(*references, strict=True)]
    score: BLEUScore = BLEU(tokenize="none").corpus_score(captions, columns)
    return score


def main(
    run: Annotated[Path, typer.Argument(help="The run folder of a captioning problem.")],
    data: Annotated[Path, typer.Option(help="The data folder.")],
    show: Annotated[int, typer.Option(min=0, help="How many captions to print.")] = 10,
) -> None:
    """Print some greedy captions and BLEU, of the averaged weights, or of the last checkpoint while there are none."""
    torch.set_num_threads(1)
    weights = newest_weights(run)
    loaded = load_run(run, data, weights)
    problem = loaded.problem
    if not isinstance(problem, CaptioningProblem):
        raise typer.BadParameter(f"{run} holds a problem of kind {loaded.recipe.problem.kind}; allowed: captioning")
    captions = caption_validation(loaded.model, problem)
    images = problem.photos.validation_images
    for image, caption in list(zip(images, captions, strict=True))[:show]:
        typer.echo(f"{image.path.name}\n  -> {caption}\n   = {' | '.join(image.captions)}")
    typer.echo(f"{weights}: greedy, {caption_bleu(captions, [image.captions for image in images])}")


if __name__ == "__main__":
    typer.run(main)
