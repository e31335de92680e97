"""CTranslate2 as a server: a plain grpc.aio one that speaks our TranslateText, asked by `benchmarks.peers.ctranslate2`.

    python -m benchmarks.peers.apart.translation_server MODEL PIECES ADDRESS [--tokenised] [--most 16] [--inter 2]

Whatever waits when one of the `inter` translators is free goes into its next batch, up to `most` requests. Each call of
`translate_batch` blocks a thread and not the interpreter, which comes to what its own asynchronous calls do, and needs nobody who
waits for their results. Cutting into pieces is part of the answer; so are Moses' rules, unless requests come tokenised.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import ctranslate2

from beamstep.v1.decoding_pb2 import Decoding
from beamstep.v1.translation_pb2 import TranslateTextRequest, TranslateTextResponse, TranslationHypothesis
from benchmarks.peers.apart.pieces import Pieces
from benchmarks.peers.apart.translator import LARGEST_BATCH, LENGTH_PENALTY, MOST_PIECES
from benchmarks.peers.plain_server import Method, serve

TRANSLATE: Final = "/beamstep.v1.TranslationService/TranslateText"
SWITCH_S: Final = 2e-4
"""After so long a thread that waits is given the interpreter, as in our own server."""


class Answers:
    """Makes the answers of requests that are translated together; several threads may ask at once."""

    def __init__(self, model: Path, pieces: Path, inter: int, *, tokenised: bool) -> None:
        """Load a model.

        Args:
            model: the folder.
            pieces: the sentencepiece model.
            inter: batches translated at the same time, on one thread each.
            tokenised: whether texts are lower-cased Moses tokens with spaces between, in requests and answers.
        """
        self._pieces = Pieces(pieces)
        self._tokenised = tokenised
        self._model = ctranslate2.Translator(str(model), device="cpu", inter_threads=inter, intra_threads=1)

    def __call__(self, requests: Sequence[TranslateTextRequest]) -> list[TranslateTextResponse]:
        """Answer each request with its best hypothesis."""
        texts = [request.text for request in requests]
        cut = self._pieces.cut(texts if self._tokenised else [self._pieces.tokens(text) for text in texts])
        beam_sizes = {request.options.beam_size for request in requests}
        if len(beam_sizes) > 1:
            raise ValueError(f"beam_size: {beam_sizes} in one batch; allowed: one")
        results = self._model.translate_batch(
            cut,
            beam_size=beam_sizes.pop(),
            length_penalty=LENGTH_PENALTY,
            max_batch_size=min(len(cut), LARGEST_BATCH),
            max_decoding_length=MOST_PIECES,
            return_scores=True,
        )
        return [self._answer(result) for result in results]

    def _answer(self, result: ctranslate2.TranslationResult) -> TranslateTextResponse:
        tokens = self._pieces.joined(result.hypotheses[0])
        text = tokens if self._tokenised else self._pieces.text(tokens)
        hypothesis = TranslationHypothesis(text=text, decoding=Decoding(score=result.scores[0]))
        return TranslateTextResponse(hypotheses=[hypothesis])


def main() -> None:
    """Serve what the command line names until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("pieces", type=Path)
    parser.add_argument("address")
    parser.add_argument("--tokenised", action="store_true")
    parser.add_argument("--most", type=int, default=16)
    parser.add_argument("--inter", type=int, default=2)
    given = parser.parse_args()
    sys.setswitchinterval(SWITCH_S)
    answers = Answers(given.model, given.pieces, given.inter, tokenised=given.tokenised)
    asyncio.run(serve(given.address, {TRANSLATE: Method(TranslateTextRequest, answers)}, given.most, given.inter))


if __name__ == "__main__":
    main()
