"""A quick look at a run, also while it trains: greedy translations of the held-back sentences, and their BLEU.

`python -m training.evaluate RUN --data DIR`. Figures to report come from `beamstep evaluate`, which measures what is served.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import sacrebleu
import typer

from training.decoding import search
from training.models.base import SequenceToSequence
from training.problems.translation import TranslationProblem
from training.run import load_run, newest_weights


def translate_validation(model: SequenceToSequence, problem: TranslationProblem) -> Iterator[str]:
    """Yield a greedy translation of each held-back source, in order."""
    for batch in problem.validation_batches():
        for tokens in search(model, batch.inputs, problem.longest_answer(batch.inputs)):
            yield problem.tokenizers.target.decode(tokens)


def main(
    run: Annotated[Path, typer.Argument(help="The run folder of a problem of text to text.")],
    data: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many translations to print.")] = 5,
) -> None:
    """Print some greedy translations and BLEU, of the averaged weights, or of the last checkpoint while there are none."""
    weights = newest_weights(run)
    loaded = load_run(run, data, weights)
    problem = loaded.problem
    if not isinstance(problem, TranslationProblem):
        raise typer.BadParameter(f"{run} holds a problem of kind {loaded.recipe.problem.kind}; allowed: text to text")
    translations = list(translate_validation(loaded.model, problem))
    references = [pair.target for pair in problem.pairs.validation_text]
    for pair, translation in list(zip(problem.pairs.validation_text, translations, strict=True))[:show]:
        typer.echo(f"{pair.source}\n  -> {translation}\n   = {pair.target}")
    bleu = sacrebleu.BLEU(lowercase=True)
    typer.echo(f"{weights}: greedy, {bleu.corpus_score(translations, [references])} {bleu.get_signature()}")


if __name__ == "__main__":
    typer.run(main)
