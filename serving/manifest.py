"""The manifest: everything a bundle says of itself. docs/architecture.md, "Bundle".

Export writes through these types and serving reads through them, so that the two cannot disagree.
"""

from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT: Final = 2
"""The format number this version writes; it changes when an older reader would misread a bundle. serving/old_formats.py reads 1."""

Precision = Literal["fp32", "int8", "fp16"]
"""What the large products compute in: float32; 8-bit integers with fixed scales; or float16, for GPUs."""
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

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
    """The two graphs of one precision."""

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
    """What a request gets where it asks for nothing; `symmetries` is of pointing alone.

    Without `patience` a search goes on until nothing better can come.
    """

    beam_size: int = Field(ge=1)
    length_penalty: float = Field(ge=0, le=5)
    patience: float | None = Field(default=None, ge=0.1, le=10)
    min_length: int = Field(default=0, ge=0)
    max_length: LengthRule
    symmetries: int = Field(default=1, ge=1, le=8)


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


class TokenAgreement(Part):
    """How many answers are the reference's (PyTorch's) token by token, and by how much the others are not.

    Attributes:
        beam_size: 1 is greedy.
        inputs: how many were answered.
        identical_alone: share of identical answers, each source decoded alone.
        identical_in_batch: the same, decoded in a mixed batch.
        largest_margin: of the answers that differ, natural logs; None where none does. Greedy: how much PyTorch preferred its own
            token where the answers part. Beam: by how much the candidate scores its own answer above PyTorch's. A rounding error
            decides near-ties alone; a bug does not stop there.
        median_margin: of the same margins.
    """

    beam_size: int = Field(ge=1)
    inputs: int = Field(ge=1)
    identical_alone: float = Field(ge=0, le=1)
    identical_in_batch: float = Field(ge=0, le=1)
    largest_margin: float | None = None
    median_margin: float | None = None

    @property
    def identical(self) -> float:
        """Return the smaller of the two shares."""
        return min(self.identical_alone, self.identical_in_batch)


class MetricChange(Part):
    """The task's metric of PyTorch's beam answers and of these graphs' to the same inputs, as `beamstep evaluate` computes it."""

    metric: str
    inputs: int = Field(ge=1)
    pytorch: float
    served: float


class SpeedRatio(Part):
    """How many times faster than fp32 a step of `rows` rows is, or an encoding of `sources`; run in turns in one process."""

    rows: int | None = Field(default=None, ge=1)
    sources: int | None = Field(default=None, ge=1)
    times_faster: float = Field(gt=0)


class Certificate(Part):
    """What one precision was found to do on one execution provider; docs/export.md says what each figure means and its bound.

    Attributes:
        provider: such as CPUExecutionProvider.
        precision: which graphs of the bundle.
        passed: whether serving may use them; `faults` says why not.
        faults: each with its figure and the bound.
        created: UTC, ISO 8601.
        machine: processor, cores and the runtime's version.
        inputs: what the answers were compared on, in words.
        tensor_shapes: how many random ragged shapes were compared, each over a few steps; 0 where there is nothing to compare with.
        tensor_error: the largest difference of a log-prob or an attention weight from the reference's on them.
        tokens: whole answers, greedy and with a beam; empty where there is nothing to compare with.
        metric: before and after; None where the inputs have no true answers.
        neighbours_error: the largest change of a row's log-prob that other rows made; relative where the log-prob is above 1.
        padding_error: the largest change that encoding its source beside others made, padded to the longest; as above.
        speed: against fp32 on the same machine in the same minute; empty where the bundle has no fp32 to compare with.
    """

    provider: str
    precision: Precision
    passed: bool
    faults: tuple[str, ...] = ()
    created: str
    machine: str
    inputs: str
    tensor_shapes: int = Field(default=0, ge=0)
    tensor_error: float | None = Field(default=None, ge=0)
    tokens: tuple[TokenAgreement, ...] = ()
    metric: MetricChange | None = None
    neighbours_error: float | None = Field(default=None, ge=0)
    padding_error: float | None = Field(default=None, ge=0)
    speed: tuple[SpeedRatio, ...] = ()

    @model_validator(mode="after")
    def _faults_or_passed(self) -> Self:
        if self.passed == bool(self.faults):
            raise ValueError("faults: a certificate has some, or it passed")
        return self


class Manifest(Part):
    """The whole of manifest.json."""

    format: Literal[2] = FORMAT
    name: PlainName
    version: PlainName
    task: TaskName
    description: str
    graphs: dict[Precision, Graphs] = Field(min_length=1)
    tokenizers: Tokenizers = Tokenizers()
    vocabulary: Vocabulary
    image: ImageSpec | None = None
    defaults: DecodingDefaults
    limits: DecodingLimits
    source_buckets: tuple[int, ...] = Field(min_length=1)
    provenance: Provenance
    quality: tuple[QualityFigure, ...] = ()
    references: FileSpec | None = None
    certificates: tuple[Certificate, ...] = ()

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
        if self.defaults.symmetries > 1 and self.task in TEXT_TARGETS:
            raise ValueError(
                f"defaults.symmetries: {self.defaults.symmetries}; allowed: 1, since a {self.task} bundle has no points"
            )
        if self.defaults.beam_size > self.limits.beam_size:
            raise ValueError(
                f"defaults.beam_size: {self.defaults.beam_size}; allowed: up to limits.beam_size {self.limits.beam_size}"
            )
        return self
