"""Required phrases: offered whoever else is in the batch, and there in every hypothesis that can hold them."""

import pytest

from serving.decoding.bans import SuppressedTokens
from serving.decoding.hypothesis import FinishReason
from serving.decoding.options import DecodingOptions
from serving.decoding.phrases import RequiredPhrases
from serving.decoding.search import decode
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, random_table, source

VOCABULARY = 12
WANTED = 5


def options(beam_size: int, **changes) -> DecodingOptions:
    return DecodingOptions(beam_size, 6, VOCABULARY, SPECIAL, **changes)


@pytest.mark.parametrize("seed", range(12))
def test_a_required_token_is_offered_however_many_candidates_a_neighbour_wants(seed):
    model = MarkovModel([random_table(seed, VOCABULARY)])
    narrow = options(2, required=RequiredPhrases(((WANTED,),)))
    [alone] = decode(model, [source()], narrow)
    amid, _ = decode(model, [source(), source()], [narrow, options(8)])
    assert amid == alone


@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_no_hypothesis_cut_at_the_maximum_length_lacks_a_phrase_that_another_holds(max_length):
    probabilities = {last: {3: 0.9, WANTED: 0.0999, SPECIAL.eos: 0.0001} for last in range(VOCABULARY)}
    model = MarkovModel([first_order(probabilities, VOCABULARY)])
    asked = DecodingOptions(
        4, max_length, VOCABULARY, SPECIAL, hypothesis_count=4, required=RequiredPhrases(((WANTED,),))
    )
    [found] = decode(model, [source()], asked)
    assert found
    assert all(WANTED in hypothesis.tokens for hypothesis in found)
    assert found[0].finish_reason is FinishReason.MAX_LENGTH


def test_a_phrase_that_nothing_can_hold_leaves_hypotheses_without_it():
    model = MarkovModel([random_table(0, VOCABULARY)])
    asked = options(4, hypothesis_count=2, required=RequiredPhrases(((WANTED,),)))
    [found] = decode(model, [source()], asked, [SuppressedTokens((WANTED,))])
    assert len(found) == 2
    assert {hypothesis.finish_reason for hypothesis in found} == {FinishReason.MAX_LENGTH}
