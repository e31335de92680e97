"""Sources and their references, line by line in two files."""

from dataclasses import dataclass
from pathlib import Path

from export.evaluation.lines import BadData, read_lines


@dataclass(frozen=True)
class ParallelText:
    """Line-aligned sentences; both sides have the same number of lines, at least one."""

    sources: tuple[str, ...]
    references: tuple[str, ...]


def read_parallel_text(source: Path, reference: Path, limit: int | None = None) -> ParallelText:
    """Read the first `limit` sentence pairs (all where None) of two line-aligned files, plain or gzip.

    Raises:
        BadData: a file is unreadable or empty, or their line counts differ.
    """
    sources, references = read_lines(source), read_lines(reference)
    if len(sources) != len(references):
        raise BadData(
            f"{source} has {len(sources)} lines and {reference} has {len(references)}: they must be aligned line by line"
        )
    return ParallelText(tuple(sources[:limit]), tuple(references[:limit]))
