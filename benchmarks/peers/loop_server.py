"""What the servers around other people's loops share: our protos to tensors and tokens back, by our own tasks.

So both sides cut text, decode images and read points with the same code, and only what turns tensors into tokens differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from beamstep.v1 import captioning_pb2, pointing_pb2, translation_pb2
from beamstep.v1.decoding_pb2 import Decoding, Token
from benchmarks.peers.plain_server import Method
from serving.bundle import Bundle
from serving.decoding.hypothesis import FinishReason, Hypothesis
from serving.tasks.captioning import Captioning
from serving.tasks.options import RequestedOptions, resolve_options
from serving.tasks.translation import Translation

Inputs = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Batch:
    """Requests that are decoded together.

    Attributes:
        inputs: the encoder's, of each source, without the batch axis.
        beam_size: of all.
        longest: most tokens of any answer, `eos` counted.
        length_penalty: of all.
    """

    inputs: Sequence[Inputs]
    beam_size: int
    longest: int
    length_penalty: float


Search = Callable[[Batch], list[list[int]]]
"""Returns the best answer of each source, without `eos`."""


def methods_of(bundle: Bundle, search: Search) -> Mapping[str, Method]:
    """Return the one method of a bundle's task, around a search."""
    return {PATHS[bundle.manifest.task]: MAKERS[bundle.manifest.task](bundle, search)}


def _translating(bundle: Bundle, search: Search) -> Method:
    task = Translation(bundle)

    def answer(requests: Sequence[Any]) -> list[Any]:
        sources = [task.source(request.text) for request in requests]
        found = search(_batch(bundle, requests, [(source.inputs, source.length) for source in sources]))
        return [
            translation_pb2.TranslateTextResponse(
                hypotheses=[
                    translation_pb2.TranslationHypothesis(
                        text=task.text(_hypothesis(tokens)), decoding=_decoding(bundle, tokens)
                    )
                ]
            )
            for tokens in found
        ]

    return Method(translation_pb2.TranslateTextRequest, answer)


def _captioning(bundle: Bundle, search: Search) -> Method:
    task = Captioning(bundle)

    def answer(requests: Sequence[Any]) -> list[Any]:
        sources = [task.source(request.image) for request in requests]
        found = search(_batch(bundle, requests, [(source.inputs, source.length) for source in sources]))
        return [
            captioning_pb2.CaptionImageResponse(
                hypotheses=[
                    captioning_pb2.CaptionHypothesis(
                        caption=task.text(_hypothesis(tokens)), decoding=_decoding(bundle, tokens)
                    )
                ]
            )
            for tokens in found
        ]

    return Method(captioning_pb2.CaptionImageRequest, answer)


def _finding_hulls(bundle: Bundle, search: Search) -> Method:
    first = bundle.manifest.vocabulary.first_position
    assert first is not None, "the manifest's validation"

    def answer(requests: Sequence[Any]) -> list[Any]:
        points = [np.array([(point.x, point.y) for point in request.points]) for request in requests]
        sources = [({"points": each, "point_counts": np.array(len(each), np.int64)}, len(each)) for each in points]
        return [
            pointing_pb2.FindConvexHullResponse(
                hypotheses=[
                    pointing_pb2.ConvexHullHypothesis(
                        point_indices=[token - first for token in tokens], decoding=_decoding(bundle, tokens)
                    )
                ]
            )
            for tokens in search(_batch(bundle, requests, sources))
        ]

    return Method(pointing_pb2.FindConvexHullRequest, answer)


PATHS: Final = {
    "translation": "/beamstep.v1.TranslationService/TranslateText",
    "captioning": "/beamstep.v1.CaptioningService/CaptionImage",
    "convex_hull": "/beamstep.v1.PointingService/FindConvexHull",
}
MAKERS: Final = {"translation": _translating, "captioning": _captioning, "convex_hull": _finding_hulls}


def _batch(bundle: Bundle, requests: Sequence[Any], sources: Sequence[tuple[Inputs, int]]) -> Batch:
    """Put requests together as our server would search them; what differs between them is the first one's or the largest."""
    manifest = bundle.manifest
    requested = RequestedOptions(beam_size=requests[0].options.beam_size or None)
    options = [
        resolve_options(
            requested, manifest, length, manifest.vocabulary.size or length + (manifest.vocabulary.first_position or 0)
        )
        for _, length in sources
    ]
    longest = max(each.max_length for each in options) + 1
    return Batch([inputs for inputs, _ in sources], options[0].beam_size, longest, options[0].length_penalty)


def _hypothesis(tokens: Sequence[int]) -> Hypothesis:
    return Hypothesis(tuple(tokens), (0.0,) * len(tokens), 0.0, 0.0, FinishReason.END_OF_SEQUENCE)


def _decoding(bundle: Bundle, tokens: Sequence[int]) -> Decoding:
    ids = [*tokens, bundle.manifest.vocabulary.eos]
    return Decoding(tokens=[Token(id=token) for token in ids])
