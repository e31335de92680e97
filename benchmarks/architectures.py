"""Every kind of architecture exported at full size, with random weights: python -m benchmarks.architectures > table.md.

For each: the nodes of both graphs, their size in float32 and 8 bits, the largest difference from PyTorch on random shapes, and how
many times faster 8 bits are, a thread each, in turns on this machine. docs/export.md has the table. Needs the extra `train`; with
all networks it takes a quarter of an hour.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer

from export.calibration import Recorder
from export.certification.bounds import TENSOR_TOLERANCE
from export.certification.searching import best_answers
from export.certification.sources import Source, drawn_picture
from export.certification.speed import speed_ratios
from export.errors import ParityError
from export.manifest_file import now
from export.onnx_writer import trace_graphs
from export.parity import check_parity
from export.precisions import graphs_in
from export.publish import write_graph_files
from export.sources import example_batch
from export.torch_model import TorchModel
from serving.bundle import Bundle
from serving.manifest import (
    TEXT_TARGETS,
    DecodingDefaults,
    DecodingLimits,
    FileSpec,
    ImageSpec,
    LengthRule,
    Manifest,
    Precision,
    Provenance,
    TaskName,
    Tokenizers,
    Vocabulary,
)
from serving.manifest import Graphs as GraphSpecs
from serving.session import OnnxModel, SessionConfig
from training.models.base import SequenceToSequence
from training.models.captioning import CaptioningModelConfig
from training.models.networks import NETWORKS, NetworkKind
from training.models.pointer import PointerConfig, PointerDecoder, PointerEncoder
from training.models.transformer import TransformerConfig
from training.models.translation import TranslationModelConfig
from training.vocabulary import BOS, EOS, FIRST_POSITION, PAD, UNK

SEED: Final = 1
SOURCES: Final = 24
VOCABULARY_SIZE: Final = 6000
TRANSLATION: Final[Mapping[str, Mapping[str, Any]]] = {
    "GRU, dot": {},
    "GRU reset after, dot": {"cell": "gru_reset_after"},
    "LSTM, dot": {"cell": "lstm"},
    "RNN, dot": {"cell": "rnn"},
    "GRU, general": {"attention": "general"},
    "GRU, additive": {"attention": "additive"},
    "GRU, none": {"attention": "none", "input_feeding": False},
    "GRU, dot, no input feeding": {"input_feeding": False},
    "GRU, dot, one way": {"encoder_bidirectional": False},
    "GRU, dot, 2 + 2 layers": {"encoder_layers": 2, "decoder_layers": 2},
    "GRU, dot, H 512": {"embedding_size": 256, "encoder_size": 512, "hidden_size": 512},
}
POINTING: Final[Mapping[str, Mapping[str, Any]]] = {
    "attentive encoder": {"kind": "set", "hidden_size": 128, "num_layers": 3, "num_heads": 4},
    "recurrent encoder": {"kind": "recurrent", "cell": "lstm", "hidden_size": 256},
}


@dataclass(frozen=True)
class Architecture:
    """What the table has a line of; `build` makes the model in evaluation mode."""

    name: str
    task: TaskName
    build: Callable[[], SequenceToSequence]


@dataclass(frozen=True)
class Line:
    """What was measured of one."""

    architecture: Architecture
    nodes: tuple[int, int]
    megabytes: tuple[float, float]
    error: float | None
    times_faster: Mapping[str, float]


def architectures(
    only: Annotated[str, typer.Option(help="Those alone whose task or name has this in it.")] = "",
) -> None:
    """Print the table, a line as soon as it is measured."""
    torch.set_num_threads(1)
    typer.echo(
        "| task | architecture | nodes: encoder, step | MB fp32 | MB int8 | error | encode 1, 8 | step 5, 40, 160 |"
    )
    typer.echo("|---|---|---|---|---|---|---|---|")
    for architecture in every_architecture():
        if only not in f"{architecture.task} {architecture.name}":
            continue
        with tempfile.TemporaryDirectory() as folder:
            typer.echo(as_markdown(measure(architecture, Path(folder))))


def every_architecture() -> Iterator[Architecture]:
    """Yield what can be trained, at the sizes of the shipped recipes."""
    for name, keys in TRANSLATION.items():
        yield Architecture(name, "translation", partial(_translator, keys))
    yield Architecture("transformer, simple recurrent units", "translation", _transformer)
    for name, keys in POINTING.items():
        yield Architecture(name, "convex_hull", partial(_pointer, keys))
    yield Architecture("mobilenet_v2, Show and Tell", "captioning", partial(_captioner, "mobilenet_v2", "none"))
    for kind in NETWORKS:
        yield Architecture(f"{kind}, Show, Attend and Tell", "captioning", partial(_captioner, kind, "dot"))


def measure(architecture: Architecture, folder: Path) -> Line:
    """Export one in both precisions, and compare them with PyTorch and with each other."""
    torch.manual_seed(SEED)
    model, task = architecture.build().eval(), architecture.task
    sources = _random_sources(task)
    traced = trace_graphs(model, task, example_batch(task, sources))
    files: dict[Precision, GraphSpecs] = {"fp32": write_graph_files(folder, traced)}
    fp32 = _opened(folder, task, files, "fp32")
    manifest = fp32.bundle.manifest
    error = _error(manifest, TorchModel(model, files["fp32"].encoder.inputs), fp32, sources)
    recorder = Recorder(fp32)
    best_answers(manifest, recorder, sources, beam_size=2)
    files["int8"] = write_graph_files(folder, graphs_in("int8", traced, recorder.calibration()), "int8")
    int8 = _opened(folder, task, files, "int8")
    ratios = speed_ratios(manifest, int8, fp32, sources)
    return Line(
        architecture,
        (len(traced.encoder.graph.node), len(traced.decoder_step.graph.node)),
        (_megabytes(folder, files["fp32"]), _megabytes(folder, files["int8"])),
        error,
        {f"{ratio.rows or ratio.sources}": ratio.times_faster for ratio in ratios},
    )


def _error(manifest: Manifest, reference: TorchModel, fp32: OnnxModel, sources: list[Source]) -> float | None:
    """Return the largest difference from PyTorch; None above what an export allows, as deep networks of random weights have."""
    try:
        return check_parity(manifest, reference, fp32, sources)
    except ParityError:
        return None


def as_markdown(line: Line) -> str:
    """Write a line of the table."""
    architecture, (before, after) = line.architecture, line.megabytes
    encode = ", ".join(f"{line.times_faster[key]:.2f}" for key in ("1", "8"))
    step = ", ".join(f"{line.times_faster[key]:.2f}" for key in ("5", "40", "160"))
    nodes = "{}, {}".format(*line.nodes)
    cells = (
        architecture.task,
        architecture.name,
        nodes,
        f"{before:.1f}",
        f"{after:.1f} ({100 * after / before:.0f} %)",
        f"over {TENSOR_TOLERANCE:.0e}" if line.error is None else f"{line.error:.0e}",
        encode,
        step,
    )
    return f"| {' | '.join(cells)} |"


def _translator(keys: Mapping[str, Any]) -> SequenceToSequence:
    sizes = {"embedding_size": 192, "encoder_size": 256, "hidden_size": 288}
    config = TranslationModelConfig.model_validate({"kind": "translation", **sizes, **keys})
    return config.build_for(VOCABULARY_SIZE, VOCABULARY_SIZE)


def _transformer() -> SequenceToSequence:
    return TransformerConfig(kind="transformer").build_for(VOCABULARY_SIZE, VOCABULARY_SIZE)


def _pointer(encoder: Mapping[str, Any]) -> SequenceToSequence:
    config = PointerConfig.model_validate({"encoder": encoder, "num_heads": 4, "recent": 1, "remembered": 64})
    return SequenceToSequence(PointerEncoder(config), PointerDecoder(config))


def _captioner(kind: NetworkKind, attention: str) -> SequenceToSequence:
    config = CaptioningModelConfig.model_validate({"kind": "captioning", "attention": attention})
    return config.around(NETWORKS[kind](), VOCABULARY_SIZE // 2)


def _random_sources(task: TaskName) -> list[Source]:
    random = np.random.default_rng(SEED)
    if task == "captioning":
        return [drawn_picture(seed, 224, 224) for seed in range(SOURCES)]
    if task == "translation":
        lengths = random.integers(5, 24, SOURCES)
        tokens = [np.append(random.integers(EOS + 2, VOCABULARY_SIZE, length - 1), EOS) for length in lengths]
        return [{"source_tokens": each, "source_lengths": np.array(len(each))} for each in tokens]
    counts = random.integers(5, 51, SOURCES)
    return [{"points": random.random((count, 2)), "point_counts": np.array(count)} for count in counts]


def _opened(folder: Path, task: TaskName, graphs: Mapping[Precision, GraphSpecs], precision: Precision) -> OnnxModel:
    """Open graphs under a manifest that says just what running them needs."""
    text, size = task in TEXT_TARGETS, VOCABULARY_SIZE if task == "translation" else VOCABULARY_SIZE // 2
    none = FileSpec(file="none.model", sha256="0" * 64)
    manifest = Manifest(
        name="architecture",
        version="1",
        task=task,
        description="Random weights, to measure speed with.",
        graphs=dict(graphs),
        tokenizers=Tokenizers(source=none if task == "translation" else None, target=none if text else None),
        vocabulary=Vocabulary(size=size, pad=PAD, bos=BOS, eos=EOS, unk=UNK)
        if text
        else Vocabulary(pad=PAD, bos=BOS, eos=EOS, first_position=FIRST_POSITION),
        image=ImageSpec(height=224, width=224, grid_rows=7, grid_columns=7) if task == "captioning" else None,
        defaults=DecodingDefaults(beam_size=5, length_penalty=0.0, max_length=LengthRule(per_source=0, plus=12)),
        limits=DecodingLimits(beam_size=16, source_length=50, min_source_length=3, max_length=50),
        source_buckets=(50,),
        provenance=Provenance(
            created=now(), git_commit="", recipe="none", seed=SEED, data_sources=(), tool_versions=()
        ),
    )
    config = SessionConfig(precision=precision, step_threads=1, spinning=False, allow_uncertified=True)
    return OnnxModel(Bundle(folder, manifest, ""), config)


def _megabytes(folder: Path, pair: GraphSpecs) -> float:
    return sum((folder / graph.file).stat().st_size for graph in (pair.encoder, pair.decoder_step)) / 1e6


if __name__ == "__main__":
    typer.run(architectures)
