"""What the tables ask: sentences with Multi30k's lengths, photos, and points of the unit square; the same ones every time."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from beamstep.bench.prepared import Prepared, prepare
from beamstep.bench.workload import Item
from beamstep.v1.decoding_pb2 import DecodingOptions
from benchmarks.peers import load
from benchmarks.peers.table import NotMeasuredError
from benchmarks.workload import LENGTHS, Workload
from serving.bundle import load_bundle
from serving.tasks.translation import Translation

BEAM_SIZE: Final = 5
ROUNDS: Final = 4
"""How often each of Multi30k's 32 lengths is asked, in other words."""
SETS: Final = 64
SEED: Final = 1
MOST_PHOTOS: Final = 64
PHOTOS: Final = Path("flickr8k") / "images"


def sentences(bundle: Path, *, rounds: int = ROUNDS, lengths: Sequence[int] = LENGTHS) -> list[str]:
    """Return sentences of these lengths in the bundle's pieces, `rounds` of each, in a random order."""
    workload = Workload(Translation(load_bundle(bundle)), ends=True)
    texts = [request.text for _ in range(rounds) for request in workload.natural(lengths)]
    random.Random(SEED).shuffle(texts)
    return texts


def translations(texts: Sequence[str], *, beam_size: int = BEAM_SIZE, length: int | None = None) -> list[Prepared]:
    """Return calls that translate; `length` fixes how many tokens each answer has, `eos` not counted."""
    return load.translations(texts, [length] * len(texts), beam_size=beam_size)


def captions(data: Path | None) -> list[Prepared]:
    """Return calls that caption photos of the data folder; without one, the one photo that matplotlib brings.

    NotMeasuredError where there is neither.
    """
    options = DecodingOptions(beam_size=BEAM_SIZE)
    if data is not None and (data / PHOTOS).is_dir():
        files = sorted((data / PHOTOS).glob("*.jpg"))[:MOST_PHOTOS]
    else:
        try:
            from matplotlib.cbook import get_sample_data
        except ModuleNotFoundError:
            raise NotMeasuredError("there is no photo: --data DATA, or pip install 'beamstep[demo]'") from None
        files = [Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))]
    return [_call(Item("captioning", file.read_bytes(), options)) for file in files]


def point_sets(points: int, count: int = SETS) -> list[list[tuple[float, float]]]:
    """Return sets of points, evenly from the unit square."""
    drawn = np.random.default_rng((SEED, points)).random((count, points, 2))
    return [[(float(x), float(y)) for x, y in one] for one in drawn]


def hulls(points: int) -> list[Prepared]:
    """Return calls that find hulls."""
    options = DecodingOptions(beam_size=BEAM_SIZE)
    return [_call(Item("convex_hull", tuple(one), options)) for one in point_sets(points)]


def _call(item: Item) -> Prepared:
    return prepare(item, model="", beam_size=None, stream=False)
