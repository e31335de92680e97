"""Sentences to be translated for training: lines of text, or captions as people write text; without those held back elsewhere."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from export.evaluation.lines import BadData, read_lines


def read_captions_as_text(path: Path, split: str) -> list[str]:
    """Return a split's captions (JSON lines with `image`, `split`, `captions`) as sentences: capital, full stop, no spaced signs.

    A record that says under `multi30k` that its photo is in another corpus, in a part other than `train`, is left out: its
    captions are that corpus's test sentences.

    Raises:
        BadData: the file is unreadable, a line is malformed, or the split has no caption.
    """
    captions = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            record = json.loads(line)
            elsewhere = record.get("multi30k", {}).get("split", "train")
            if record["split"] == split and elsewhere == "train":
                captions += record["captions"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadData(
                f"{path}:{number}: no object with image, split and captions ({type(error).__name__}: {error})"
            ) from None
    sentences = [sentence for sentence in map(as_sentence, captions) if sentence]
    if not sentences:
        raise BadData(f"{path}: split {split!r} has no caption to take")
    return sentences


def as_sentence(caption: str) -> str:
    """Write a tokenised caption as running text: `a boy 's dog , wet` becomes `A boy's dog, wet.`"""
    text = " ".join(caption.split())
    text = re.sub(r"\s+([.,!?;:])", r"\1", text)
    text = re.sub(r"\s+('s|n't|'re|')(?=[\s.]|$)", r"\1", text)
    text = re.sub(r"\s*-\s*", "-", text)
    text = re.sub(r'"\s*([^"]*?)\s*"', r'"\1"', text)
    if not text:
        return ""
    return text[0].upper() + (text[1:] if text[-1] in ".!?" else f"{text[1:]}.")


def without_held_back(sentences: Iterable[str], held_back: Sequence[Path]) -> list[str]:
    """Return each sentence once, and none that is a line of the files `held_back`; letters and digits alone are compared."""
    seen = {_normal(line) for path in held_back for line in read_lines(path)}
    return list(_new(sentences, seen))


def _new(sentences: Iterable[str], seen: set[str]) -> Iterator[str]:
    for sentence in sentences:
        normal = _normal(sentence)
        if normal and normal not in seen:
            seen.add(normal)
            yield sentence


def _normal(sentence: str) -> str:
    return " ".join(re.findall(r"\w+", sentence.casefold()))
