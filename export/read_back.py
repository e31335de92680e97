"""A bundle's weights back in PyTorch; as a run to train on from: python -m export.read_back models/hull/1 --run runs/hull.

Runs are large and are not kept with the project; bundles are, and hold all that they compute with. The model is made anew from its
recipe, every weight is set to a number of its own, and the graphs are traced again: where a number turns up is where the bundle has
that weight's value, turned, stacked or cut as it may be. 8-bit integers become float32 again, so that PyTorch computes with the
very weights that are served; the run that the bundle was made of had others, not yet rounded. Convolutions go by their bias's name.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import onnx
import torch
import typer
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from export.certification.references import References
from export.certification.references_file import load_references
from export.constants import Arrays, constants_of
from export.errors import ExportError
from export.float_convolution import FloatConvolution
from export.onnx_writer import trace_graphs
from export.rewriting import PRODUCTS
from export.sources import as_batch, example_batch
from serving.bundle import Bundle, load_bundle
from serving.errors import BadBundle
from training.checkpoint import write_checkpoint
from training.config import RecipeError
from training.decoding import search
from training.models.base import SequenceToSequence
from training.models.captioning import CaptioningModelConfig
from training.models.convolution import QuantizedConvolution
from training.models.mobilenet import MobileNetV2
from training.models.pointer import PointerConfig, PointerDecoder, PointerEncoder
from training.models.words import TextToTextConfig
from training.recipe import find_recipe, read_recipe
from training.run import load_run
from training.variants import write_whole

CHECKED: Final = 16
"""References that are decoded to see whether the weights are the right ones."""
ENOUGH: Final = 0.4
"""The share of them that must be answered alike. Weights have lost bits, and nothing here rules out what is no hull; weights in a
wrong place answer none alike."""
FIRST: Final = 1 << 16
"""The first number that a weight is set to: graphs have whole numbers of their own, such as the root of an embedding's width."""
MISSING: Final = 0.01
"""The share of a parameter that the graphs need not hold: the biases of tokens that are never chosen."""


def read_model(folder: Path) -> SequenceToSequence:
    """Return the model of a bundle with the weights that it is served with, in evaluation mode.

    Raises:
        ExportError: a weight was not found, or the model does not answer as the bundle's references do.
    """
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    names = next(iter(manifest.graphs.values()))
    graphs = [onnx.load(bundle.path(spec)) for spec in (names.encoder, names.decoder_step)]
    stored = [_without_scaling(graph, constants_of(graph)) for graph in graphs]
    model = blank_model(bundle, stored[0])
    numbered = _number(model)
    references = load_references(bundle)
    if references is None:
        raise ExportError(
            f"{folder}: has no references.npz to check what is read against; allowed: a bundle that has one"
        )
    traced = trace_graphs(model, manifest.task, example_batch(manifest.task, references.sources))
    values = np.full(numbered, np.nan, np.float32)
    for graph, constants in zip((traced.encoder, traced.decoder_step), stored, strict=True):
        _collect(values, graph, constants)
    _fill(model, values)
    for graph, constants in zip(graphs, stored, strict=True):
        _fill_convolutions(model, graph, constants)
    model.eval()
    _check(bundle, model, references)
    return model


def blank_model(bundle: Bundle, encoder: Arrays) -> SequenceToSequence:
    """Return the model of a bundle's recipe, its weights whatever they begin with."""
    provenance = bundle.manifest.provenance
    config = read_recipe(find_recipe(provenance.recipe)).model
    size = bundle.manifest.vocabulary.size
    if isinstance(config, PointerConfig):
        return SequenceToSequence(PointerEncoder(config), PointerDecoder(config)).eval()
    assert size is not None
    if isinstance(config, CaptioningModelConfig):
        return config.around(MobileNetV2(), size).eval()
    if not isinstance(config, TextToTextConfig):
        raise ExportError(
            f"{bundle.key}: model.kind {config.kind!r}; allowed: translation, transformer, captioning, pointer"
        )
    return config.build_for(len(encoder["encoder.embedding.weight"]), size).eval()


# ---- what a bundle holds


def _without_scaling(model: onnx.ModelProto, constants: Arrays) -> Arrays:
    """Take back what evened out the channels between two products where a table is tied to the second: see export/products.py."""
    nodes = {name: node for node in model.graph.node for name in node.output}
    for back_name in [name for name in constants if name.endswith(".weight.back")]:
        second = nodes[back_name.removesuffix(".weight.back")]
        first = nodes[second.input[0].removesuffix(".uint8")]
        back = constants[back_name]
        constants[back_name.removesuffix(".back")] *= back  # (outputs, inputs)
        if first.op_type == "LayerNormalization":
            constants |= {name: constants[name] / back for name in first.input[1:]}
            continue
        weight = next(name for name in first.input if name.endswith((".turned", ".int8")))
        name = weight.rpartition(".")[0]
        constants[name] = constants[name] / (back[:, None] if weight.endswith(".turned") else back)
        constants[first.input[6]] = constants[first.input[6]] / back
    return constants


# ---- which of it is which weight


