"""One Marian model in three: Hugging Face's generate, Optimum's on ONNX Runtime, CTranslate2; asked by `peers.huggingface`.

    python -m benchmarks.peers.apart.marian_generating FOLDER WAY [--threads 2]

FOLDER is what `marian_training` or `marian` writes, WAY one of WAYS. Only translating is timed: sentences are cut into pieces when
they are given.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import ctranslate2
import onnxruntime
import torch
import transformers
from optimum.onnxruntime import ORTModelForSeq2SeqLM

from benchmarks.peers.apart.batching import padded
from benchmarks.peers.apart.conversation import answer_questions
from benchmarks.peers.apart.files import FLOAT32, INT8, MARIAN, PIECES
from benchmarks.peers.apart.pieces import Pieces

MOST_PIECES: Final = 100


class Way(Protocol):
    """Translates a batch of sentences, all to answers of one length, or each to where the model ends it."""

    def __call__(self, sources: Sequence[Sequence[str]], length: int | None) -> list[list[str]]:
        """Return the pieces of each answer, `</s>` not among them."""


class Generating:
    """The `generate` of transformers, on its own model or on Optimum's."""

    def __init__(self, model: Any, pieces: Pieces, beam_size: int) -> None:
        self._model = model
        self._pieces = pieces
        self._beam_size = beam_size
        self._pad: int = model.config.pad_token_id

    def __call__(self, sources: Sequence[Sequence[str]], length: int | None) -> list[list[str]]:
        """See `Way`."""
        ids = padded([self._pieces.ids_of(source) for source in sources], self._pad)
        limits = {"max_new_tokens": MOST_PIECES}
        if length is not None:
            limits = {"min_new_tokens": length, "max_new_tokens": length}
        with torch.inference_mode():
            found = self._model.generate(
                input_ids=ids,
                attention_mask=(ids != self._pad).long(),
                num_beams=self._beam_size,
                do_sample=False,
                length_penalty=1.0,
                **limits,
            )
        return [self._pieces.pieces_of([token for token in row if token != self._pad]) for row in found.tolist()]


class Converted:
    """CTranslate2 on the same weights, each batch on one thread: in 8 bits two threads of one are slow on some processors."""

    def __init__(self, model: Path, beam_size: int, at_once: int) -> None:
        self._model = ctranslate2.Translator(str(model), device="cpu", inter_threads=at_once, intra_threads=1)
        self._beam_size = beam_size

    def __call__(self, sources: Sequence[Sequence[str]], length: int | None) -> list[list[str]]:
        """See `Way`."""
        limits = {"max_decoding_length": MOST_PIECES}
        if length is not None:
            limits = {"min_decoding_length": length, "max_decoding_length": length}
        results = self._model.translate_batch(
            sources, beam_size=self._beam_size, length_penalty=1.0, max_batch_size=len(sources), **limits
        )
        return [result.hypotheses[0] for result in results]


def eager(folder: Path, pieces: Pieces, beam_size: int, threads: int) -> Way:
    """Return `MarianMTModel.generate`."""
    torch.set_num_threads(threads)
    return Generating(transformers.MarianMTModel.from_pretrained(folder / MARIAN).eval(), pieces, beam_size)


def exported(folder: Path, pieces: Pieces, beam_size: int, threads: int) -> Way:
    """Return `ORTModelForSeq2SeqLM.generate`, of an export with keys and values kept; transformers' search runs on torch."""
    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForSeq2SeqLM.from_pretrained(
        folder / MARIAN, export=True, use_cache=True, provider="CPUExecutionProvider", session_options=options
    )
    return Generating(model, pieces, beam_size)


def in_8_bits(folder: Path, pieces: Pieces, beam_size: int, threads: int) -> Way:  # noqa: ARG001 - as the others
    """Return CTranslate2, as many batches at once as there are threads."""
    return Converted(folder / INT8, beam_size, threads)


def in_32_bits(folder: Path, pieces: Pieces, beam_size: int, threads: int) -> Way:  # noqa: ARG001 - as the others
    """Return CTranslate2 likewise."""
    return Converted(folder / FLOAT32, beam_size, threads)


WAYS: Final[Mapping[str, Callable[[Path, Pieces, int, int], Way]]] = {
    "transformers": eager,
    "optimum": exported,
    "ctranslate2-int8": in_8_bits,
    "ctranslate2-float32": in_32_bits,
}


class Translations:
    """Sentences translated in one of the ways."""

    def __init__(self, way: Way, pieces: Pieces, at_once: int) -> None:
        """Translate `at_once` batches at the same time."""
        self._way = way
        self._pieces = pieces
        self._at_once = at_once
        self._sources: list[list[str]] = []
        self._lengths: Sequence[int | None] = ()
        self._found: list[list[str]] = []

    def give(self, texts: Sequence[str], lengths: Sequence[int] | None = None) -> None:
        """Take the sentences that are asked for from now on, and warm up on some.

        Args:
            texts: all of them.
            lengths: how many pieces each answer has, `</s>` not counted; of one batch the first counts. None ends it where the
                model does.
        """
        self._sources = self._pieces.cut([self._pieces.tokens(text) for text in texts])
        self._lengths = lengths or [None] * len(texts)
        for size in (1, 8):
            self._translate(slice(0, size))

    def all(self, batch: int) -> float:
        """Translate every sentence, `batch` in a call; return the seconds."""
        slices = [slice(first, first + batch) for first in range(0, len(self._sources), batch)]
        with ThreadPoolExecutor(self._at_once) as threads:
            began = time.perf_counter()
            found = list(threads.map(self._translate, slices))
            seconds = time.perf_counter() - began
        self._found = [pieces for part in found for pieces in part]
        return seconds

    def singly(self, first: int, count: int) -> list[float]:
        """Translate some sentences one after the other; return the seconds of each."""
        seconds = []
        for place in range(first, min(first + count, len(self._sources))):
            began = time.perf_counter()
            self._translate(slice(place, place + 1))
            seconds.append(time.perf_counter() - began)
        return seconds

    def texts(self) -> list[str]:
        """Return what `all` found last."""
        return [self._pieces.text(self._pieces.joined(pieces)) for pieces in self._found]

    def pieces(self) -> list[int]:
        """Return how many pieces each answer has that `all` found last."""
        return [len(pieces) for pieces in self._found]

    def _translate(self, some: slice) -> list[list[str]]:
        return self._way(self._sources[some], self._lengths[some.start])


def main() -> None:
    """Load what the command line names, and answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    pieces = Pieces(given.folder / PIECES)
    way = WAYS[given.way](given.folder, pieces, given.beam_size, given.threads)
    made = Translations(way, pieces, given.threads if isinstance(way, Converted) else 1)
    answer_questions(
        {"give": made.give, "all": made.all, "singly": made.singly, "texts": made.texts, "pieces": made.pieces}
    )


if __name__ == "__main__":
    main()
