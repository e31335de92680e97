"""How many endings end a search that is not to go on until nothing better can come; on chains as in test_beam.py."""

import pytest

from serving.decoding.options import DecodingOptions
from serving.decoding.request import Search
from serving.decoding.search import decode
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source

BOS, EOS, A, B = 1, 2, 3, 4
# Whatever goes on can end at every step from the second, and the length penalty lets the longer ones hope.
LATE = {BOS: {A: 0.5, B: 0.5}, A: {EOS: 0.4, A: 0.6}, B: {EOS: 0.32, B: 0.68}}


def options(beam_size, max_length=6, **changes):
    return DecodingOptions(beam_size, max_length, 5, SPECIAL, length_penalty=1.0, **changes)


def steps(**changes):
    model = MarkovModel([first_order(LATE, 5)])
    decode(model, [source()], options(**changes))
    return len(model.steps)


def test_a_patience_of_one_stops_at_as_many_endings_as_the_beam_is_wide():
    """a . and b . end at the second step, and with them a search of two that is first come, first served."""
    assert steps(beam_size=4, patience=0.5) == 2
    assert steps(beam_size=4, patience=1.0) == 3
    assert steps(beam_size=4) > 3


def test_a_search_never_stops_before_it_has_as_many_as_it_was_asked_for():
    assert steps(beam_size=4, patience=0.25) == 2
    assert steps(beam_size=4, patience=0.25, hypothesis_count=4) == 3


def test_a_fraction_of_an_ending_is_rounded_up():
    assert steps(beam_size=4, patience=0.51) == 3, "2.04 endings are three"


@pytest.mark.parametrize(("beam_size", "patience", "most"), [(25, 2.2, 55), (30, 8.3, 249), (3, 1.1, 4), (10, 0.1, 1)])
def test_a_whole_number_of_endings_is_not_rounded_up_for_being_binary(beam_size, patience, most):
    assert Search(0, 0, options(beam_size, patience=patience), None, 0).most_endings == most
