"""Plain Python values to the request messages of beamstep/v1; the blocking and the async client share these."""

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from beamstep.v1.captioning_pb2 import (
    CaptionImageRequest,
    CaptioningServiceScoreTargetRequest,
    StreamCaptionImageRequest,
)
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.model_pb2 import TASK_CONVEX_HULL, TASK_DELAUNAY, TASK_TOUR
from beamstep.v1.pointing_pb2 import (
    FindConvexHullRequest,
    FindDelaunayTriangulationRequest,
    FindTourRequest,
    Point,
    PointingServiceScoreTargetRequest,
    Repair,
)
from beamstep.v1.translation_pb2 import (
    StreamTranslateTextRequest,
    TranslateTextRequest,
    TranslationServiceScoreTargetRequest,
)

Image = bytes | str | os.PathLike[str]
"""The bytes of a JPEG, PNG or WebP file, or where it lies."""
Coordinates = Iterable[tuple[float, float]]
"""The points as (x, y)."""
Indices = Iterable[int]
"""Zero-based indices into the points."""
Triangles = Iterable[tuple[int, int, int]]
"""Zero-based indices of three points each."""


def translation_request(text: str, model: str, version: str, options: DecodingOptions | None) -> TranslateTextRequest:
    """Ask for the translation of a text."""
    return TranslateTextRequest(text=text, model=model, model_version=version, options=options)


def translation_stream_request(
    text: str, model: str, version: str, options: DecodingOptions | None
) -> StreamTranslateTextRequest:
    """Ask for the translation of a text in parts."""
    return StreamTranslateTextRequest(text=text, model=model, model_version=version, options=options)


def translation_score_request(
    text: str, target: str, model: str, version: str, options: DecodingOptions | None
) -> TranslationServiceScoreTargetRequest:
    """Ask how likely a translation is."""
    return TranslationServiceScoreTargetRequest(
        text=text, target=target, model=model, model_version=version, options=options
    )


def captioning_request(image: Image, model: str, version: str, options: DecodingOptions | None) -> CaptionImageRequest:
    """Ask for the caption of an image; a path is read."""
    return CaptionImageRequest(image=_read(image), model=model, model_version=version, options=options)


def captioning_stream_request(
    image: Image, model: str, version: str, options: DecodingOptions | None
) -> StreamCaptionImageRequest:
    """Ask for the caption of an image in parts; a path is read."""
    return StreamCaptionImageRequest(image=_read(image), model=model, model_version=version, options=options)


def captioning_score_request(
    image: Image, target: str, model: str, version: str, options: DecodingOptions | None
) -> CaptioningServiceScoreTargetRequest:
    """Ask how likely a caption is; a path is read."""
    return CaptioningServiceScoreTargetRequest(
        image=_read(image), target=target, model=model, model_version=version, options=options
    )


def hull_request(
    points: Coordinates, model: str, version: str, options: DecodingOptions | None, *, repair: Repair, symmetries: int
) -> FindConvexHullRequest:
    """Ask for the convex hull of points."""
    return FindConvexHullRequest(
        points=_messages(points),
        model=model,
        model_version=version,
        options=options,
        repair=repair,
        symmetries=symmetries,
    )


def triangulation_request(
    points: Coordinates, model: str, version: str, options: DecodingOptions | None, *, repair: Repair, symmetries: int
) -> FindDelaunayTriangulationRequest:
    """Ask for the Delaunay triangulation of points."""
    return FindDelaunayTriangulationRequest(
        points=_messages(points),
        model=model,
        model_version=version,
        options=options,
        repair=repair,
        symmetries=symmetries,
    )


def tour_request(
    points: Coordinates, model: str, version: str, options: DecodingOptions | None, *, repair: Repair, symmetries: int
) -> FindTourRequest:
    """Ask for a tour through points."""
    return FindTourRequest(
        points=_messages(points),
        model=model,
        model_version=version,
        options=options,
        repair=repair,
        symmetries=symmetries,
    )


def hull_score_request(
    points: Coordinates, corners: Indices, model: str, version: str, options: DecodingOptions | None
) -> PointingServiceScoreTargetRequest:
    """Ask how likely a convex hull is."""
    return PointingServiceScoreTargetRequest(
        task=TASK_CONVEX_HULL,
        points=_messages(points),
        point_indices=corners,
        model=model,
        model_version=version,
        options=options,
    )


def triangulation_score_request(
    points: Coordinates, triangles: Triangles, model: str, version: str, options: DecodingOptions | None
) -> PointingServiceScoreTargetRequest:
    """Ask how likely a triangulation is."""
    return PointingServiceScoreTargetRequest(
        task=TASK_DELAUNAY,
        points=_messages(points),
        point_indices=chain.from_iterable(triangles),
        model=model,
        model_version=version,
        options=options,
    )


def tour_score_request(
    points: Coordinates, order: Indices, model: str, version: str, options: DecodingOptions | None
) -> PointingServiceScoreTargetRequest:
    """Ask how likely a tour is."""
    return PointingServiceScoreTargetRequest(
        task=TASK_TOUR,
        points=_messages(points),
        point_indices=order,
        model=model,
        model_version=version,
        options=options,
    )


def _read(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _messages(points: Coordinates) -> list[Point]:
    return [Point(x=x, y=y) for x, y in points]
