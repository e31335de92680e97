"""Required phrases: offered whoever else is in the batch, and there in every hypothesis that can hold them."""

import pytest

from serving.decoding.options import DecodingOptions
from serving.decoding.phrases import RequiredPhrases
from serving.decoding.search import decode
from tests.fakes.markov import SPECIAL, MarkovModel, random_table, source

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
