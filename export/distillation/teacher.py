"""What a served model, or two of opposite directions, say of sentences: targets for a model that is to learn from them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress

from export.evaluation.lines import BadData
from export.evaluation.served import Served
from serving.bundle import Bundle
from serving.cores import cores
from serving.engine import Engine
from serving.request import Decoded
from serving.session import OnnxModel, SessionConfig
from serving.tasks.base import Source
from serving.tasks.options import RequestedOptions
from serving.tasks.translation import Translation


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

        def read(_: Sequence[Source], decoded: Sequence[Decoded]) -> list[Translated]:
            texts = {self.forward.text(found): found.score for found in reversed(decoded[0].hypotheses)}
            ordered = sorted(texts.items(), key=lambda pair: -pair[1])
            return [Translated(text, score) for text, score in ordered if text]

        with self._asking(self.forward, requested, "translating", len(sentences)) as served:
            answers = served.ask_all(
                sentences,
                lambda sentence: [self.forward.source(sentence)],
                lambda sources: [self.forward.plan(requested, sources[0])],
                read,
            )
        lists = [ones or [] for ones in answers.best]
        return lists if self.backward is None or not any(lists) else self._judge(sentences, lists, self.backward)

    def _judge(
        self, sentences: Sequence[str], lists: Sequence[Sequence[Translated]], backward: Translation
    ) -> list[list[Translated]]:
        """Score each sentence given each of its translations, and order them by both scores."""
        pairs = [(one.text, sentence) for sentence, ones in zip(sentences, lists, strict=True) for one in ones]
        requested = RequestedOptions()

        def source_of(pair: tuple[str, str]) -> list[_Targeted]:
            source, target = backward.source(pair[0]), backward.target("target", pair[1])
            return [_Targeted(source.inputs, source.length, source.vocabulary_size, source.constraint, target)]

        def read(_: Sequence[_Targeted], decoded: Sequence[Decoded]) -> float:
            found = decoded[0].hypotheses[0]
            return found.log_prob / len(found.tokens)

        with self._asking(backward, requested, "translating back", len(pairs)) as served:
            answers = served.ask_all(
                pairs,
                source_of,
                lambda sources: [backward.plan_score(requested, sources[0], sources[0].target)],
                read,
            )
        backs = iter(answers.best)
        judged = [
            [Translated(one.text, one.score, back) for one in ones if (back := next(backs)) is not None]
            for ones in lists
        ]
        return [sorted(ones, key=lambda one: -(one.score + one.back)) for ones in judged]

    @contextmanager
    def _asking(self, task: Translation, requested: RequestedOptions, doing: str, count: int) -> Iterator[Served]:
        """Ask one of the models, with a progress bar on stderr."""
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task(doing, total=count)
            yield Served(self.engine, task.bundle.key, requested, lambda: progress.advance(bar))


@dataclass(frozen=True)
class _Targeted(Source):
    """A source, and the tokens of the whole answer to score."""

    target: Sequence[int]


@contextmanager
def teacher_of(forward: Bundle, backward: Bundle | None) -> Iterator[Teacher]:
    """Serve the bundles in this process. BadData where one does not translate."""
    bundles = [forward] if backward is None else [forward, backward]
    for bundle in bundles:
        if bundle.manifest.task != "translation":
            raise BadData(f"{bundle.key}: a bundle for {bundle.manifest.task}; allowed: translation")
    models = {bundle.key: OnnxModel(bundle, SessionConfig()) for bundle in bundles}
    with Engine(models, threads=cores().engine_threads) as engine:
        yield Teacher(engine, Translation(forward), None if backward is None else Translation(backward))


def pairs_of(
    sentences: Iterable[str], lists: Iterable[Sequence[Translated]], hypotheses: int
) -> Iterator[tuple[str, str]]:
    """Yield each sentence with each of its first `hypotheses` translations, those with a tab left out."""
    for sentence, ones in zip(sentences, lists, strict=True):
        for one in ones[:hypotheses]:
            if "\t" not in sentence and "\t" not in one.text:
                yield sentence, one.text