def _number(model: nn.Module) -> int:
    """Set every element of every parameter to a number of its own, from `FIRST`; return one more than the last."""
    last = FIRST
    with torch.no_grad():
        for parameter in model.parameters():
            count = parameter.numel()
            parameter.copy_(torch.arange(last, last + count, dtype=torch.float64).view_as(parameter))
            last += count
    assert last < 1 << 24, "float32 tells no larger whole numbers apart"
    return last


def _collect(values: NDArray[np.float32], traced: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]) -> None:
    """Put the bundle's constants where the numbers in the traced graph say."""
    renamed = _renamed(traced)
    for tensor in traced.graph.initializer:
        numbers = numpy_helper.to_array(tensor)
        name = next((name for name in (tensor.name, *renamed.get(tensor.name, ())) if name in constants), "")
        if numbers.dtype != np.float32 or not name or constants[name].shape != numbers.shape:
            continue
        real = np.isfinite(numbers) & (numbers >= FIRST) & (numbers < len(values)) & (numbers == np.rint(numbers))
        values[numbers[real].astype(np.int64)] = constants[name][real]


def _renamed(traced: onnx.ModelProto) -> dict[str, list[str]]:
    """Return what `_even_out` of export/products.py calls the weights and biases of products that it scaled."""
    names: dict[str, list[str]] = {}
    for node in traced.graph.node:
        if node.op_type in PRODUCTS:
            for name, kind in zip(node.input[1:], ("weight", "bias"), strict=False):
                names.setdefault(name, []).append(f"{node.output[0]}.{kind}")
    return names


def _fill(model: nn.Module, values: NDArray[np.float32]) -> None:
    """Put values in the place of numbers; ExportError names the parameters that have none."""
    missing = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            found = torch.from_numpy(values[parameter.detach().numpy().astype(np.int64)])
            if float(found.isnan().float().mean()) > MISSING:
                missing.append(name)
            parameter.copy_(found.nan_to_num(0.0))
    if missing:
        raise ExportError(f"{', '.join(missing)}: not found in the bundle")


def _fill_convolutions(model: nn.Module, graph: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]) -> None:
    """Replace 8-bit convolutions by plain ones with the bundle's weights."""
    for node in graph.graph.node:
        if node.op_type != "Conv":
            continue
        weight, bias = constants[node.input[1]], constants[node.input[2]]
        path = node.input[2].partition(".bias")[0]
        old = model.get_submodule(path)
        assert isinstance(old, QuantizedConvolution)
        new = FloatConvolution(
            weight.shape[1] * old.groups, len(weight), old.kernel, stride=old.stride, groups=old.groups
        )
        assert new.bias is not None
        with torch.no_grad():
            new.weight.copy_(torch.from_numpy(weight))
            new.bias.copy_(torch.from_numpy(bias))
        model.set_submodule(path, new)


def _check(bundle: Bundle, model: SequenceToSequence, references: References) -> None:
    """Decode references greedily; ExportError where too few answers are those of the PyTorch model that was exported."""
    sources = references.sources[:CHECKED]
    graphs = next(iter(bundle.manifest.graphs.values()))
    alike = 0
    for source, expected in zip(sources, references.greedy, strict=False):
        tokens = [token for token in expected.tokens if token != bundle.manifest.vocabulary.eos]
        longest = len(expected.tokens) + 1
        alike += search(model, as_batch([source], graphs.encoder.inputs), longest)[0] == tokens
    typer.echo(
        f"{bundle.key}: {alike} of {len(sources)} greedy answers are those of the PyTorch model that was exported"
    )
    if alike < ENOUGH * len(sources):
        raise ExportError(f"{bundle.key}: only {alike} of {len(sources)} greedy answers are the references'")


# ---- a run


def make_run(folder: Path, run: Path, recipe: Path) -> None:
    """Write a run folder that `start_from` can name: the recipe, the tokenizers, the weights of a bundle.

    Args:
        folder: the bundle's.
        run: must not be there.
        recipe: of the same architecture as the bundle's own.

    Raises:
        ExportError: the weights cannot be read, or are not what the recipe builds.
        FileExistsError: the run folder is there.
    """
    if run.exists():  # before the time that reading takes
        raise FileExistsError(f"{run}: is there; allowed: a folder that is not")
    content = {"model": read_model(folder).state_dict()}
    run.mkdir(parents=True)
    write_whole(recipe, run / "recipe.yaml")
    for name in read_recipe(recipe).problem.tokenizer_files:
        shutil.copyfile(folder / name, run / name)
    write_checkpoint(content, run / "averaged.pt")
    try:
        load_run(run)
    except RecipeError as error:
        shutil.rmtree(run)
        raise ExportError(f"{folder}: its weights are not what {recipe.stem} builds: {error}") from error


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder of a version, such as models/translation-en-de/1.")],
    run: Annotated[Path, typer.Option(help="The run folder to make; it must not be there.")],
    recipe: Annotated[str | None, typer.Option(help="Its recipe; the bundle's own by default.")] = None,
) -> None:
    """Make a run of a bundle's weights, to train on from or to compare with; not of a captioner, whose convolutions have 8 bits."""
    try:
        own = load_bundle(bundle).manifest.provenance.recipe
        make_run(bundle, run, find_recipe(recipe or own))
    except (BadBundle, ExportError, RecipeError, FileExistsError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{run}: the weights of {bundle}, as they are in 8 bits")


if __name__ == "__main__":
    typer.run(command)
