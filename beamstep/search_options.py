"""The options of the command line that say how to search, each a field of DecodingOptions and passed on as it was given.

Here a value need only fit into the message; what is in range is for the server to say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from beamstep.call_options import Connection, split_model
from beamstep.pictures.file import check_picture, is_picture

if TYPE_CHECKING:
    from beamstep.client import Client
    from beamstep.v1 import pointing_pb2
    from beamstep.v1.decoding_pb2 import DecodingOptions

SCORE: Final = "Score"
ENSEMBLE: Final = "Ensemble"
SEARCH: Final = "Search"
TOKENS: Final = "What an answer may hold"
POINTS: Final = "Points"
SAMPLING: Final = "Sampling (each of these implies --sample)"


class LengthNormalization(StrEnum):
    """The values of --length-normalization."""

    GNMT = "gnmt"
    PLAIN = "plain"


class OnDeadline(StrEnum):
    """The values of --on-deadline."""

    FAIL = "fail"
    RETURN_BEST = "return-best"


class Priority(StrEnum):
    """The values of --priority."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Repair(StrEnum):
    """The values of --repair."""

    NONE = "none"
    FIX = "fix"


@dataclass(frozen=True)
class Member:
    """A further model of an ensemble; a version of "" and a weight of None are left to the server."""

    model: str
    version: str
    weight: float | None


def member(given: str) -> Member:
    """Read NAME[/VERSION][=WEIGHT]."""
    reference, equals, weight = given.partition("=")
    try:
        return Member(*split_model(reference), float(weight) if equals else None)
    except ValueError:
        raise typer.BadParameter(f"{given!r}; allowed: NAME[/VERSION][=WEIGHT], the weight a number") from None


