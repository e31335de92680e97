"""Images and their reference captions: one JSON object a line with `image`, `split` and `captions`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from export.evaluation.lines import BadData, read_lines


@dataclass(frozen=True)
class CaptionedImage:
    """An image file and what people said of it."""

    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class CaptionedImages:
    """The images of a split that are there, and how many of its records name a file that is not."""

    images: tuple[CaptionedImage, ...]
    missing: int


class _Record(BaseModel):
    """One line of the file; further keys are another project's business."""

    image: Annotated[str, Field(min_length=1)]
    split: str
    captions: Annotated[list[str], Field(min_length=1)]


def read_captions(captions: Path, images: Path, split: str, limit: int | None = None) -> CaptionedImages:
    """Read the first `limit` records of a split (all where None) whose image lies in the folder `images`.

    Raises:
        BadData: the file is unreadable or empty, a line is malformed, the split has no record, or none of its images is there.
    """
    if not images.is_dir():
        raise BadData(f"{images}: not a folder of images")
    everything = [_parse(captions, number, line) for number, line in enumerate(read_lines(captions), start=1)]
    records = [record for record in everything if record.split == split]
    if not records:
        known = ", ".join(sorted({record.split for record in everything}))
        raise BadData(f"{captions}: no record of split {split!r}; the file has: {known}")
    there = [record for record in records if (images / record.image).is_file()]
    if not there:
        raise BadData(f"{images}: none of the {len(records)} images of split {split!r} is there")
    found = tuple(CaptionedImage(images / record.image, tuple(record.captions)) for record in there[:limit])
    return CaptionedImages(found, len(records) - len(there))


def _parse(path: Path, number: int, line: str) -> _Record:
    try:
        return _Record.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadData(f"{path}:{number}: {f'{where}: ' if where else ''}{fault['msg']}") from None
