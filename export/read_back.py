"""A bundle's weights as a run to train on from: python -m export.read_back models/translation-en-de/1 --run runs/read-back.

Runs are large and are not kept with the project; bundles are. What comes back are the weights of 8 bits, so that the run
decodes as the bundle does, rounding of activations aside, and not quite as the run that the bundle was made of. Recurrent
translation models with one layer of GRU, dot-product attention and input feeding alone, which are those that ship.
"""

import shutil
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import onnx
import torch
import typer
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from export.errors import ExportError
from serving.bundle import Bundle, load_bundle
from serving.errors import BadBundle
from training.checkpoint import write_checkpoint
from training.config import RecipeError
from training.recipe import find_recipe, read_recipe
from training.run import load_run
from training.variants import write_whole
from training.vocabulary import BOS, PAD

LAYER: Final = "encoder.recurrent.layers.0"
DECODER: Final = {
    "decoder.cell.input_weight": "decoder.cell.input_weight",
    "decoder.cell.recurrent_gates": "decoder.cell.recurrent_gates",
    "decoder.cell.recurrent_candidate": "decoder.cell.recurrent_candidate",
    "decoder.feed.weight": "decoder.feed.weight",
    "decoder.attentional.weight": "decoder.attentional.weight",
}
"""Products of the step, by the model's names and the graph's."""


class Stored:
    """The weights of a graph, back in float32 under the names they were traced by."""

    def __init__(self, path: Path) -> None:
        """Read a graph file."""
        graph = onnx.load(path).graph
        self._file = path.name
        self._arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a tensor of that name, in 8 bits or not."""
        return name in self._arrays or f"{name}.int8" in self._arrays

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return a tensor, of (out, in) where it is a product's; ExportError where the graph has none of that name."""
        return self._read(name, by_column=False)

    def _read(self, name: str, *, by_column: bool) -> NDArray[np.float32]:
        if name in self._arrays:
            return self._arrays[name].astype(np.float32)
        if name not in self:
            raise ExportError(
                f"{self._file}: has no tensor {name!r}; allowed: a translation bundle in 8 bits as it ships"
            )
        whole = self._arrays[f"{name}.int8"].astype(np.float32)
        column = self._arrays.get(f"{name}.column")
        scale = self._arrays[f"{name}.scale"] if column is None else column
        if scale.ndim == 1 and not by_column:
            scale = scale[:, None]
        zero = self._arrays.get(f"{name}.zero")
        assert zero is None or not zero.any(), "weights are symmetric about 0"
        return whole * scale.astype(np.float32)

    def only(self, prefix: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the one tensor of a shape that the tracer named, beginning with `prefix`; a product's is (in, out)."""
        names = {name.removesuffix(".int8") for name in self._arrays if name.startswith(prefix)}
        found = [name for name in sorted(names) if name in self and self._shape(name) == shape]
        if len(found) != 1:
            raise ExportError(f"{self._file}: {len(found)} tensors {prefix}* of shape {shape}; allowed: one")
        return self._read(found[0], by_column=True)

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name if name in self._arrays else f"{name}.int8"].shape


