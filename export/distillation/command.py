"""`beamstep distil`: sentences in one language and a bundle in, pairs to train another model on out."""

import gzip
from pathlib import Path
from typing import Annotated

import typer

from export.distillation.sentences import read_captions_as_text, without_held_back
from export.distillation.teacher import pairs_of, teacher_of
from export.evaluation.command import find_bundle
from export.evaluation.lines import BadData, read_lines
from serving.bundle import load_bundle
from serving.errors import BadBundle, BadConfiguration, InvalidRequest


def distil(  # noqa: PLR0917 - typer makes options of them
    bundle: Annotated[Path, typer.Argument(help="The translation bundle that teaches.")],
    output: Annotated[
        Path, typer.Option(help="The pairs: source, tab, target a line; gzip where the name ends in .gz.")
    ],
    source: Annotated[list[Path] | None, typer.Option(help="Sentences, one a line, plain or gzip; repeatable.")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="JSON lines with image, split and captions, taken as sentences.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which records of --captions.")] = "train",
    held_back: Annotated[
        list[Path] | None,
        typer.Option(help="Lines that must not be among the sentences, such as test sets; repeatable."),
    ] = None,
    reverse: Annotated[
        Path | None, typer.Option(help="A bundle that translates back, to choose among the candidates with.")
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, max=16, help="Translations found of each sentence.")] = 5,
    hypotheses: Annotated[int, typer.Option(min=1, help="The best so many of them are kept.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many sentences.")] = None,
) -> None:
    """Let a bundle translate sentences, for another model to learn from.

    Forward for sequence-level distillation (Kim and Rush 2016, arXiv:1606.07947); the other way round, with the columns
    swapped in the recipe, for back-translation (Sennrich et al. 2016, arXiv:1511.06709).
    """
    try:
        _check(source, captions, candidates, hypotheses)
        given = [line for path in source or () for line in read_lines(path)]
        if captions is not None:
            given += read_captions_as_text(captions, split)
        sentences = _checked(without_held_back(given, held_back or ()), len(given))[:limit]
        forward = load_bundle(find_bundle(bundle))
        backward = None if reverse is None else load_bundle(find_bundle(reverse))
        with teacher_of(forward, backward) as teacher:
            lists = teacher.translate(sentences, candidates)
        pairs = list(pairs_of(sentences, lists, hypotheses))
        content = "".join(f"{one}\t{other}\n" for one, other in pairs).encode()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(gzip.compress(content, mtime=0) if output.suffix == ".gz" else content)
    except (BadData, BadBundle, BadConfiguration, InvalidRequest, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{output}: {len(pairs):,} pairs of {len(sentences):,} sentences ({len(given):,} given)")


def _check(source: list[Path] | None, captions: Path | None, candidates: int, hypotheses: int) -> None:
    if not source and captions is None:
        raise BadData("--source and --captions: neither given; allowed: one or both")
    if hypotheses > candidates:
        raise BadData(f"--hypotheses: given {hypotheses}; allowed: up to --candidates, {candidates}")


def _checked(sentences: list[str], given: int) -> list[str]:
    if not sentences:
        raise BadData(
            f"--source and --captions: all of {given} sentences are held back or empty; allowed: at least one other"
        )
    return sentences
