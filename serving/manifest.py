"""The manifest: everything a bundle says of itself. docs/architecture.md, "Bundle".

Export writes through these types and serving reads through them, so that the two cannot disagree.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT: Final = 1
"""The format number this version writes and reads; it changes when an older reader would misread a bundle."""

TaskName = Literal["translation", "captioning", "convex_hull", "delaunay", "tour"]
TEXT_TARGETS: frozenset[TaskName] = frozenset({"translation", "captioning"})
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""A name that can be a folder or a file: no separators, no leading dot."""


class Part(BaseModel):
    """A part of the manifest: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(Part):
    """One input or output of a graph.

    `axes` holds a letter for a free axis (N sources, S positions, R rows, Q incoming rows, M bans, k candidates) and a number for a
    fixed one; a scalar has none.
    """

    name: str
    dtype: Literal["bool", "uint8", "int64", "float16", "float32", "float64"]
    axes: tuple[str | int, ...]


class GraphSpec(Part):
    """One ONNX file and its signature."""

    file: PlainName
    sha256: Sha256
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class FileSpec(Part):
    """Any other file that serving reads, such as a tokenizer."""

    file: PlainName
    sha256: Sha256


class Graphs(Part):
    """The two graphs of every bundle."""

    encoder: GraphSpec
    decoder_step: GraphSpec


class Tokenizers(Part):
    """Sentencepiece models; a captioning bundle has no source side, a pointing bundle has neither."""

    source: FileSpec | None = None
    target: FileSpec | None = None


class Vocabulary(Part):
    """The target's token ids.

    `size` is None in pointing, where it is `first_position` plus the number of points.
    """

    size: int | None = Field(default=None, ge=4)
    pad: int = Field(ge=0)
    bos: int = Field(ge=0)
    eos: int = Field(ge=0)
    unk: int | None = Field(default=None, ge=0)
    first_position: int | None = Field(default=None, ge=3)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.size is None) == (self.first_position is None):
            raise ValueError("give either size (text) or first_position (pointing)")
        return self


class ImageSpec(Part):
    """The size an image is resized to, its aspect ratio not kept; everything numeric happens inside the encoder graph."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    grid_rows: int = Field(ge=1)
    grid_columns: int = Field(ge=1)


class LengthRule(Part):
    """The default maximum length of an answer: `per_source` times the source's length, plus `plus`, in tokens without `eos`."""

    per_source: float = Field(ge=0)
    plus: int = Field(ge=0)

    def of(self, source_length: int) -> int:
        """Return the maximum length for a source of `source_length` positions; at least 1."""
        return max(1, int(self.per_source * source_length) + self.plus)


class DecodingDefaults(Part):
    """What a request gets where it asks for nothing."""

    beam_size: int = Field(ge=1)
    length_penalty: float = Field(ge=0, le=5)
    min_length: int = Field(default=0, ge=0)
    max_length: LengthRule


class DecodingLimits(Part):
    """The most a request may ask for."""

    beam_size: int = Field(ge=1)
    source_length: int = Field(ge=1)
    min_source_length: int = Field(default=1, ge=1)
    max_length: int = Field(ge=1)


class DataSource(Part):
    """A set of training data and its licence in short."""

    name: str
    licence: str


class Provenance(Part):
    """Where the weights came from; `notes` are sentences on what the recipe does not say of this run."""

    created: str
    git_commit: str
    recipe: str
    seed: int
    data_sources: tuple[DataSource, ...]
    tool_versions: tuple[str, ...]
    notes: tuple[str, ...] = ()


class QualityFigure(Part):
    """One figure as a command measured it; shares and BLEU in percent."""

    metric: str
    value: float
    data: str
    command: str


class ParityReport(Part):
    """What the export was checked for before it was published, on one execution provider.

    Shares are from 0 to 1; an answer counts as identical when it is so alone and in a mixed batch. `margin` is how much
    larger PyTorch's log-prob of its own token was, at most, where a greedy answer first differed; None when none did.
    """

    provider: str
    tensor_shapes: int = Field(ge=1)
    tensor_error: float = Field(ge=0)
    inputs: int = Field(ge=1)
    greedy_identical: float = Field(ge=0, le=1)
    beam_size: int = Field(ge=1)
    beam_identical: float = Field(ge=0, le=1)
    margin: float | None = None


class Manifest(Part):
    """The whole of manifest.json."""

    format: Literal[1] = FORMAT
    name: PlainName
    version: PlainName
    task: TaskName
    description: str
    precision: Literal["fp32", "int8", "fp16"]
    graphs: Graphs
    tokenizers: Tokenizers = Tokenizers()
    vocabulary: Vocabulary
    image: ImageSpec | None = None
    defaults: DecodingDefaults
    limits: DecodingLimits
    source_buckets: tuple[int, ...] = Field(min_length=1)
    provenance: Provenance
    quality: tuple[QualityFigure, ...] = ()
    parity: tuple[ParityReport, ...] = ()

    @model_validator(mode="after")
    def _parts_fit_the_task(self) -> Self:
        """Name the part that the task needs and the manifest lacks."""
        if (self.tokenizers.target is not None) != (self.task in TEXT_TARGETS):
            raise ValueError(
                f"tokenizers.target: a {self.task} bundle must{'' if self.task in TEXT_TARGETS else ' not'} have one"
            )
        if (self.tokenizers.source is not None) != (self.task == "translation"):
            raise ValueError(f"tokenizers.source: only a translation bundle has one, and it must; task is {self.task}")
        if (self.image is not None) != (self.task == "captioning"):
            raise ValueError(f"image: only a captioning bundle has it, and it must; task is {self.task}")
        if (self.vocabulary.size is not None) != (self.task in TEXT_TARGETS):
            raise ValueError(f"vocabulary.size: text targets have it, pointing has first_position; task is {self.task}")
        if self.defaults.beam_size > self.limits.beam_size:
            raise ValueError(
                f"defaults.beam_size: {self.defaults.beam_size}; allowed: up to limits.beam_size {self.limits.beam_size}"
            )
        return self
