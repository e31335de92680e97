"""Asks a server through the real tritonclient and prints what it got as JSON.

A process of its own: tritonclient's stubs and ours have the same names, and protobuf lets a process have only one of them.
"""

import io
import json
import sys

import numpy as np
import tritonclient.grpc as triton
from PIL import Image

SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
SETS = np.array([[*SQUARE, (1.0, 1.0), (np.nan, 9.0)], [(0, 0), (4, 0), (0, 3), (1, 1), (0.5, 1), (1, 0.5)]])


def main(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        infer = Infer(client)
        texts = np.array([b"ein hund", "eine frau fährt".encode(), b"zwei kinder"], dtype=np.object_)
        counts = np.array([5, 6], dtype=np.int32)
        told = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models_ready": {name: client.is_model_ready(name) for name in ("translation", "tour", "none")},
            "versions_ready": {one: client.is_model_ready("translation", one) for one in ("1", "2", "3")},
            "server": client.get_server_metadata(as_json=True),
            "metadata": {
                name: client.get_model_metadata(name, as_json=True)
                for name in ("translation", "captioning", "convex_hull", "delaunay", "tour")
            },
            "config": client.get_model_config("tour", as_json=True)["config"],
            "index": client.get_model_repository_index(as_json=True)["models"],
            "texts": infer(
                "translation", text=texts, parameters={"beam_size": 4, "hypothesis_count": 3}, request_id="7"
            ),
            "column": infer("translation", text=texts[:2, None], outputs=["score", "text"], model_version="1"),
            "drawn": [
                infer("translation", text=texts[:1], parameters={"seed": 5, "temperature": 2.5}, outputs=["text"])
                for _ in range(2)
            ],
            "triton": infer("translation", text=texts[:1], priority=3, timeout=10**6, sequence_id=9, outputs=["text"]),
            "captions": infer("captioning", image=np.array([photo("white"), photo("black")], dtype=np.object_)),
            "hulls": infer("convex_hull", points=SETS, point_counts=counts),
            "hull": infer("convex_hull", points=SETS[0, :5].astype(np.float32), outputs=["indices", "exact"]),
            "repaired": infer(
                "convex_hull", points=SETS[0, :5], parameters={"max_length": 2, "repair": "fix", "symmetries": 1}
            ),
            "triangles": infer("delaunay", points=np.array([SQUARE]), parameters={"symmetries": 2}),
            "tours": infer("tour", points=SETS[:, :4], parameters={"beam_size": 2, "hypothesis_count": 2}),
            "statistics": client.get_inference_statistics("translation", "1", as_json=True),
            "refusals": {
                "output": refusal(infer, "translation", text=texts, outputs=["scores"]),
                "model": refusal(infer, "nothing", text=texts),
                "beam": refusal(infer, "translation", text=texts, parameters={"beam_size": 99}),
                "parameter": refusal(infer, "translation", text=texts, parameters={"beams": 9}),
                "class": refusal(infer, "translation", text=texts, outputs=["text"], class_count=2),
                "loading": refusal(client.load_model, "translation"),
            },
        }
    json.dump(told, sys.stdout)


class Infer:
    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client

    def __call__(self, model, *, outputs=None, class_count=0, model_version="", request_id="", parameters=None, **rest):
        arrays = {name: value for name, value in rest.items() if isinstance(value, np.ndarray)}
        inputs = []
        for name, array in arrays.items():
            kind = {"O": "BYTES", "f": f"FP{8 * array.itemsize}", "i": f"INT{8 * array.itemsize}"}[array.dtype.kind]
            tensor = triton.InferInput(name, list(array.shape), kind)
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        wanted = outputs and [triton.InferRequestedOutput(name, class_count) for name in outputs]
        options = {name: value for name, value in rest.items() if name not in arrays}
        answer = self._client.infer(
            model,
            inputs,
            model_version=model_version,
            outputs=wanted,
            request_id=request_id,
            parameters=parameters,
            **options,
        )
        response = answer.get_response()
        told = {tensor.name: plain(answer.as_numpy(tensor.name)) for tensor in response.outputs}
        return told | {"model": f"{response.model_name}/{response.model_version}", "id": response.id}


def plain(array):
    """Return an array as lists of what JSON has."""
    if array.dtype == np.object_:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    return array.tolist()


def photo(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def refusal(call, *arguments, **options) -> list[str]:
    try:
        call(*arguments, **options)
    except triton.InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("it was not refused")


if __name__ == "__main__":
    main(sys.argv[1])
