"""The `beamstep` command: calls to a server, and the commands of the other packages, which are loaded only when they run."""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from beamstep.admin_command import admin
from beamstep.call_options import Connection, split_model, with_options
from beamstep.failures import BAD_INPUT, OTHER, failure, failures
from beamstep.output import output_console
from beamstep.pictures.file import Over, check_picture
from beamstep.points import BadPoints, Point, parse_points
from beamstep.search_options import AttentionCommand, PointsCall, ScoreCall, SearchCall, TextCall

if TYPE_CHECKING:
    from beamstep.v1.captioning_pb2 import AttentionGrid, CaptionImageResponse, StreamCaptionImageResponse
    from beamstep.v1.decoding_pb2 import Decoding
    from beamstep.v1.pointing_pb2 import FindConvexHullResponse, FindDelaunayTriangulationResponse, FindTourResponse
    from beamstep.v1.translation_pb2 import StreamTranslateTextResponse, TranslateTextResponse

    PointingAnswer = FindConvexHullResponse | FindDelaunayTriangulationResponse | FindTourResponse
    Answer = TranslateTextResponse | CaptionImageResponse | PointingAnswer
    StreamMessage = TypeVar("StreamMessage", StreamTranslateTextResponse, StreamCaptionImageResponse)

HANDED_OVER: Final = {
    "serve": "Serve bundles over gRPC.",
    "token": "Make, list and revoke API tokens of a server.",
    "train": "Train a model from a recipe.",
    "export": "Turn a training run into a bundle.",
    "evaluate": "Measure a bundle's quality by serving it.",
    "distil": "Let a bundle translate sentences, for another model to learn from.",
    "verify": "Check a bundle's answers on this machine.",
    "bench": "Measure a server's latency and throughput.",
}
OWN: Final = (EntryPoint(name="bench", value="beamstep.bench.command:app", group="beamstep.commands"),)
"""Handed over as well, since they need more than the client's install."""
EXTRAS: Final = {
    "serve": "cpu",
    "token": "cpu",
    "evaluate": "cpu,evaluate",
    "verify": "cpu,evaluate",
    "distil": "cpu,evaluate",
    "bench": "bench",
}
"""What to install for a command whose packages are missing; `train` for the others."""
OURS: Final = ("beamstep", "serving", "training", "export", "benchmarks")

