"""What is streamed is never taken back, in 10,000 searches with everything that can happen to them.

The searches run once, many in a batch, on tiny tables; the tests look at what was said of each after every turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from serving.decoding.hypothesis import FinishReason
from serving.decoding.request import Finished, Progress
from serving.running import Admission, RunningBatch
from serving.tasks.text import SPACE, Tokenizer
from serving.tasks.text_parts import TextParts
from tests.fakes.bundles import train_tokenizer
from tests.fakes.glancing import GlancingModel
from tests.fakes.markov import FIRST, SPECIAL, random_table, source
from tests.fakes.wishes import KINDS, PIECES, Wish, random_wish

RUNS = 10_000
VOCABULARY = len(PIECES)
CHAINS = 200
CALLERS = 6
UNDECODABLE = "\ufffd"


@dataclass
class Story:
    """One request: what was said of it after each turn, and its answer in the end."""

    wish: Wish
    chain: int
    length: int
    arrival: int
    stop: int | None
    removal: int | None
    said: list[Progress] = field(default_factory=list)
    answer: Finished | None = None

    @property
    def final(self) -> tuple[int, ...]:
        """Return the best hypothesis' tokens."""
        assert self.answer is not None
        return tuple(token for token in self.answer.hypotheses[0].tokens if token != SPECIAL.eos)


def random_story(random: Random) -> Story:
    beams, lengths = random.choice([((1, 3), (1, 5)), ((2, 6), (2, 8)), ((1, 4), (6, 14))])
    return Story(
        random_wish(random, VOCABULARY, beam_sizes=beams, lengths=lengths, kinds=KINDS, share=0.25),
        chain=random.randrange(CHAINS),
        length=random.randint(1, 4),
        arrival=random.randint(0, 4),
        stop=random.randint(1, 8) if random.random() < 0.2 else None,
        removal=random.randint(1, 8) if random.random() < 0.1 else None,
    )


def serve(model: GlancingModel, stories: Sequence[Story]) -> None:
    """Serve stories in one batch, each coming and going at its own turn, and note what is said of them."""
    batch = RunningBatch(model, SPECIAL)
    there: set[int] = set()
    turn = 0
    while there or turn <= max(story.arrival for story in stories):
        coming = [number for number, story in enumerate(stories) if story.arrival == turn]
        if coming:
            joining = [Admission(n, stories[n].wish.options, stories[n].wish.constraint) for n in coming]
            batch.admit(joining, model.encode([source(stories[n].chain, stories[n].length) for n in coming]))
            there |= set(coming)
        if there:
            for finished in batch.step():
                stories[finished.request].answer = finished
                there.remove(finished.request)
        for number in sorted(there):
            story = stories[number]
            story.said.append(batch.progress(number))
            taken = turn - story.arrival + 1
            if taken == story.removal:
                batch.remove(number)
                there.remove(number)
            elif taken == story.stop:
                story.answer = batch.stop(number)
                there.remove(number)
        turn += 1


def all_stories() -> Iterator[Story]:
    random = Random(0)
    model = GlancingModel(
        [
            random_table(chain, VOCABULARY, levels=3 if chain % 4 == 0 else None, sharpness=random.choice([0.5, 2, 6]))
            for chain in range(CHAINS)
        ]
    )
    while True:
        stories = [random_story(random) for _ in range(random.randint(1, CALLERS))]
        serve(model, stories)
        model.steps.clear()
        yield from (story for story in stories if story.answer is not None)


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    return [story for story, _ in zip(all_stories(), range(RUNS), strict=False)]


def test_what_is_certain_is_never_taken_back(stories):
    """It never falls, and is a beginning of everything said later, and of the best hypothesis in the end."""
    for story in stories:
        certain: tuple[int, ...] = ()
        for progress in story.said:
            assert len(certain) <= progress.certain <= len(progress.tokens)
            assert progress.tokens[: len(certain)] == certain
            certain = progress.tokens[: progress.certain]
        assert story.final[: len(certain)] == certain


def test_the_stories_are_of_every_kind(stories):
    """Were they not, the other tests would say less than they seem to."""
    assert len(stories) == RUNS
    options = [story.wish.options for story in stories]
    reasons = [story.answer.hypotheses[0].finish_reason for story in stories]
    for said in (
        [o.alternatives and o.hypothesis_count > 1 for o in options],
        [o.sampling is not None and o.beam_size > 1 for o in options],
        [o.required is not None and o.beam_size > 1 for o in options],
        [o.patience is not None for o in options],
        [o.hypothesis_count > 1 and not o.alternatives and o.sampling is None for o in options],
        [o.scored for o in options],
        [o.length_penalty > 0 and o.coverage_penalty > 0 for o in options],
        *([reason is kind for reason in reasons] for kind in FinishReason),
        [any(0 < progress.certain < len(progress.tokens) for progress in story.said) for story in stories],
        [len({progress.certain for progress in story.said}) > 3 for story in stories],
    ):
        assert sum(said) > RUNS / 100
    assert max(len(story.said) for story in stories) > 10


