"""From a finished run to a published bundle, read top to bottom: trace, compare with PyTorch, quantise, certify, publish."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

import torch

from export.calibration import Calibration, Recorder
from export.certification.certify import certify
from export.certification.references import References, record_references
from export.certification.references_file import write_references
from export.certification.searching import best_answers
from export.certification.sources import Source, drawn_picture
from export.errors import ExportError, ParityError
from export.manifest_file import now, write_manifest
from export.onnx_writer import Graphs, trace_graphs
from export.parity import check_parity
from export.precisions import graphs_in
from export.publish import (
    copy_tokenizers,
    git_commit,
    published_folder,
    staged,
    tool_versions,
    write_graph_files,
)
from export.sources import HeldBack, example_batch, held_back
from export.torch_model import TorchModel
from serving.bundle import Bundle, load_bundle
from serving.manifest import (
    TEXT_TARGETS,
    DataSource,
    DecodingDefaults,
    DecodingLimits,
    ImageSpec,
    Manifest,
    Precision,
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

SMALLEST_BUCKET: Final = 8
CALIBRATING: Final = 96
"""How many held-back inputs fixed scales are found with."""
PICTURES: Final = 64
"""How many drawn pictures stand for photos that may not travel."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ExportSettings:
    """What the command line says.

    Attributes:
        output: the folder of bundles.
        name: the bundle's; None takes the recipe's.
        version: the bundle's.
        precisions: a pair of graphs is kept of each.
        inputs: how many held-back inputs are decoded for the certificates, where the problem has so many.
        replace: whether a version that is there may be replaced.
        notes: sentences on what the recipe does not say of this run; they go into provenance and the model card.
    """

    output: Path
    name: str | None = None
    version: str = "1"
    precisions: tuple[Precision, ...] = ("int8",)
    inputs: int = 1000
    replace: bool = False
    notes: tuple[str, ...] = ()


def export_run(run: Run, settings: ExportSettings, progress: Progress) -> Path:
    """Export a run, check it against PyTorch, and publish it.

    Args:
        run: with its data, for certificates need inputs that training never saw.
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
    inputs = held_back(run.problem, task, settings.inputs)
    model = copy.deepcopy(run.model).eval()
    progress("tracing the encoder and the decoder step")
    traced = trace_graphs(model, task, example_batch(task, inputs.sources))
    with staged(settings.output, name, settings.version, replace=settings.replace) as folder:
        # fp32 is there until the end: what is calibrated runs it, and speed is compared with it.
        manifest = build_manifest(
            run.recipe,
            settings,
            write_graph_files(folder, traced),
            copy_tokenizers(folder, run.tokenizers),
            vocabulary_of(model, task, inputs.sources),
        )
        write_manifest(folder, manifest)
        fp32 = OnnxModel(load_bundle(folder), SessionConfig(precision="fp32", allow_uncertified=True))
        reference = TorchModel(model, manifest.graphs["fp32"].encoder.inputs)
        progress("comparing every tensor with PyTorch's on random shapes")
        check_parity(manifest, reference, fp32, inputs.sources)
        calibration = Calibration((), ())
        if "int8" in settings.precisions:
            progress("decoding with fp32 to see what numbers its graphs meet")
            calibration = _calibrate(manifest, fp32, inputs.sources)
        make = partial(graphs_in, traced=traced, calibration=calibration, migration=run.recipe.export.migration)
        graphs = dict(manifest.graphs) | _make_others(folder, make, settings.precisions, progress)
        measured, travelling = _record(manifest, reference, inputs, progress)
        manifest = manifest.model_copy(update={"graphs": graphs, "references": write_references(folder, travelling)})
        write_manifest(folder, manifest)
        _keep(folder, _certified(load_bundle(folder), settings.precisions, measured, progress), settings.precisions)
    return published


def _calibrate(manifest: Manifest, fp32: OnnxModel, sources: Sequence[Source]) -> Calibration:
    """Record what the graphs are fed while some held-back inputs are decoded; least and greatest numbers alone come of it."""
    recorder = Recorder(fp32)
    best_answers(manifest, recorder, sources[:CALIBRATING], manifest.defaults.beam_size)
    return recorder.calibration()


def _make_others(
    folder: Path, make: Callable[[Precision], Graphs], precisions: Sequence[Precision], progress: Progress
) -> dict[Precision, GraphSpecs]:
    """Write the graphs of every precision beside fp32."""
    made: dict[Precision, GraphSpecs] = {}
    for precision in precisions:
        if precision != "fp32":
            progress(f"making the {precision} graphs")
            made[precision] = write_graph_files(folder, make(precision), precision)
    return made


def _record(
    manifest: Manifest, reference: TorchModel, inputs: HeldBack, progress: Progress
) -> tuple[References, References]:
    """Return PyTorch's answers to the held-back inputs, and those that travel: the same, but for photos."""
    sources, golds = inputs
    label = "held-back inputs"
    measured = record_references(manifest, reference, sources, label=label, golds=golds, progress=progress)
    if manifest.image is None:
        return measured, measured
    pictures = [drawn_picture(seed, manifest.image.height, manifest.image.width) for seed in range(PICTURES)]
    return measured, record_references(manifest, reference, pictures, label="drawn pictures", progress=progress)


def _certified(bundle: Bundle, precisions: Sequence[Precision], references: References, progress: Progress) -> Manifest:
    """Certify each precision.

    Raises:
        ParityError: one does not pass; the message names all that is wrong with any.
    """
    providers = SessionConfig().providers
    certificates = [certify(bundle, precision, providers, references, progress) for precision in precisions]
    faults = [f"{one.precision}: {fault}" for one in certificates for fault in one.faults]
    if faults:
        raise ParityError("; ".join(faults))
    return bundle.manifest.model_copy(update={"certificates": tuple(certificates)})


def _keep(folder: Path, manifest: Manifest, precisions: Sequence[Precision]) -> None:
    """Write the manifest of the precisions that were asked for, and remove the graphs of others."""
    kept: Mapping[Precision, GraphSpecs] = {precision: manifest.graphs[precision] for precision in precisions}
    for precision, graphs in manifest.graphs.items():
        if precision not in kept:
            for graph in (graphs.encoder, graphs.decoder_step):
                (folder / graph.file).unlink()
    write_manifest(folder, manifest.model_copy(update={"graphs": kept}))


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
