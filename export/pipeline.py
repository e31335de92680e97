"""From a finished run to a published bundle, read top to bottom: round, trace, store, check, publish."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import torch

from export.errors import ExportError
from export.manifest_file import write_manifest
from export.onnx_writer import trace_graphs
from export.parity import Comparison, check_parity
from export.publish import (
    copy_tokenizers,
    git_commit,
    now,
    published_folder,
    staged,
    tool_versions,
    write_graph_files,
)
from export.quantise import round_weights, store_in_8_bits
from export.sources import Source, example_batch, held_back_sources
from export.torch_model import TorchModel
from serving.bundle import load_bundle
from serving.manifest import (
    TEXT_TARGETS,
    Certificate,
    DataSource,
    DecodingDefaults,
    DecodingLimits,
    ImageSpec,
    Manifest,
    Provenance,
    TaskName,
    TensorSpec,
    Tokenizers,
    Vocabulary,
)
from serving.manifest import Graphs as GraphSpecs
from serving.session import OnnxModel, SessionConfig
from training.models.base import SequenceToSequence
from training.recipe import Recipe
from training.run import Run
from training.vocabulary import BOS, EOS, FIRST_POSITION, PAD, UNK

Precision = Literal["int8", "fp32"]
SMALLEST_BUCKET: Final = 8


@dataclass(frozen=True)
class ExportSettings:
    """What the command line says.

    Attributes:
        output: the folder of bundles.
        name: the bundle's; None takes the recipe's.
        version: the bundle's.
        precision: how weights are stored; arithmetic is float32 either way.
        inputs: how many held-back inputs parity decodes.
        replace: whether a version that is there may be replaced.
        notes: sentences on what the recipe does not say of this run; they go into provenance and the model card.
    """

    output: Path
    name: str | None = None
    version: str = "1"
    precision: Precision = "int8"
    inputs: int = 200
    replace: bool = False
    notes: tuple[str, ...] = ()


def export_run(run: Run, settings: ExportSettings, progress: Callable[[str], None]) -> Path:
    """Export a run, check it against PyTorch, and publish it.

    Args:
        run: with its data, for parity needs inputs that training never saw.
        settings: where to and how.
        progress: called with a word on what is being done.

    Returns:
        the bundle's folder.

    Raises:
        ExportError: it cannot be exported, or does not give PyTorch's answers; nothing was published.
    """
    task = run.recipe.task
    name = settings.name or run.recipe.name
    # Before the minutes of tracing and checking; `staged` asks again.
    published = published_folder(settings.output, name, settings.version, replace=settings.replace)
    sources = held_back_sources(run.problem, task, settings.inputs)
    model = copy.deepcopy(run.model).eval()
    if settings.precision == "int8":
        progress("rounding the weights to 8 bits")
        round_weights(model)
    progress("tracing the encoder and the decoder step")
    graphs = trace_graphs(model, task, example_batch(task, sources))
    if settings.precision == "int8":
        store_in_8_bits(graphs.encoder)
        store_in_8_bits(graphs.decoder_step)
    with staged(settings.output, name, settings.version, replace=settings.replace) as folder:
        manifest = build_manifest(
            run.recipe,
            settings,
            write_graph_files(folder, graphs),
            copy_tokenizers(folder, run.tokenizers),
            vocabulary_of(model, task, sources),
        )
        write_manifest(folder, manifest)
        report = _check(folder, model, sources, progress)
        write_manifest(folder, manifest.model_copy(update={"certificates": (report,)}))
    return published


def _check(
    folder: Path, model: SequenceToSequence, sources: Sequence[Source], progress: Callable[[str], None]
) -> Certificate:
    """Load a bundle as a server does, and compare it with the model it was made from."""
    bundle = load_bundle(folder)
    candidate = OnnxModel(bundle, SessionConfig())
    reference = TorchModel(model, bundle.manifest.graphs["fp32"].encoder.inputs)
    return check_parity(Comparison(bundle.manifest, reference, candidate), sources, candidate.provider, progress)


def build_manifest(
    recipe: Recipe, settings: ExportSettings, graphs: GraphSpecs, tokenizers: Tokenizers, vocabulary: Vocabulary
) -> Manifest:
    """Put together what a bundle says of itself before it was checked; serving's types check the whole."""
    export = recipe.export
    return Manifest(
        name=settings.name or recipe.name,
        version=settings.version,
        task=recipe.task,
        description=recipe.description,
        graphs={"fp32": graphs},
        tokenizers=tokenizers,
        vocabulary=vocabulary,
        image=_image(graphs),
        defaults=DecodingDefaults.model_validate(export.defaults.model_dump()),
        limits=DecodingLimits.model_validate(export.limits.model_dump()),
        source_buckets=_buckets(graphs, export.limits.source_length),
        provenance=Provenance(
            created=now(),
            git_commit=git_commit(Path(__file__).parent),
            recipe=recipe.name,
            seed=recipe.seed,
            data_sources=tuple(DataSource.model_validate(source.model_dump()) for source in recipe.data_sources),
            tool_versions=tool_versions(),
            notes=settings.notes,
        ),
    )


def vocabulary_of(model: SequenceToSequence, task: TaskName, sources: Sequence[Source]) -> Vocabulary:
    """Return the token ids, the vocabulary's size read off the decoder's logits."""
    if task not in TEXT_TARGETS:
        return Vocabulary(pad=PAD, bos=BOS, eos=EOS, first_position=FIRST_POSITION)
    with torch.inference_mode():
        memory, state = model.encoder(example_batch(task, sources))
        token = torch.full((len(memory.memory),), BOS)
        logits, _, _ = model.decoder.step(token, memory, state)
    return Vocabulary(size=logits.shape[-1], pad=PAD, bos=BOS, eos=EOS, unk=UNK)


def _image(graphs: GraphSpecs) -> ImageSpec | None:
    """Return the size of the image that the encoder reads and of the grid it makes of it; None where it reads none."""
    image = _named(graphs.encoder.inputs, "image")
    if image is None:
        return None
    memory = _named(graphs.encoder.outputs, "memory")
    assert memory is not None
    height, width = cast("tuple[int, int]", image.axes[1:3])
    grid = math.isqrt(int(memory.axes[1]))
    if grid * grid != memory.axes[1]:
        raise ExportError(f"memory: {memory.axes[1]} positions; the encoder of an image must give a square grid")
    return ImageSpec(height=height, width=width, grid_rows=grid, grid_columns=grid)


def _buckets(graphs: GraphSpecs, longest: int) -> tuple[int, ...]:
    """Return source lengths to warm up with: doubling up to the longest, or the one length there is."""
    memory = _named(graphs.encoder.outputs, "memory")
    assert memory is not None
    fixed = memory.axes[1]
    if isinstance(fixed, int):
        return (fixed,)
    doubling = [SMALLEST_BUCKET << power for power in range(longest.bit_length())]
    return (*(length for length in doubling if length < longest), longest)


def _named(specs: Sequence[TensorSpec], name: str) -> TensorSpec | None:
    return next((spec for spec in specs if spec.name == name), None)
