"""References in a bundle's folder: one compressed NumPy file, small enough to travel."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.certification.probes import Probe, ProbeStep
from export.certification.references import GreedyAnswer, References
from export.certification.sources import SEED, Source, drawn_picture
from serving.bundle import Bundle, sha256_of
from serving.decoding.step import StepInputs, StepOutputs
from serving.errors import BadBundle
from serving.manifest import FileSpec, Manifest

FILE: Final = "references.npz"


def write_references(folder: Path, references: References) -> FileSpec:
    """Write the references into a bundle's folder and return what its manifest says of them.

    Of a picture that was drawn only the seed is kept; photos may not travel.
    """
    probed = [source for probe in references.probes for source in probe.sources]
    stored = {
        "text": _as_bytes({"label": references.label, "beam_size": references.beam_size, "golds": references.golds}),
        **_pack_sources("source", references.sources),
        **_pack("greedy", [np.array(answer.tokens) for answer in references.greedy]),
        **_pack("others", [answer.others for answer in references.greedy]),
        **_pack("gaps", [answer.gaps.astype(np.float16) for answer in references.greedy]),
        **_pack("beam", [np.array(tokens) for tokens in references.beam]),
        **_pack_sources("probed", probed),
        "probes": np.array([[len(probe.sources), len(probe.steps)] for probe in references.probes]),
        **_pack_steps([step for probe in references.probes for step in probe.steps]),
    }
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **stored)
    (folder / FILE).write_bytes(content.getvalue())
    return FileSpec(file=FILE, sha256=sha256_of(folder / FILE))


def load_references(bundle: Bundle) -> References | None:
    """Read a bundle's references; None where it has none.

    Raises:
        BadBundle: the file is no such file.
    """
    if bundle.manifest.references is None:
        return None
    path = bundle.path(bundle.manifest.references)
    try:
        with np.load(path, allow_pickle=False) as file:
            return _read(dict(file), bundle.manifest)
    except (OSError, KeyError, ValueError, TypeError, IndexError, zipfile.BadZipFile) as error:
        raise BadBundle(f"{path}: holds no references as this version writes them: {error!r}") from None


def _read(stored: dict[str, NDArray[Any]], manifest: Manifest) -> References:
    said = json.loads(stored["text"].tobytes())
    answers = zip(*(_unpack(name, stored) for name in ("greedy", "others", "gaps")), strict=True)
    golds = said["golds"]
    return References(
        label=said["label"],
        sources=tuple(_unpack_sources("source", stored, manifest)),
        greedy=tuple(GreedyAnswer(tuple(tokens.tolist()), others, gaps) for tokens, others, gaps in answers),
        beam_size=said["beam_size"],
        beam=tuple(tuple(tokens.tolist()) for tokens in _unpack("beam", stored)),
        golds=None if golds is None else tuple(map(tuple, golds)),
        probes=_unpack_probes(stored, manifest),
    )


def _pack_sources(name: str, sources: Sequence[Source]) -> dict[str, NDArray[Any]]:
    inputs = [SEED] if SEED in sources[0] else list(sources[0])
    assert "image" not in inputs, "a photo may not travel"
    packed: dict[str, NDArray[Any]] = {f"{name}.inputs": np.array(inputs)}
    for one in inputs:
        packed |= _pack(f"{name}.{one}", [source[one] for source in sources])
    return packed


def _unpack_sources(name: str, stored: dict[str, NDArray[Any]], manifest: Manifest) -> list[Source]:
    inputs = stored[f"{name}.inputs"].tolist()
    columns = [_unpack(f"{name}.{one}", stored) for one in inputs]
    sources = [dict(zip(inputs, arrays, strict=True)) for arrays in zip(*columns, strict=True)]
    if manifest.image is None:
        return sources
    return [drawn_picture(int(source[SEED]), manifest.image.height, manifest.image.width) for source in sources]


def _pack_steps(steps: Sequence[ProbeStep]) -> dict[str, NDArray[Any]]:
    packed: dict[str, NDArray[Any]] = {}
    for fields, parts in ((StepInputs._fields, 0), (StepOutputs._fields, 1)):
        for field in fields:
            packed |= _pack(f"step.{field}", [np.asarray(getattr(step[parts], field)) for step in steps])
    return packed


def _unpack_probes(stored: dict[str, NDArray[Any]], manifest: Manifest) -> tuple[Probe, ...]:
    sources = iter(_unpack_sources("probed", stored, manifest))
    columns = {name: iter(_unpack(f"step.{name}", stored)) for name in (*StepInputs._fields, *StepOutputs._fields)}

    def next_of(fields: Sequence[str]) -> dict[str, Any]:
        return {name: next(columns[name]) for name in fields}

    def step() -> ProbeStep:
        asked = next_of(StepInputs._fields)
        inputs = StepInputs(**asked | {"candidates": int(asked["candidates"])})
        return ProbeStep(inputs, StepOutputs(**next_of(StepOutputs._fields)))

    return tuple(
        Probe(tuple(next(sources) for _ in range(source_count)), tuple(step() for _ in range(step_count)))
        for source_count, step_count in stored["probes"].tolist()
    )


def _pack(name: str, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Store arrays of one dtype and number of axes end to end, beside their shapes; integers in as few bytes as hold them."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    if values.dtype.kind == "i":
        values = values.astype(
            np.result_type(*(np.min_scalar_type(edge) for edge in (values.min(initial=0), values.max(initial=0))))
        )
    return {f"{name}.values": values, f"{name}.shapes": np.array([array.shape for array in arrays], np.int32)}


def _unpack(name: str, stored: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    values, shapes = stored[f"{name}.values"], stored[f"{name}.shapes"]
    values = values.astype(np.int64) if values.dtype.kind in "iu" else values
    sizes = shapes.prod(axis=1, dtype=np.int64)
    parts = np.split(values, sizes.cumsum()[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes.tolist(), strict=True)]


def _as_bytes(content: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content, ensure_ascii=False).encode(), np.uint8)
