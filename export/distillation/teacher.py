"""What a served model, or two of opposite directions, say of sentences: targets for a model that is to learn from them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from export.evaluation.lines import BadData
from serving.bundle import Bundle
from serving.engine import Engine
from serving.errors import InvalidRequest
from serving.request import Decoded
from serving.session import OnnxModel, SessionConfig
from serving.tasks.options import RequestedOptions
from serving.tasks.translation import Translation

Item = TypeVar("Item")

IN_FLIGHT = 128
"""Requests in the engine at once: enough to keep its batch full, fewer than its queue takes."""


@dataclass(frozen=True)
class Translated:
    """One translation of a sentence.

    Attributes:
        text: detokenised.
        score: the search's, normalised by length.
        back: mean natural log-probability a source token of the sentence given `text`, by the model of the other direction; 0
            where there is none.
    """

    text: str
    score: float
    back: float = 0.0


@dataclass(frozen=True)
class Teacher:
    """A translation model, and one of the opposite direction to judge it, in one engine.

    Attributes:
        engine: running.
        forward: translates.
        backward: translates back; None: nobody judges.
    """

    engine: Engine
    forward: Translation
    backward: Translation | None

    def translate(self, sentences: Sequence[str], candidates: int) -> list[list[Translated]]:
        """Return up to `candidates` different translations of each sentence, best first; none of a refused one.

        With a model of the other direction, `score + back` decides (dual learning, He et al. 2016; noisy-channel
        reranking, Yee et al. 2019, arXiv:1908.05731).
        """
        requested = RequestedOptions(beam_size=max(5, candidates), hypothesis_count=candidates)

        def ask(sentence: str) -> Future[Decoded]:
            source = self.forward.source(sentence)
            plan = self.forward.plan(requested, source)
            return self.engine.submit(self.forward.bundle.key, source.inputs, *plan).future

        lists = []
        for decoded in _in_order(sentences, ask, "translating"):
            found = [] if decoded is None else decoded.hypotheses
            texts = {self.forward.text(hypothesis): hypothesis.score for hypothesis in reversed(found)}
            ordered = sorted(texts.items(), key=lambda pair: -pair[1])
            lists.append([Translated(text, score) for text, score in ordered if text])
        return lists if self.backward is None else self._judge(sentences, lists, self.backward)

    def _judge(
        self, sentences: Sequence[str], lists: Sequence[Sequence[Translated]], backward: Translation
    ) -> list[list[Translated]]:
        """Score each sentence given each of its translations, and order them by both scores."""
        pairs = [(one.text, sentence) for sentence, ones in zip(sentences, lists, strict=True) for one in ones]

        def ask(pair: tuple[str, str]) -> Future[Decoded]:
            source = backward.source(pair[0])
            target = backward.target("target", pair[1])
            plan = backward.plan_score(RequestedOptions(), source, target)
            return self.engine.submit(backward.bundle.key, source.inputs, *plan).future

        scores = _in_order(pairs, ask, "translating back")
        judged = []
        for ones in lists:
            backs = [next(scores) for _ in ones]
            known = [
                Translated(one.text, one.score, decoded.hypotheses[0].log_prob / len(decoded.hypotheses[0].tokens))
                for one, decoded in zip(ones, backs, strict=True)
                if decoded is not None
            ]
            judged.append(sorted(known, key=lambda one: -(one.score + one.back)))
        return judged


def _in_order(items: Sequence[Item], ask: Callable[[Item], Future[Decoded]], doing: str) -> Iterator[Decoded | None]:
    """Ask for many items at a time and yield the answers in order; None where serving refuses the item."""
    waiting: deque[Future[Decoded] | None] = deque()
    for item in track(items, doing, console=Console(stderr=True), transient=True):
        if len(waiting) == IN_FLIGHT:
            future = waiting.popleft()
            yield None if future is None else future.result()
        try:
            waiting.append(ask(item))
        except InvalidRequest:
            waiting.append(None)
    for future in waiting:
        yield None if future is None else future.result()


@contextmanager
def teacher_of(forward: Bundle, backward: Bundle | None) -> Iterator[Teacher]:
    """Serve the bundles in this process. BadData where one does not translate."""
    bundles = [forward] if backward is None else [forward, backward]
    for bundle in bundles:
        if bundle.manifest.task != "translation":
            raise BadData(f"{bundle.key}: a bundle for {bundle.manifest.task}; allowed: translation")
    models = {bundle.key: OnnxModel(bundle, SessionConfig()) for bundle in bundles}
    with Engine(models) as engine:
        yield Teacher(engine, Translation(forward), None if backward is None else Translation(backward))


def pairs_of(
    sentences: Iterable[str], lists: Iterable[Sequence[Translated]], hypotheses: int
) -> Iterator[tuple[str, str]]:
    """Yield each sentence with each of its first `hypotheses` translations, those with a tab left out."""
    for sentence, ones in zip(sentences, lists, strict=True):
        for one in ones[:hypotheses]:
            if "\t" not in sentence and "\t" not in one.text:
                yield sentence, one.text
