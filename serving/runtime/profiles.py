"""TensorRT's optimisation profiles: the shapes that an engine is built for, from the manifest's buckets and the server's limits.

Without them TensorRT builds an engine for the first shape that it meets, and again for each one outside of what it has met.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from serving.manifest import GraphSpec, Manifest
from serving.runtime.padding import Padding

MOST_BANS: Final = 4096
"""Tokens that one row may not take: 1,000 by name, what ended phrases and n-grams rule out, the points of a tour."""
MOST_CANDIDATES: Final = 65536
USUAL_ROWS: Final = 32
USUAL_SOURCES: Final = 8


class Range(NamedTuple):
    """Sizes of one axis: the smallest, the one that kernels are chosen for, the largest."""

    least: int
    usual: int
    most: int


def ranges(manifest: Manifest, padding: Padding, batch_rows: int, batch_sources: int) -> dict[str, Range]:
    """Return the sizes of every free axis, by its letter.

    Args:
        manifest: of the bundle; its buckets and the longest source that it takes.
        padding: how sizes are rounded up.
        batch_rows: most rows of a step.
        batch_sources: most sources of a step. A memory pool that grows may come to have twice as many slots.
    """
    widths = manifest.source_buckets
    rows = padding.count(batch_rows)
    sources = padding.count(2 * batch_sources)
    longest = padding.width(max(widths[-1], manifest.limits.source_length))
    return {
        "N": Range(1, min(USUAL_SOURCES, sources), sources),
        "S": Range(widths[0], widths[len(widths) // 2], longest),
        "R": Range(1, min(USUAL_ROWS, rows), rows),
        "Q": Range(1, min(USUAL_ROWS, rows), 2 * rows),  # those who join stand behind the rows of the last turn
        "M": Range(1, 1, MOST_BANS),
    }


def profile_options(graph: GraphSpec, sizes: Mapping[str, Range]) -> dict[str, str]:
    """Return the provider options: `name:1x8x256,name:...` for the least, the usual and the most.

    Names may hold dots. A scalar is given by its value, which is what TensorRT wants of a tensor that makes shapes.
    """
    shapes: dict[str, list[str]] = {"min": [], "opt": [], "max": []}
    for spec in graph.inputs:
        of_axes = [sizes[axis] if isinstance(axis, str) else Range(axis, axis, axis) for axis in spec.axes]
        of_axes = of_axes or [Range(1, 5, MOST_CANDIDATES)]
        for kind, of_kind in zip(shapes, zip(*of_axes, strict=True), strict=True):
            shapes[kind].append(f"{spec.name}:{'x'.join(map(str, of_kind))}")
    return {f"trt_profile_{kind}_shapes": ",".join(entries) for kind, entries in shapes.items()}