app = typer.Typer(
    help="Translate text, caption images and find hulls, triangulations and tours; train, export and serve the models that do.",
    epilog="Exit status: 0 done, 2 bad input, 3 no server there or it is unavailable, 1 anything else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(admin, name="admin")

PointsFile = Annotated[str, typer.Argument(metavar="FILE", help="CSV, or two numbers a line; - reads stdin.")]
Svg = Annotated[Path | None, typer.Option(help="Draw the points and the best answer into this file.")]
Picture = Annotated[
    Path | None,
    typer.Option(
        metavar="OUT.png",
        help="Draw them, and in another colour what is wrong, as PNG, SVG or PDF; needs beamstep[pictures].",
    ),
]
ImageFile = Annotated[Path, typer.Argument(metavar="FILE", help="A JPEG, PNG or WebP file.")]
Stream = Annotated[
    bool,
    typer.Option("--stream", help="Print the best answer while it is found; with --json every message on a line."),
]


def main() -> None:
    """Run the command line."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"beamstep {version('beamstep')}")
        raise typer.Exit


@app.callback()
def _beamstep(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options that stand before any command."""


@app.command(cls=AttentionCommand)
@with_options(TextCall)
def translate(
    text: Annotated[str, typer.Argument(help="The text; - translates stdin line by line.")],
    call: TextCall,
    stream: Stream = False,
) -> None:
    """Translate a text."""
    from beamstep import rendering

    name, version = call.reference
    if text == "-" and call.attention_picture:
        raise failure(f"--attention: {call.attention} for many lines; allowed: a picture of one text", BAD_INPUT)
    with failures(call.address), call.client() as client:
        for line in _lines(text):
            if text == "-" and not line.strip():
                print()  # an empty line stays one, so that the output is line-aligned with the input
                continue
            if stream:
                messages = client.stream_translate(line, model=name, model_version=version, options=call.decoding)
                answer = _print_stream(call, messages).answer
            else:
                answer = client.translate(line, model=name, model_version=version, options=call.decoding)
                if call.as_json:
                    rendering.print_json(answer)
                else:
                    found = [(hypothesis.text, hypothesis.decoding) for hypothesis in answer.hypotheses]
                    rendering.print_texts(output_console(), found, answer.source_pieces)
            for best in answer.hypotheses[:1]:
                _draw_alignment(call, best.decoding, answer.source_pieces, best.text)
            _print_notes(call, answer)


@app.command(cls=AttentionCommand)
@with_options(TextCall)
def caption(image: ImageFile, call: TextCall, stream: Stream = False) -> None:
    """Say in words what an image shows."""
    from beamstep import rendering

    name, version = call.reference
    with failures(call.address), call.client() as client:
        if stream:
            messages = client.stream_caption(image, model=name, model_version=version, options=call.decoding)
            answer = _print_stream(call, messages).answer
        else:
            answer = client.caption(image, model=name, model_version=version, options=call.decoding)
            if call.as_json:
                rendering.print_json(answer)
            else:
                found = [(hypothesis.caption, hypothesis.decoding) for hypothesis in answer.hypotheses]
                rendering.print_texts(output_console(), found, rendering.cell_names(answer.attention_grid))
        for best in answer.hypotheses[:1]:
            _draw_looks(call, image, best.decoding, answer.attention_grid, best.caption)
        _print_notes(call, answer)


@app.command(cls=AttentionCommand)
@with_options(ScoreCall)
def score(
    text: Annotated[str, typer.Argument(help="The text.")],
    target: Annotated[str, typer.Argument(help="Its translation.")],
    call: ScoreCall,
) -> None:
    """Say how likely a given translation is, token by token."""
    from beamstep import rendering

    name, version = call.reference
    with failures(call.address), call.client() as client:
        answer = client.score_translation(text, target, model=name, model_version=version, options=call.decoding)
        if call.as_json:
            rendering.print_json(answer)
        else:
            rendering.print_score(output_console(), answer.decoding, answer.source_pieces)
        _draw_alignment(call, answer.decoding, answer.source_pieces, target)


@app.command(cls=AttentionCommand)
@with_options(ScoreCall)
def score_caption(
    image: ImageFile, target: Annotated[str, typer.Argument(help="Its caption.")], call: ScoreCall
) -> None:
    """Say how likely a given caption is, token by token."""
    from beamstep import rendering

    name, version = call.reference
    with failures(call.address), call.client() as client:
        answer = client.score_caption(image, target, model=name, model_version=version, options=call.decoding)
        if call.as_json:
            rendering.print_json(answer)
        else:
            rendering.print_score(output_console(), answer.decoding, rendering.cell_names(answer.attention_grid))
        _draw_looks(call, image, answer.decoding, answer.attention_grid, target)


@app.command(cls=AttentionCommand)
@with_options(PointsCall)
def hull(file: PointsFile, call: PointsCall, svg: Svg = None, picture: Picture = None) -> None:
    """Find the convex hull of points."""
    from beamstep import rendering

    name, version = call.reference
    with failures(call.address), call.client() as client:
        points = _read_points(file, picture)
        answer = client.find_convex_hull(
            points,
            model=name,
            model_version=version,
            options=call.decoding,
            repair=call.repair_value,
            symmetries=call.symmetries,
        )
        _draw(svg, points, [found.point_indices for found in answer.hypotheses[:1]], "Convex hull")
        _draw_answer(call, picture, points, answer)
        if call.as_json:
            rendering.print_json(answer)
        else:
            rendering.print_hulls(output_console(), points, answer)
        _print_notes(call, answer)


@app.command(cls=AttentionCommand)
@with_options(PointsCall)
def tour(file: PointsFile, call: PointsCall, svg: Svg = None, picture: Picture = None) -> None:
    """Find a short closed tour through points."""
    from beamstep import rendering

    name, version = call.reference
    with failures(call.address), call.client() as client:
        points = _read_points(file, picture)
        answer = client.find_tour(
            points,
            model=name,
            model_version=version,
            options=call.decoding,
            repair=call.repair_value,
            symmetries=call.symmetries,
        )
        _draw(svg, points, [found.point_indices for found in answer.hypotheses[:1]], "Tour")
        _draw_answer(call, picture, points, answer)
        if call.as_json:
            rendering.print_json(answer)
        else:
            rendering.print_tours(output_console(), points, answer)
        _print_notes(call, answer)


@app.command(cls=AttentionCommand)
@with_options(PointsCall)
def triangulate(file: PointsFile, call: PointsCall, svg: Svg = None, picture: Picture = None) -> None:
    """Find the Delaunay triangulation of points."""
    from beamstep import rendering

    name, version = call.reference
    with failures(call.address), call.client() as client:
        points = _read_points(file, picture)
        answer = client.find_delaunay_triangulation(
            points,
            model=name,
            model_version=version,
            options=call.decoding,
            repair=call.repair_value,
            symmetries=call.symmetries,
        )
        triangles = [(corner.a, corner.b, corner.c) for found in answer.hypotheses[:1] for corner in found.triangles]
        _draw(svg, points, triangles, "Delaunay triangulation")
        _draw_answer(call, picture, points, answer)
        if call.as_json:
            rendering.print_json(answer)
        else:
            rendering.print_triangulations(output_console(), points, answer)
        _print_notes(call, answer)


@app.command()
@with_options(Connection)
def models(
    call: Connection, model: Annotated[str, typer.Argument(metavar="[NAME[/VERSION]]", help="Describe this one.")] = ""
) -> None:
    """List the models a server has loaded, or describe one."""
    from beamstep import rendering

    with failures(call.address), call.client() as client:
        if model:
            described = client.get_model(*split_model(model))
            rendering.print_json(described) if call.as_json else rendering.print_model(output_console(), described)
        else:
            listed = client.list_models()
            rendering.print_json(listed) if call.as_json else rendering.print_models(output_console(), listed)


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of `beamstep train`.")],
    output: Annotated[Path, typer.Option(metavar="OUT.png", help="Write the picture here, as PNG, SVG or PDF.")],
    over: Annotated[Over, typer.Option(help="What the curves run over.")] = Over.STEPS,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="A figure of metrics.jsonl. Repeatable; by default loss and token_accuracy."),
    ] = None,
) -> None:
    """Draw the learning curves of runs; needs beamstep[pictures]."""
    with failures(""):
        check_picture(output)
        from beamstep.pictures.curves import draw_curves, read_curves
        from beamstep.pictures.style import write

        write(draw_curves(read_curves(runs), metric or ["loss", "token_accuracy"], over), output)


