"""What an evaluation found: figures for machines, notes for people, and the form in which a bundle keeps them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from serving.errors import InvalidRequest
from serving.manifest import QualityFigure

DECIMALS: Final = 4
SPEED: Final = "sentences_per_second"
"""Said of the machine, not of the model: printed, never recorded."""


@dataclass(frozen=True)
class Report:
    """Figures of one evaluation.

    Attributes:
        data: what was evaluated on, in short.
        count: sources evaluated, refused ones included.
        figures: metric to value; shares, gaps and BLEU in percent; None where nothing could be measured.
        notes: how it was measured, and what was left out.
    """

    data: str
    count: int
    figures: Mapping[str, float | None]
    notes: tuple[str, ...] = ()

    def rounded(self) -> dict[str, float | None]:
        """Return `count` and the figures, to four decimals."""
        figures = {name: None if value is None else round(value, DECIMALS) for name, value in self.figures.items()}
        return {"count": self.count, **figures}

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.rounded())

    def quality(self, command: str) -> list[QualityFigure]:
        """Return what a bundle's manifest keeps: the figures that were measured, speed apart."""
        return [
            QualityFigure(metric=name, value=value, data=self.data, command=command)
            for name, value in self.rounded().items()
            if name not in {"count", SPEED} and value is not None
        ]


def refusal_notes(refusals: Mapping[int, InvalidRequest], cost: str) -> tuple[str, ...]:
    """Say how many sources were refused and what that costs; nothing where none was."""
    if not refusals:
        return ()
    index, refusal = next(iter(refusals.items()))
    return (f"{len(refusals)} refused by serving and {cost}; source {index + 1}: {refusal}",)
