"""Beside what people use today: Hugging Face's generate, Optimum's on ONNX Runtime, and CTranslate2, all of one Marian model.

The model is that of `--peer`, where `python -m benchmarks.peers.make_ctranslate2` made it; otherwise one of the same size and of
random weights is made. Where it was not trained to translate well, every answer is forced to the length of its reference, ours too,
so that all sides take as many steps. Ours is our own model, another architecture.
"""

import itertools
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.apart.files import ABOUT, MARIAN
from benchmarks.peers.asked import BEAM_SIZE
from benchmarks.peers.ctranslate2 import P50, latencies, own_engine
from benchmarks.peers.environments import MADE, environment
from benchmarks.peers.other_process import ROOT, Other, foreign_environment, other
from benchmarks.peers.sentences import sentences
from benchmarks.peers.sides import OURS, TOKENS
from benchmarks.peers.table import Effort, Figures, Group, Measure, NotMeasuredError, Ratio, Sides, Table
from serving.cores import cores

ENVIRONMENT: Final = "huggingface"
THREADS: Final = min(2, cores().whole)
"""As many as a step of ours has."""
BATCHES: Final = (8, 32)
ALIKE: Final = 32
"""So many answers have the same length, where lengths are forced: the largest batch."""
EVERY: Final = 0.8
"""Times ALIKE sentences a second of effort: 128 at 5 seconds."""
GOOD: Final = 30.0
"""BLEU from which a model's answers are as long as those of any translator."""

TRANSFORMERS: Final = "transformers, generate"
OPTIMUM: Final = "Optimum ONNX, generate"
INT8: Final = "CTranslate2, int8"
WAYS: Final[Mapping[str, str]] = {
    TRANSFORMERS: "transformers",
    OPTIMUM: "optimum",
    INT8: "ctranslate2-int8",
    "CTranslate2, float32": "ctranslate2-float32",
}


def in_batches(size: int) -> str:
    """Return what the speed in batches of a size is called."""
    return f"sentences/s in batches of {size}"


@dataclass(frozen=True)
class Asked:
    """What every side translates.

    Attributes:
        texts: as many as a number of largest batches.
        lengths: how many tokens each answer has; None leaves it to the models.
    """

    texts: tuple[str, ...]
    lengths: tuple[int, ...] | None


def asked_of(texts: Sequence[str], references: Sequence[str], count: int, *, forced: bool) -> Asked:
    """Choose what is translated.

    Args:
        texts: what there is.
        references: as many; their words say how long answers are.
        count: how many, rounded up to whole groups of ALIKE.
        forced: whether lengths are; then sentences of like lengths stand together, and all of a group have its mean.
    """
    groups = -(-count // ALIKE)
    some = list(zip(texts, references, strict=True))[: groups * ALIKE]
    if not forced:
        return Asked(tuple(text for text, _ in some), None)
    words = [(len(reference.split()), text) for text, reference in some]
    words.sort(key=lambda pair: pair[0])
    lengths: list[int] = []
    for first in range(0, len(words), ALIKE):
        group = [length for length, _ in words[first : first + ALIKE]]
        lengths += [round(sum(group) / len(group))] * len(group)
    return Asked(tuple(text for _, text in words), tuple(lengths))


def is_good(folder: Path) -> bool:
    """Tell whether a peer's model was trained until it translated well."""
    file = folder / ABOUT
    return file.exists() and json.loads(file.read_text(encoding="utf-8")).get("bleu_val", 0.0) >= GOOD


def marian_folder(effort: Effort, python: Path) -> Path:
    """Return the folder of `--peer` where it holds a Marian model, else that of a random one, made if need be."""
    if effort.peer is not None and (effort.peer / MARIAN).exists():
        return effort.peer.absolute()
    folder = MADE / "marian-random"
    if not (folder / MARIAN).exists():
        command = [str(python), "-m", "benchmarks.peers.apart.marian", str(folder)]
        lines = "\n".join(sentences(None).texts)
        done = subprocess.run(
            command, input=lines, text=True, capture_output=True, cwd=ROOT, env=foreign_environment(), check=False
        )
        if done.returncode:
            raise NotMeasuredError(f"no model of random weights: {done.stderr.strip().rpartition(chr(10))[2]}")
    return folder


@contextmanager
def generating(effort: Effort) -> Iterator[Sides]:
    """Load the model in every way, and ours, and give all the same sentences."""
    python = environment(ENVIRONMENT)
    folder = marian_folder(effort, python)
    text = sentences(effort.data)
    count = round(ALIKE * max(1.0, EVERY * effort.seconds))
    asked = asked_of(text.texts, text.references or text.texts, count, forced=not is_good(folder))
    with ExitStack() as stack:
        sides: dict[str, Other] = {}
        for name, way in WAYS.items():
            given = [str(folder), way, "--beam-size", str(BEAM_SIZE), "--threads", str(THREADS)]
            sides[name] = stack.enter_context(other("benchmarks.peers.apart.marian_generating", given, python))
            sides[name].ask("give", texts=asked.texts, lengths=asked.lengths)
        sides[OURS] = stack.enter_context(own_engine(effort))
        sides[OURS].ask("give", texts=asked.texts, beam_size=BEAM_SIZE, lengths=asked.lengths)
        measures = {name: _measuring(side, len(asked.texts)) for name, side in sides.items()}
        yield Sides(measures, tuple(side.pid for side in sides.values()))


def _measuring(side: Other, count: int) -> Measure:
    """Return a measurement of a side: every fourth sentence alone, then all in batches."""
    starts = itertools.cycle(range(4))

    def measure() -> Figures:
        first = next(starts)
        seconds = [second for place in range(first, count, 4) for second in side.ask("singly", first=place, count=1)]
        figures = latencies(seconds) | {in_batches(size): count / side.ask("all", batch=size) for size in BATCHES}
        return {**figures, TOKENS: sum(side.ask("pieces")) / count}

    return measure


def said(_: Mapping[str, Figures]) -> Iterable[str]:
    """Yield what the figures are of."""
    yield f"Threads of transformers and Optimum: {THREADS}; batches at once of CTranslate2, on one thread each: {THREADS}"
    yield "Beamstep: translation-en-de, another architecture; the others: one Marian Transformer-Tiny, the same weights"


TABLE: Final = Table(
    "huggingface",
    (
        Group(
            f"One at a time and in batches, beam {BEAM_SIZE}, cutting into pieces excluded",
            generating,
            tuple(
                ratio
                for name in (TRANSFORMERS, OPTIMUM, INT8)
                for ratio in (Ratio(P50, name, OURS), *(Ratio(in_batches(size), OURS, name) for size in BATCHES))
            ),
            said,
        ),
    ),
)
