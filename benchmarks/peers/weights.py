"""Saves a shipped bundle's model with its weights: python -m benchmarks.peers.weights models/hull/1 build/peers/hull.pt.

Needs the extra `train`, and a process of its own, since it imports torch.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from export.read_back import read_model


def weights(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    output: Annotated[Path, typer.Argument(help="The file that the model goes into.")],
) -> None:
    """Write a bundle's model, with its weights, as torch.save has it."""
    model = read_model(bundle)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".part")
    torch.save(model, partial)
    partial.replace(output)  # whole or not there


if __name__ == "__main__":
    typer.run(weights)
