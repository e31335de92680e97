"""Writes a translation bundle of random weights to measure with: python -m benchmarks.synthetic_bundle build/benchmarks.

It has the shapes of a full-size model (H = 512 of each direction and of the decoder, E = 256, V = 8,000, float32) that nobody
trained: a step costs what it would cost, and the answers mean nothing. It never says `eos`; a request's max_length is the length of
its answer. Needs the extra `train`.
"""

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import torch
import typer

from benchmarks.workload import sentence, words
from export.certification.certify import certify
from export.manifest_file import now, write_manifest
from export.onnx_writer import trace_graphs
from export.publish import copy_tokenizers, git_commit, published_folder, staged, tool_versions, write_graph_files
from serving.bundle import load_bundle
from serving.manifest import (
    DataSource,
    DecodingDefaults,
    DecodingLimits,
    LengthRule,
    Manifest,
    Provenance,
    Vocabulary,
)
from serving.precision import CPU
from training.models.base import SequenceToSequence
from training.models.translation import TranslationDecoder, TranslationEncoder, TranslationModelConfig
from training.problems.text import train_tokenizer
from training.vocabulary import BOS, EOS, PAD, UNK

NAME: Final = "synthetic"
VERSION: Final = "1"
SEED: Final = 1
NEVER: Final = -100.0
"""The bias of `eos`: so unlikely that no beam ever holds it."""
INVENTED_WORDS: Final = 2.5
"""For each piece of the vocabulary."""
SENTENCES: Final = 4_000


def synthetic_bundle(
    output: Annotated[Path, typer.Argument(help="The folder of bundles it goes into.")],
    *,
    hidden_size: Annotated[int, typer.Option(min=1, help="H of each direction, of memory and of the decoder.")] = 512,
    embedding_size: Annotated[int, typer.Option(min=1, help="E of both sides.")] = 256,
    vocabulary_size: Annotated[int, typer.Option(min=300, help="V of both sides.")] = 8000,
    replace: Annotated[bool, typer.Option("--replace", help="Write it again where there is one.")] = False,
) -> None:
    """Write a translation bundle of random weights."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_synthetic(output, Path(scratch), hidden_size, embedding_size, vocabulary_size, replace=replace)
    typer.echo(f"{folder}: H {hidden_size}, E {embedding_size}, V {vocabulary_size}")


def write_synthetic(
    output: Path, scratch: Path, hidden_size: int, embedding_size: int, vocabulary_size: int, *, replace: bool = False
) -> Path:
    """Write the bundle and return its folder.

    Args:
        output: the folder of bundles.
        scratch: an empty folder for what is made on the way.
        hidden_size: H.
        embedding_size: E.
        vocabulary_size: V.
        replace: whether one that is there may be replaced.

    Raises:
        ExportError: there is one, and it may not be replaced.
    """
    published = published_folder(output, NAME, VERSION, replace=replace)  # `staged` asks again, after the work
    tokenizer = scratch / "source.model"
    size = train_tokenizer(_text(vocabulary_size), vocabulary_size, tokenizer, model_type="bpe").size
    shutil.copyfile(tokenizer, scratch / "target.model")
    graphs = trace_graphs(random_model(hidden_size, embedding_size, size), "translation", _example())
    with staged(output, NAME, VERSION, replace=replace) as folder:
        manifest = Manifest(
            name=NAME,
            version=VERSION,
            task="translation",
            description="Random weights, to measure speed with; its answers mean nothing.",
            graphs={"fp32": write_graph_files(folder, graphs)},
            tokenizers=copy_tokenizers(folder, {name: scratch / name for name in ("source.model", "target.model")}),
            vocabulary=Vocabulary(size=size, pad=PAD, bos=BOS, eos=EOS, unk=UNK),
            defaults=DecodingDefaults(beam_size=5, length_penalty=1.0, max_length=LengthRule(per_source=2.0, plus=10)),
            limits=DecodingLimits(beam_size=16, source_length=256, max_length=320),
            source_buckets=(8, 16, 32, 64, 128, 256),
            provenance=Provenance(
                created=now(),
                git_commit=git_commit(Path(__file__).parent),
                recipe=NAME,
                seed=SEED,
                data_sources=(DataSource(name="none: random weights", licence="CC0-1.0"),),
                tool_versions=tool_versions(),
            ),
        )
        write_manifest(folder, manifest)
        # There is nothing that its answers should be; that rows leave each other alone is found here, and serving asks for that.
        certificate = certify(load_bundle(folder), "fp32", (CPU,), None, lambda _: None)
        write_manifest(folder, manifest.model_copy(update={"certificates": (certificate,)}))
    return published


def random_model(hidden_size: int, embedding_size: int, vocabulary_size: int) -> SequenceToSequence:
    """Return the shipped translation model's class with random weights, `eos` out of reach."""
    torch.manual_seed(SEED)
    config = TranslationModelConfig(
        kind="translation", embedding_size=embedding_size, encoder_size=hidden_size, hidden_size=hidden_size
    )
    decoder = TranslationDecoder(config, vocabulary_size)
    with torch.no_grad():
        decoder.output_bias[EOS] = NEVER
    return SequenceToSequence(TranslationEncoder(config, vocabulary_size), decoder).eval()


def _example() -> dict[str, torch.Tensor]:
    """Return a padded batch to trace with."""
    lengths = torch.tensor([7, 6, 5])
    tokens = torch.full((3, 7), UNK)
    tokens[torch.arange(7) >= lengths.unsqueeze(1)] = PAD
    return {"source_tokens": tokens, "source_lengths": lengths}


def _text(vocabulary_size: int) -> Iterator[str]:
    """Yield captions, whose words shall be pieces, and invented words, of which there are enough to fill the vocabulary."""
    generator = random.Random(SEED)
    for _ in range(SENTENCES):
        yield sentence(12, lambda text: text.count(" ") + 2, generator)
    yield from words()
    syllables = [first + vowel for first in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    for _ in range(round(INVENTED_WORDS * vocabulary_size)):
        yield "".join(generator.choices(syllables, k=generator.randint(2, 4)))


if __name__ == "__main__":
    typer.run(synthetic_bundle)
