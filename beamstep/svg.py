"""A drawing of points and of what a model found among them, as SVG: all that an install without extras can draw.

`beamstep.pictures` (extra `pictures`) writes other formats too, and shows what is wrong.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from beamstep.points import Point

SIZE = 480.0
MARGIN = 24.0
STYLE = """
text { font: 11px sans-serif; fill: #555 }
circle { fill: #1f4e79 }
polygon { fill: #4a90d9; fill-opacity: 0.15; stroke: #4a90d9; stroke-width: 1.5; stroke-linejoin: round }
"""


def draw(points: Sequence[Point], polygons: Sequence[Sequence[int]], title: str) -> str:
    """Draw every point with its index, and the closed polygons (a hull, a tour, or triangles) that index into them.

    The picture keeps the points' aspect ratio, and y grows upwards. A point that is not finite cannot be drawn, and a server
    has refused it before.
    """
    places = _fit(points)
    picture = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {SIZE:g} {SIZE:g}")
    SubElement(picture, "title").text = title
    SubElement(picture, "style").text = STYLE
    for polygon in polygons:
        corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in (places[index] for index in polygon))
        SubElement(picture, "polygon", points=corners)
    for index, (x, y) in enumerate(places):
        SubElement(picture, "circle", cx=f"{x:.2f}", cy=f"{y:.2f}", r="3")
        SubElement(picture, "text", x=f"{x + 5:.2f}", y=f"{y - 5:.2f}").text = str(index)
    indent(picture)
    return tostring(picture, encoding="unicode") + "\n"


def _fit(points: Sequence[Point]) -> list[Point]:
    """Move and scale the points into the picture, y turned downwards as SVG has it."""
    if not points:
        return []
    left, bottom = min(x for x, _ in points), min(y for _, y in points)
    extent = max(max(x for x, _ in points) - left, max(y for _, y in points) - bottom)
    scale = (SIZE - 2 * MARGIN) / extent if extent > 0 else 0.0
    return [(MARGIN + (x - left) * scale, SIZE - MARGIN - (y - bottom) * scale) for x, y in points]