def _print_stream(call: TextCall, messages: "Generator[StreamMessage, None, None]") -> "StreamMessage":
    """Print a stream and return its last message, which has the answer."""
    from beamstep import rendering
    from beamstep.live_text import print_parts

    with closing(messages):
        last = rendering.print_json_lines(messages) if call.as_json else print_parts(output_console(), messages)
    if last is None or not last.HasField("answer"):
        raise failure("the server ended the stream without an answer", OTHER)
    return last


def _print_notes(call: SearchCall, answer: "Answer") -> None:
    """Say on stderr what should not be missed, since stdout has the answer alone."""
    from beamstep import rendering

    if answer.deadline_reached:
        rendering.print_note("the deadline came before the search was over; this is the best so far")
    drawn = [found.decoding.seed for found in answer.hypotheses[:1] if found.decoding.HasField("seed")]
    if drawn and call.seed is None and not call.as_json:
        rendering.print_note(f"--seed {drawn[0]} draws this again")


def _lines(text: str) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else iter([text])


def _read_points(file: str, picture: Path | None) -> list[Point]:
    """Read points, once it is certain that the picture of what is found can be written."""
    if picture is not None:
        check_picture(picture)
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    try:
        return parse_points(text)
    except BadPoints as error:
        raise BadPoints(f"{file}, {error}") from None


def _draw(svg: Path | None, points: Sequence[Point], polygons: Sequence[Sequence[int]], title: str) -> None:
    from beamstep.svg import draw

    if svg is not None:
        svg.write_text(draw(points, polygons, title), encoding="utf-8")


def _draw_alignment(call: ScoreCall, decoding: "Decoding", source: Sequence[str], title: str) -> None:
    if call.attention_picture is not None:
        from beamstep.pictures.answers import picture_alignment

        picture_alignment(call.attention_picture, decoding, source, title)


def _draw_looks(call: ScoreCall, image: Path, decoding: "Decoding", grid: "AttentionGrid", title: str) -> None:
    if call.attention_picture is not None:
        from beamstep.pictures.answers import picture_looks

        picture_looks(call.attention_picture, image, decoding, grid, title)


def _draw_answer(call: ScoreCall, picture: Path | None, points: Sequence[Point], answer: "PointingAnswer") -> None:
    if picture is not None:
        from beamstep.pictures.answers import picture_points

        picture_points(picture, points, answer)
    if call.attention_picture is not None:
        from beamstep.pictures.answers import picture_pointers

        picture_pointers(call.attention_picture, points, answer)


def _hand_over(entry: EntryPoint) -> Callable[[typer.Context], None]:
    """Return a command that loads another package's command and gives it every argument, `--help` included."""

    def run(context: typer.Context) -> None:
        try:
            command = entry.load()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in OURS:
                raise
            install = f"pip install 'beamstep[{EXTRAS.get(entry.name, 'train')}]'"
            message = f"beamstep {entry.name} needs the package {error.name}, which is not installed: {install}"
            raise failure(message, OTHER) from None
        other = command
        if not isinstance(command, typer.Typer):
            other = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            other.command()(command)
        other(args=context.args, prog_name=f"beamstep {entry.name}")

    return run


def _register_others() -> None:
    """Add the commands that other packages announce, in the order of their table."""
    announced = {entry.name: entry for entry in (*entry_points(group="beamstep.commands"), *OWN)}
    for name, help_line in HANDED_OVER.items():
        if name in announced:
            app.command(
                name,
                help=help_line,
                add_help_option=False,
                context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
            )(_hand_over(announced[name]))


_register_others()