def test_a_search_of_one_place_is_certain_of_all_it_has(stories):
    greedy = [story for story in stories if story.wish.options.beam_size == 1]
    assert greedy
    for story in greedy:
        assert [progress.certain for progress in story.said] == list(range(1, len(story.said) + 1))


def test_a_forced_prefix_is_certain_at_once(stories):
    for story in stories:
        prefix = story.wish.options.prefix
        for taken, progress in enumerate(story.said, 1):
            assert progress.certain >= min(taken, len(prefix))
            assert progress.tokens[: min(taken, len(prefix))] == prefix[:taken]


# ---- as text


@pytest.fixture(scope="module", params=[False, True], ids=["words", "bytes"])
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "target.model"
    train_tokenizer(path, byte_fallback=request.param)
    return Tokenizer(path)


def as_pieces(story: Story, tokenizer: Tokenizer, number: int) -> dict[int, int]:
    """Let the few tokens of a table stand for pieces of a real vocabulary, other ones in every story."""
    random = Random(number)
    pieces = {token: random.randrange(3, tokenizer.size) for token in range(FIRST, VOCABULARY)}
    spaced = [token for token, piece in enumerate(tokenizer.vocabulary) if piece.startswith(SPACE)]
    for token in random.sample(range(FIRST, VOCABULARY), 3):
        pieces[token] = random.choice(spaced)
    if "<0xC3>" in tokenizer.ids and random.random() < 0.5:  # the two bytes of an umlaut, in this order or not
        pieces[4], pieces[5] = tokenizer.ids["<0xC3>"], tokenizer.ids["<0xBC>"]
    return pieces


def test_committed_text_is_a_beginning_of_the_final_text(tokenizer, stories):
    committed_early = 0
    for number, story in enumerate(stories):
        pieces = as_pieces(story, tokenizer, number)
        final = tokenizer.decode([pieces[token] for token in story.final])
        parts = TextParts(tokenizer)
        committed, revision = "", 0
        for progress in story.said:
            part = parts.next(Progress(tuple(pieces[token] for token in progress.tokens), progress.certain))
            if part is None:
                continue
            assert (part.committed_text, part.tentative_text) != ("", "") or revision
            revision += 1
            assert part.revision == revision
            committed += part.committed_text
            assert final.startswith(committed)
            assert_ends_between_words(committed, final)
            assert_is_whole(committed + part.tentative_text, progress, pieces, tokenizer)
        committed_early += bool(committed)
        last = parts.last(final)
        assert committed + last.committed_text == final
        assert (last.tentative_text, last.revision) == ("", revision + 1)
    assert committed_early > RUNS / 20


def assert_ends_between_words(committed: str, final: str) -> None:
    """No script without spaces is in these vocabularies: what follows whole words is a space."""
    if committed and len(committed) < len(final):
        assert final[len(committed)] == " "


def assert_is_whole(shown: str, progress: Progress, pieces: dict[int, int], tokenizer: Tokenizer) -> None:
    """What is shown ends in a whole character, unless the model itself went on after half of one."""
    if shown.endswith(UNDECODABLE):
        ids = [pieces[token] for token in progress.tokens]
        while ids and tokenizer.vocabulary[ids[-1]].startswith("<0x"):
            ids.pop()
        assert tokenizer.decode(ids) == shown, "nothing of a character under way is shown"


TEXTS = (
    "für Ω 東京に行く hund 🙂 läuft schnee über dem",
    "한국어를 배우는 사람 hund",
    "ein  hund \u200b läuft",
    "日本 ein 中国x läuft 东",
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_out_whole_word_by_whole_word(tokenizer, text):
    """Token by token, each certain at once: no half character is ever shown, and all of it is there in the end."""
    tokens = tokenizer.encode(text)
    final = tokenizer.decode(tokens)
    parts, committed = TextParts(tokenizer), ""
    for count in range(1, len(tokens) + 1):
        part = parts.next(Progress(tuple(tokens[:count]), count))
        if part is not None:
            committed += part.committed_text
            assert final.startswith(committed)
            assert UNDECODABLE not in committed + part.tentative_text
    assert committed + parts.last(final).committed_text == final
    assert committed, "most of it was committed before the end"
