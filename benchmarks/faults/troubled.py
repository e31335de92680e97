"""Models that fail in the middle of a batch: those in it fail with a reason, all others are answered, and the engine goes on."""

import asyncio
from collections import Counter
from typing import Final

import grpc
from grpc import StatusCode

from beamstep.requests import translation_request
from beamstep.v1.translation_pb2 import TranslateTextResponse
from benchmarks.faults.calls import SENTENCES, Ended, Sound, ask, sound_requests
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.servers import WatchedProcess

TIMEOUT_S: Final = 60.0
CURSE: Final = "haus haus haus"
"""The text at which the models `raising` and `numberless` of tests/fakes/planned_server.py fail; the others just echo it."""
SECRET: Final = "secret"
"""What the model's own error says, which no caller may read."""


async def troubled(server: WatchedProcess, *, times: int) -> Outcome:
    """Ask for a cursed text among sound ones, all at once, so that they share batches; then go on as if nothing had been.

    Args:
        server: troubled models.
        times: how often with each of the two models.
    """
    wrong: list[str] = []
    ended: dict[str, Counter[str]] = {}
    reasons: set[str] = set()
    async with grpc.aio.insecure_channel(server.address) as channel:
        others = [sound for sound in sound_requests() if not sound.rpc.startswith("ModelService")]
        expected = [sound.same((await ask(channel, sound, TIMEOUT_S)).messages) for sound in others]
        for number in range(times):
            for model in ("raising", "numberless"):
                counted = ended.setdefault(model, Counter())
                neighbours = [_translation(text, model) for text in SENTENCES]
                cursed = _translation(CURSE, model)
                asked = [*neighbours, cursed, *others]
                answers = await asyncio.gather(*(ask(channel, sound, TIMEOUT_S) for sound in asked))
                beside, failed, elsewhere = (
                    answers[: len(neighbours)],
                    answers[len(neighbours)],
                    answers[-len(others) :],
                )
                reasons.add(failed.details)
                if failed.code is not StatusCode.INTERNAL:
                    wrong.append(f"{model}: the cursed request ended with {failed.code.name}: {failed.details}")
                if any(SECRET in answer.details for answer in answers):
                    wrong.append(f"{model}: an error tells the model's own: {failed.details}")
                for sound, answer in zip(neighbours, beside, strict=True):
                    counted[answer.code.name] += 1
                    may_fail = model == "raising"  # what raises has no answer for anyone in that batch
                    if not (_echoes(sound, answer) or (may_fail and answer.code is StatusCode.INTERNAL)):
                        wrong.append(f"{model}: a neighbour ended with {answer.code.name}: {answer.details}")
                for sound, answer, same in zip(others, elsewhere, expected, strict=True):
                    if answer.code is not StatusCode.OK or sound.same(answer.messages) != same:
                        wrong.append(
                            f"{model}: {sound.rpc} of another model ended with {answer.code.name} in round {number}"
                        )
                for sound in neighbours:
                    if not _echoes(sound, await ask(channel, sound, TIMEOUT_S)):
                        wrong.append(f"{model}: a request after the failure was not answered")
    if not ended["raising"]["INTERNAL"]:
        wrong.append("raising: no neighbour was in the batch that failed: nothing was tried")
    left = server.look_when(lambda look: look.requests == look.rows == 0)
    if left.requests or left.rows:
        wrong.append(f"{left.requests} requests and {left.rows} rows were left in the engine")
    return Outcome(
        f"{times} times each, one request at which the model raises in its third step, or says NaN, among {len(SENTENCES)} to the "
        f"same model and {len(others)} to others, all at once",
        (
            f"neighbours of the one at which the model raises, of the same moment: {_listed(ended['raising'])}",
            f"neighbours of the one of which it says NaN: {_listed(ended['numberless'])}",
            f"what those who fail are told: {'; '.join(sorted(reasons))}",
            f"requests to others and later ones that were not answered as before: {len(wrong)}",
        ),
        list(dict.fromkeys(wrong))[:5],
    )


def _translation(text: str, model: str) -> Sound:
    return Sound("TranslationService/TranslateText", translation_request(text, model, "", None), TranslateTextResponse)


def _echoes(sound: Sound, answer: Ended) -> bool:
    """Say whether an answer's text is the request's own."""
    if answer.code is not StatusCode.OK:
        return False
    said: str = TranslateTextResponse.FromString(answer.messages[0]).hypotheses[0].text
    return said == getattr(sound.request, "text", None)


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counted.most_common())
