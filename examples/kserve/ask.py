"""Ask a Beamstep server as if it were Triton: pip install tritonclient grpcio protobuf numpy, then python ask.py [HOST:PORT].

It says which models there are, translates three texts in one request, and finds the hulls of two sets of points of unlike size.
"""

import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton

TEXTS = ["Two dogs run through the snow.", "A woman rides a bicycle.", "A man stands in front of a house."]
SETS = [
    [(0, 0), (2, 0), (2, 2), (0, 2), (1, 1)],
    [(0, 0), (4, 0), (0, 3), (1, 1), (2, 1), (1, 0.5), (0.5, 0.5)],
]


def main(address: str) -> None:
    """Ask for everything."""
    with triton.InferenceServerClient(address) as client:
        for model in client.get_model_repository_index().models:
            print(f"{model.name}/{model.version} {model.state}")
        translate(client, "translation-en-de")
        find_hulls(client, "hull")


def translate(client: triton.InferenceServerClient, model: str) -> None:
    """Translate all texts in one request, the two best translations of each."""
    texts = tensor("text", np.array([text.encode() for text in TEXTS], dtype=np.object_), "BYTES")
    answer = client.infer(model, [texts], parameters={"beam_size": 4, "hypothesis_count": 2})
    for source, found, scores in zip(TEXTS, answer.as_numpy("text"), answer.as_numpy("score"), strict=True):
        print(f"{model}: {source}")
        for text, score in zip(found, scores, strict=True):
            print(f"  {score:.3f}  {text.decode()}")


def find_hulls(client: triton.InferenceServerClient, model: str) -> None:
    """Find the hulls of all sets in one request; the shorter ones are padded."""
    points = np.zeros((len(SETS), max(map(len, SETS)), 2))
    for row, members in zip(points, SETS, strict=True):
        row[: len(members)] = members
    counts = np.array([len(members) for members in SETS], dtype=np.int32)
    inputs = [tensor("points", points, "FP64"), tensor("point_counts", counts, "INT32")]
    outputs = [triton.InferRequestedOutput(name) for name in ("indices", "length", "exact")]
    answer = client.infer(model, inputs, outputs=outputs)
    for members, best, length, exact in zip(
        *(SETS, answer.as_numpy("indices")[:, 0], answer.as_numpy("length")[:, 0], answer.as_numpy("exact")[:, 0]),
        strict=True,
    ):
        print(f"{model}: {len(members)} points, corners {best[:length].tolist()}, {'exact' if exact else 'not exact'}")


def tensor(name: str, values: "np.ndarray[Any, Any]", datatype: str) -> triton.InferInput:
    """Return an array as tritonclient sends it."""
    wrapped = triton.InferInput(name, list(values.shape), datatype)
    wrapped.set_data_from_numpy(values)
    return wrapped


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "localhost:50051")