def read_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Return the weights of an 8-bit translation bundle by the names of the model's `state_dict`.

    Raises:
        ExportError: it has no 8-bit graphs, or another architecture.
    """
    if "int8" not in bundle.manifest.graphs:
        raise ExportError(f"{bundle.folder}: has no int8 graphs; allowed: a bundle that has them")
    graphs = bundle.manifest.graphs["int8"]
    encoder, step = Stored(bundle.path(graphs.encoder)), Stored(bundle.path(graphs.decoder_step))
    weights = {name: step[stored] for name, stored in DECODER.items()} | _embedding_and_readout(step)
    weights["decoder.attentional.bias"] = step["decoder.attentional.bias"]
    cell_bias = "decoder.cell.bias"  # the tracer leaves out what is 0 throughout
    weights[cell_bias] = (
        step[cell_bias] if cell_bias in step else np.zeros(len(step["decoder.feed.weight"]), np.float32)
    )
    for name in ("encoder.embedding.weight", "encoder.initial.weight", "encoder.initial.bias", "encoder.memory.bias"):
        weights[name] = encoder[name]
    hidden, read = weights["encoder.initial.weight"].shape
    weights["encoder.memory.weight"] = encoder.only("val_", (read, hidden)).T
    weights |= _recurrent(encoder)
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}


def _embedding_and_readout(step: Stored) -> dict[str, NDArray[np.float32]]:
    """Return the tied embedding and the readout before it, whose channels 8 bits evened out with `logits.weight.back`.

    E (W a + b) = (E / s) (s W a + s b): the graph holds E / s, s W and s b, and `back` is s.
    """
    if "logits.weight.back" in step:
        back = step["logits.weight.back"]
        embedding, bias = step["logits.weight"] * back, step.only("linear_", (len(back),)) / back
        readout = step["decoder.readout.weight"] / back[:, None]
    else:  # too small a vocabulary for 8 bits
        embedding, bias = step["decoder.embedding.weight"], step["decoder.readout.bias"]
        readout = step["decoder.readout.weight"]
    output_bias = step.only("add_", (len(embedding),))
    output_bias[[PAD, BOS]] = 0.0  # the graph adds what it forbids
    return {
        "decoder.embedding.weight": embedding,
        "decoder.readout.weight": readout,
        "decoder.readout.bias": bias,
        "decoder.output_bias": output_bias,
    }


def _recurrent(encoder: Stored) -> dict[str, NDArray[np.float32]]:
    """Return the cells of both directions from ONNX's W (2, 3 H, E), R (2, 3 H, H) and B (2, 6 H)."""
    inputs, recurrent, biases = (encoder[f"{LAYER}.{name}"] for name in ("input_weight", "recurrent_weight", "bias"))
    weights = {}
    for place, direction in enumerate(("forward_cell", "backward_cell")):
        gates = recurrent.shape[1] // 3 * 2
        weights[f"{LAYER}.{direction}.input_weight"] = inputs[place]
        weights[f"{LAYER}.{direction}.recurrent_gates"] = recurrent[place, :gates]
        weights[f"{LAYER}.{direction}.recurrent_candidate"] = recurrent[place, gates:]
        weights[f"{LAYER}.{direction}.bias"] = biases[place].reshape(2, -1).sum(0)
    return weights


def read_back(bundle: Bundle, run: Path, recipe: Path) -> None:
    """Write a run folder that `start_from` can name: the recipe, the tokenizers, the weights.

    Raises:
        ExportError: the bundle's weights are of another architecture than the recipe's.
        FileExistsError: the folder is there.
    """
    weights = read_weights(bundle)
    run.mkdir(parents=True)
    write_whole(recipe, run / "recipe.yaml")
    for name in read_recipe(recipe).problem.tokenizer_files:
        shutil.copyfile(bundle.folder / name, run / name)
    write_checkpoint({"model": weights}, run / "averaged.pt")
    try:
        load_run(run)
    except RecipeError as error:
        shutil.rmtree(run)
        raise ExportError(f"{bundle.folder}: is not what {recipe.name} builds: {error}") from error


def command(
    bundle: Annotated[Path, typer.Argument(help="The folder of a version, such as models/translation-en-de/1.")],
    run: Annotated[Path, typer.Option(help="The run folder to make; it must not be there.")],
    recipe: Annotated[str | None, typer.Option(help="Its recipe; the bundle's own by default.")] = None,
) -> None:
    """Make a run of a bundle's 8-bit weights, to train on from or to compare with."""
    try:
        loaded = load_bundle(bundle)
        read_back(loaded, run, find_recipe(recipe or loaded.manifest.name))
    except (BadBundle, ExportError, RecipeError, FileExistsError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{run}: the weights of {loaded.key}, as they are in 8 bits")


if __name__ == "__main__":
    typer.run(command)
