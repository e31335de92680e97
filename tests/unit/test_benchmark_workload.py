"""The requests that speed is measured with are as long as they say."""

import random

import pytest

from benchmarks.memory_growth import Look, growth_percent, short_requests
from benchmarks.workload import LENGTHS, LONG, LONG_LENGTHS, SHORT, Workload, sentence, words
from serving.errors import InvalidRequest
from serving.tasks.base import Source
from serving.tasks.translation import Translation
from tests.fakes.bundles import SOURCE_LIMIT, write_bundle


class WholeWords(Translation):
    """Counts a word as one piece and the full stop as another, as the shipped tokenizer does."""

    def source(self, text: str) -> Source:
        length = len(text.replace(".", " .").split()) + 1  # eos
        if length > SOURCE_LIMIT:
            raise InvalidRequest("text", f"{length} pieces", f"up to {SOURCE_LIMIT}")
        return Source({}, length, 64, None)


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Translation:
    return WholeWords(write_bundle(tmp_path_factory.mktemp("models"), "translation"))


@pytest.fixture
def workload(task) -> Workload:
    return Workload(task, ends=True)


def test_a_sentence_has_the_length_asked_for():
    generator = random.Random(1)
    for pieces in (3, 14, 140):
        assert len(sentence(pieces, lambda text: text.count(" ") + 2, generator).split()) == pieces - 1


def test_a_length_that_no_words_have_is_refused():
    with pytest.raises(ValueError, match="no sentence of 5 pieces"):
        sentence(5, lambda text: 2 * len(text.split()), random.Random(1))


def test_a_sentence_is_made_of_the_words_there_are():
    made = sentence(30, lambda text: text.count(" ") + 2, random.Random(2))
    assert set(made.lower().rstrip(".").split()) <= set(words())


def test_requests_have_as_many_pieces_as_they_say(task, workload):
    for request in workload.requests([9, 12, 15]):
        assert task.source(request.text).length - 1 == request.pieces == request.answer_length


def test_a_source_longer_than_the_model_takes_is_cut_and_its_answer_is_not(task, workload):
    (request,) = workload.requests([LONG])
    assert task.source(request.text).length == SOURCE_LIMIT
    assert request.answer_length == LONG


def test_a_model_that_ends_by_itself_is_kept_from_it_only_where_the_length_is_given(task, workload):
    (given,), (natural,) = workload.requests([8]), workload.natural([8])
    assert (given.min_length, given.answer_length) == (8, 8)
    assert (natural.min_length, natural.answer_length) == (None, None)
    (endless,) = Workload(task, ends=False).natural([8])
    assert (endless.min_length, endless.answer_length) == (None, 8)


def test_the_same_seed_makes_the_same_requests(task):
    one, other = Workload(task, ends=True, seed=3), Workload(task, ends=True, seed=3)
    assert one.mixed() == other.mixed()


def test_lengths_are_those_of_multi30k(workload):
    assert len(LENGTHS) == 32
    assert round(sum(LENGTHS) / len(LENGTHS)) == SHORT
    mixed = sorted(request.answer_length for request in workload.mixed())
    assert len(mixed) == 32
    assert tuple(mixed[-4:]) == LONG_LENGTHS


def test_requests_under_way_end_one_after_the_other(workload):
    lengths = [request.answer_length for request in workload.under_way(20, 5)]
    assert lengths == [4, 8, 12, 16, 20]
    assert max(request.answer_length for request in workload.mixed_under_way(32)) <= max(LONG_LENGTHS)


def test_short_requests_come_with_every_beam_and_some_bring_everything(workload):
    made = short_requests(workload, 8, 2)
    assert {request.beam_size for request in made} == {1, 2, 3, 4, 5}
    assert {request.everything for request in made} == {False, True}
    assert all(request.hypothesis_count in {None, request.beam_size} for request in made)


def test_growth_is_from_the_first_look_to_the_last():
    assert growth_percent([Look(0, 200.0), Look(1, 300.0), Look(2, 203.0)]) == pytest.approx(1.5)
