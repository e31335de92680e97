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


NEW, ER, S = 5, 6, 7  # "new", "newer" and "newers" are one, two and three pieces
WORDS = RequiredPhrases(((NEW,), (NEW, ER)), continuing=(ER, S))


@pytest.mark.parametrize("seed", range(12))
def test_a_phrase_that_another_goes_on_from_takes_no_place_from_it(seed):
    """After "new" no "er" may come, so that "newer" has to begin anew; there is room for just that."""
    model = MarkovModel([random_table(seed, VOCABULARY)])
    [found] = decode(model, [source()], DecodingOptions(2, 3, VOCABULARY, SPECIAL, required=WORDS))
    assert found[0].tokens[:3] in {(NEW, NEW, ER), (NEW, ER, NEW)}


def test_a_word_that_a_prefix_completes_is_not_gone_on_with():
    """The prefix "newer" holds "newer", and no longer the "new" it began with."""
    probabilities = {last: {S: 0.8, ER: 0.1, NEW: 0.05, SPECIAL.eos: 0.05} for last in range(VOCABULARY)}
    model = MarkovModel([first_order(probabilities, VOCABULARY)])
    asked = DecodingOptions(4, 4, VOCABULARY, SPECIAL, prefix=(NEW, ER), required=WORDS)
    [found] = decode(model, [source()], [asked])
    assert found[0].tokens == (NEW, ER, NEW, SPECIAL.eos)
