"""The usual ONNX loop behind the plain server: python -m benchmarks.peers.onnx_server BUNDLE GRAPHS ADDRESS --most 1.

Two sessions with default options, logits out, log-softmax and top-k in NumPy, memory and states repeated for each beam. GRAPHS is
what benchmarks.peers.float_graphs wrote.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray

from benchmarks.peers import numpy_beams
from benchmarks.peers.loop_server import Batch, methods_of
from benchmarks.peers.plain_server import serve
from serving.bundle import Bundle, load_bundle
from serving.session import pad_batch


class UsualLoop:
    """An encoder session and a step session, and the loop around them."""

    def __init__(self, bundle: Bundle, graphs: Path, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> None:
        """Open both sessions."""
        self._specs = next(iter(bundle.manifest.graphs.values())).encoder.inputs
        self._encoder = onnxruntime.InferenceSession(graphs / "encoder.onnx", providers=list(providers))
        self._step = onnxruntime.InferenceSession(graphs / "step.onnx", providers=list(providers))
        self._encoded = [output.name for output in self._encoder.get_outputs()]
        self._after = [output.name for output in self._step.get_outputs()]

    def decode(self, batch: Batch) -> list[list[int]]:
        """Return the best answer of each source."""
        feeds = {spec.name: pad_batch([one[spec.name] for one in batch.inputs], spec, 0) for spec in self._specs}
        encoded = dict(zip(self._encoded, self._encoder.run(None, feeds), strict=True))
        repeated = {name: np.repeat(array, batch.beam_size, 0) for name, array in encoded.items()}
        memory = {name: array for name, array in repeated.items() if name.startswith("memory")}
        state = {name: array for name, array in repeated.items() if not name.startswith("memory")}

        def step(
            token: NDArray[np.int64], state: Mapping[str, NDArray[Any]]
        ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
            outputs = dict(zip(self._after, self._step.run(None, {"token": token, **memory, **state}), strict=True))
            logits = outputs.pop("logits")
            return logits, {name.removeprefix("next_"): array for name, array in outputs.items()}

        return numpy_beams.search(
            step,
            state,
            len(batch.inputs),
            beam_size=batch.beam_size,
            longest=batch.longest,
            length_penalty=batch.length_penalty,
        )


def onnx_server(
    folder: Annotated[Path, typer.Argument(help="The folder of a bundle, for its tokenizers and defaults.")],
    graphs: Annotated[Path, typer.Argument(help="What benchmarks.peers.float_graphs wrote.")],
    address: Annotated[str, typer.Argument(help="host:port to listen on.")],
    *,
    most: Annotated[int, typer.Option(min=1, help="So many waiting requests are decoded together.")] = 1,
) -> None:
    """Serve a translation bundle by the usual loop until SIGTERM."""
    bundle = load_bundle(folder)
    asyncio.run(serve(address, methods_of(bundle, UsualLoop(bundle, graphs).decode), most))


if __name__ == "__main__":
    typer.run(onnx_server)
