"""Plain Python values to the request messages of beamstep/v1; the blocking and the async client share these."""

import os
from collections.abc import Iterable
from pathlib import Path

from beamstep.v1.captioning_pb2 import CaptionImageRequest
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.pointing_pb2 import FindConvexHullRequest, FindDelaunayTriangulationRequest, FindTourRequest, Point
from beamstep.v1.translation_pb2 import TranslateTextRequest

Image = bytes | str | os.PathLike[str]
"""The bytes of a JPEG, PNG or WebP file, or where it lies."""
Coordinates = Iterable[tuple[float, float]]
"""The points as (x, y)."""


def translation_request(text: str, model: str, version: str, options: DecodingOptions | None) -> TranslateTextRequest:
    """Ask for the translation of a text."""
    return TranslateTextRequest(text=text, model=model, model_version=version, options=options)


def captioning_request(image: Image, model: str, version: str, options: DecodingOptions | None) -> CaptionImageRequest:
    """Ask for the caption of an image; a path is read."""
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    return CaptionImageRequest(image=data, model=model, model_version=version, options=options)


def hull_request(
    points: Coordinates, model: str, version: str, options: DecodingOptions | None
) -> FindConvexHullRequest:
    """Ask for the convex hull of points."""
    return FindConvexHullRequest(points=_messages(points), model=model, model_version=version, options=options)


def triangulation_request(
    points: Coordinates, model: str, version: str, options: DecodingOptions | None
) -> FindDelaunayTriangulationRequest:
    """Ask for the Delaunay triangulation of points."""
    return FindDelaunayTriangulationRequest(
        points=_messages(points), model=model, model_version=version, options=options
    )


def tour_request(points: Coordinates, model: str, version: str, options: DecodingOptions | None) -> FindTourRequest:
    """Ask for a tour through points."""
    return FindTourRequest(points=_messages(points), model=model, model_version=version, options=options)


def _messages(points: Coordinates) -> list[Point]:
    return [Point(x=x, y=y) for x, y in points]