def integer(bits: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that a field of so many bits can hold."""

    def read(given: str) -> int:
        try:
            number = int(given)
        except ValueError:
            raise typer.BadParameter(f"{given!r} is not a whole number") from None
        if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise typer.BadParameter(f"{given}; allowed: a number of at most {bits} bits")
        return number

    return read


class AttentionCommand(TyperCommand):
    """A command whose --attention takes a value only where a picture's name follows, so that no text or file is taken for one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare --attention the empty value."""
        before = args[: args.index("--")] if "--" in args else args
        for place, argument in enumerate(before):
            if argument == "--attention" and not any(map(is_picture, before[place + 1 : place + 2])):
                args = [*args[:place], "--attention=", *args[place + 1 :]]
        return super().parse_args(ctx, args)


def _option(panel: str, text: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)


def _integer(panel: str, text: str, *names: str, bits: int = 32) -> Any:
    return typer.Option(*names, help=text, metavar="<int>", rich_help_panel=panel, parser=integer(bits))


@dataclass(frozen=True, kw_only=True)
class ScoreCall(Connection):
    """Which model to ask, and what its score is made of."""

    model: Annotated[
        str, typer.Option(help="NAME or NAME/VERSION; by default the server's first model for the task.")
    ] = ""
    attention: Annotated[
        str | None,
        typer.Option(
            "--attention",
            metavar="[OUT.png]",
            help="Show what each token looked at; with --json all of its weights. Behind it may stand the PNG, SVG or PDF to"
            " draw them into, which needs beamstep[pictures].",
        ),
    ] = None
    length_penalty: Annotated[float | None, _option(SCORE, "Exponent of the length; 0 is off.")] = None
    length_normalization: Annotated[
        LengthNormalization | None,
        _option(SCORE, "What it is the exponent of: (5 + length) / 6 (gnmt), or the length itself (plain)."),
    ] = None
    coverage_penalty: Annotated[
        float | None, _option(SCORE, "Factor of the penalty on what the answer passes over; 0 is off.")
    ] = None
    ensemble: Annotated[
        list[Member] | None,
        typer.Option(
            parser=member,
            metavar="NAME[/VERSION][=WEIGHT]",
            help="A further model to decode with, in one beam. Repeatable.",
            rich_help_panel=ENSEMBLE,
        ),
    ] = None
    ensemble_weight: Annotated[float | None, _option(ENSEMBLE, "The weight of --model beside the others'.")] = None
    priority: Annotated[
        Priority | None, typer.Option(help="How urgent it is beside what else waits at the server; by default normal.")
    ] = None

    @property
    def reference(self) -> tuple[str, str]:
        """Return the model's name and version, each "" where it is left to the server."""
        return split_model(self.model)

    @property
    def attention_picture(self) -> Path | None:
        """Return the file to draw attention into; None where it is to be printed alone, or not wanted."""
        return Path(self.attention) if self.attention else None

    def client(self) -> "Client":
        """Open a client, once it is certain that a picture of the answer can be written."""
        if self.attention_picture is not None:
            check_picture(self.attention_picture)
        return super().client()

    @property
    def decoding(self) -> "DecodingOptions":
        """Return the request's decoding options; what was not given takes the model's defaults."""
        from beamstep.v1.decoding_pb2 import DecodingOptions, EnsembleMember

        given = self.length_normalization
        return DecodingOptions(
            include_attention=self.attention is not None,
            length_penalty=self.length_penalty,
            length_normalization=given and f"LENGTH_NORMALIZATION_{given.name}",
            coverage_penalty=self.coverage_penalty,
            ensemble=[
                EnsembleMember(model=other.model, model_version=other.version, weight=other.weight)
                for other in self.ensemble or ()
            ],
            ensemble_weight=self.ensemble_weight,
            priority=self.priority and f"PRIORITY_{self.priority.name}",
        )


@dataclass(frozen=True, kw_only=True)
class SearchCall(ScoreCall):
    """How to search for an answer of any kind."""

    beam_size: Annotated[int | None, _integer(SEARCH, "Hypotheses kept at every step.")] = None
    hypotheses: Annotated[int | None, _integer(SEARCH, "Answers to give, best first.")] = None
    patience: Annotated[float | None, _option(SEARCH, "Stop once patience * beam size hypotheses have ended.")] = None
    alternatives: Annotated[
        bool, _option(SEARCH, "Begin every answer with another token, after the prefix if any.", "--alternatives")
    ] = False
    on_deadline: Annotated[
        OnDeadline | None, _option(SEARCH, "Fail when --timeout comes first, or answer with the best so far.")
    ] = None
    min_length: Annotated[int | None, _integer(TOKENS, "Fewest tokens.")] = None
    max_length: Annotated[int | None, _integer(TOKENS, "Most tokens.")] = None
    repetition_penalty: Annotated[
        float | None, _option(TOKENS, "Factor on the log-prob of tokens that are there already; 1 is off.")
    ] = None
    no_repeat_ngram: Annotated[
        int | None, _integer(TOKENS, "No n-gram of so many tokens twice; 0 is off.", "--no-repeat-ngram")
    ] = None
    suppress_token: Annotated[
        list[int] | None, _integer(TOKENS, "The id of a token to leave out. Repeatable.", "--suppress-token")
    ] = None
    prefix_token: Annotated[
        list[int] | None, _integer(TOKENS, "The id of a token to begin with. Repeatable, in order.", "--prefix-token")
    ] = None
    sample: Annotated[
        bool, _option(SAMPLING, "Draw the answers at random instead of searching for the best.", "--sample")
    ] = False
    temperature: Annotated[float | None, _option(SAMPLING, "Below 1 sharper, above 1 flatter.")] = None
    top_k: Annotated[int | None, _integer(SAMPLING, "Draw among so many best tokens.")] = None
    top_p: Annotated[
        float | None, _option(SAMPLING, "Draw among the best tokens that have this share of the probability.")
    ] = None
    seed: Annotated[int | None, _integer(SAMPLING, "The same seed draws the same answers.", bits=64)] = None

    @property
    def decoding(self) -> "DecodingOptions":
        """Return the request's decoding options; what was not given takes the model's defaults."""
        from beamstep.v1.decoding_pb2 import DecodingOptions, Sampling

        options = super().decoding
        sampling = Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, seed=self.seed)
        search = DecodingOptions(
            beam_size=self.beam_size,
            hypothesis_count=self.hypotheses,
            patience=self.patience,
            alternatives=self.alternatives,
            on_deadline=self.on_deadline and f"ON_DEADLINE_{self.on_deadline.name}",
            min_length=self.min_length,
            max_length=self.max_length,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram,
            suppressed_tokens=self.suppress_token,
            target_prefix_tokens=self.prefix_token,
            sampling=sampling if self.sample or sampling.ListFields() else None,
        )
        options.MergeFrom(search)
        return options


@dataclass(frozen=True, kw_only=True)
class TextCall(SearchCall):
    """How to search for a text."""

    require: Annotated[
        list[str] | None, _option(TOKENS, "Words that every answer holds. Repeatable.", metavar="<str>")
    ] = None
    suppress: Annotated[
        list[str] | None, _option(TOKENS, "Words that no answer holds. Repeatable.", metavar="<str>")
    ] = None
    prefix: Annotated[str, _option(TOKENS, "What every answer begins with.", metavar="<str>")] = ""

    @property
    def decoding(self) -> "DecodingOptions":
        """Return the request's decoding options; what was not given takes the model's defaults."""
        from beamstep.v1.decoding_pb2 import DecodingOptions

        options = super().decoding
        wording = DecodingOptions(
            required_phrases=self.require, suppressed_phrases=self.suppress, target_prefix=self.prefix
        )
        options.MergeFrom(wording)
        return options


@dataclass(frozen=True, kw_only=True)
class PointsCall(SearchCall):
    """How to search for an answer to a set of points, and what to do with it."""

    repair: Annotated[
        Repair, _option(POINTS, "Leave an answer as the model gave it, or have the server put it right.")
    ] = Repair.NONE
    symmetries: Annotated[
        int, _integer(POINTS, "Decode in so many of the square's eight symmetries; 0: the model's default.")
    ] = 0

    @property
    def repair_value(self) -> "pointing_pb2.Repair":
        """Return what the request says of repairs."""
        from beamstep.v1 import pointing_pb2

        return pointing_pb2.REPAIR_FIX if self.repair is Repair.FIX else pointing_pb2.REPAIR_NONE
