"""A model in eager PyTorch behind the plain server: python -m benchmarks.peers.torch_server BUNDLE WEIGHTS ADDRESS --most 1.

The loop is the usual one, and the project's own from training: encode, repeat for each beam, step, torch.topk, reorder. Sources
whose search is over leave the batch; nobody joins it. A process of its own: it holds torch.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.peers.loop_server import Batch, methods_of
from benchmarks.peers.plain_server import serve
from export.sources import as_batch
from serving.bundle import load_bundle
from training.decoding import search


def torch_server(
    folder: Annotated[Path, typer.Argument(help="The folder of a bundle, for its tokenizers and defaults.")],
    weights: Annotated[Path, typer.Argument(help="What benchmarks.peers.weights wrote.")],
    address: Annotated[str, typer.Argument(help="host:port to listen on.")],
    *,
    most: Annotated[int, typer.Option(min=1, help="So many waiting requests are decoded together.")] = 1,
    device: Annotated[str, typer.Option(help="Where the model is, as torch names it.")] = "cpu",
) -> None:
    """Serve a model in PyTorch until SIGTERM."""
    bundle = load_bundle(folder)
    specs = next(iter(bundle.manifest.graphs.values())).encoder.inputs
    model = torch.load(weights, weights_only=False, map_location=device).eval()

    def decode(batch: Batch) -> list[list[int]]:
        inputs = {
            name: tensor.to(device) for name, tensor in as_batch([dict(one) for one in batch.inputs], specs).items()
        }
        return search(model, inputs, batch.longest, beam_size=batch.beam_size, length_penalty=batch.length_penalty)

    asyncio.run(serve(address, methods_of(bundle, decode), most))


if __name__ == "__main__":
    typer.run(torch_server)
