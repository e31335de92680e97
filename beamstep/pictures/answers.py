"""From a server's answer to a picture in a file; of several hypotheses the best is drawn."""

from collections.abc import Sequence
from pathlib import Path

from beamstep.pictures.attention import draw_alignment, draw_looks
from beamstep.pictures.points import Drawing, draw_points, hull, tour, triangulation
from beamstep.pictures.style import write
from beamstep.points import Point
from beamstep.v1.captioning_pb2 import AttentionGrid
from beamstep.v1.decoding_pb2 import Decoding, ModelReference
from beamstep.v1.pointing_pb2 import FindConvexHullResponse, FindDelaunayTriangulationResponse, FindTourResponse

PointingAnswer = FindConvexHullResponse | FindTourResponse | FindDelaunayTriangulationResponse


def picture_alignment(
    file: Path, decoding: Decoding, source: Sequence[str], title: str, places: str = "source pieces"
) -> None:
    """Draw what each token looked at; `source` names the positions, `places` says what they are."""
    write(draw_alignment(decoding, source, title, places), file)


def picture_looks(file: Path, image: Path, decoding: Decoding, grid: AttentionGrid, title: str) -> None:
    """Draw where in an image each word of a caption looked."""
    write(draw_looks(image, decoding, grid, title), file)


def picture_points(file: Path, points: Sequence[Point], answer: PointingAnswer) -> None:
    """Draw points, what was found among them, and where that is wrong; an answer without hypotheses draws nothing."""
    if answer.hypotheses:
        title, drawing = drawing_of(answer)
        write(draw_points(points, drawing, f"{title} of {len(points)} points ({_name(answer.model)})"), file)


def picture_pointers(file: Path, points: Sequence[Point], answer: PointingAnswer) -> None:
    """Draw which points each token of the best hypothesis looked at."""
    indices = [str(index) for index in range(len(points))]
    for best in answer.hypotheses[:1]:
        picture_alignment(file, best.decoding, indices, f"Pointers of {_name(answer.model)}", "points")


def drawing_of(answer: PointingAnswer) -> tuple[str, Drawing]:
    """Return what the best hypothesis is called, and how it is drawn."""
    match answer:
        case FindConvexHullResponse():
            return "Hull", hull(answer.hypotheses[0].point_indices)
        case FindTourResponse():
            return "Tour", tour(answer.hypotheses[0].point_indices)
        case FindDelaunayTriangulationResponse():
            return "Triangulation", triangulation([(it.a, it.b, it.c) for it in answer.hypotheses[0].triangles])


def _name(model: ModelReference) -> str:
    return f"{model.name}/{model.version}"
