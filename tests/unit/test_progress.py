"""What is certain in a running search, worked out on paper; at random in tests/properties/test_streaming.py."""

from serving.decoding.options import DecodingOptions
from serving.decoding.request import Progress
from serving.running import Admission, RunningBatch
from tests.fakes.markov import SPECIAL, MarkovModel, first_order, source

BOS, EOS, A, B, C = 1, 2, 3, 4, 5


def options(beam_size, **changes):
    return DecodingOptions(beam_size, 6, 6, SPECIAL, **changes)


def progress_of(chain, wanted):
    """Return what is said after every step, and the answer."""
    model = MarkovModel([first_order(chain, 6)])
    batch = RunningBatch(model, SPECIAL)
    batch.admit([Admission(0, wanted, None)], model.encode([source()]))
    assert batch.progress(0) == Progress((), 0), "nothing was chosen yet"
    said = []
    while True:
        for finished in batch.step():
            return said, finished.hypotheses
        said.append(batch.progress(0))


def test_what_all_hypotheses_share_is_certain():
    """After one step a 0.9 and b 0.1 live; after two a a 0.54 and a b 0.36."""
    chain = {BOS: {A: 0.9, B: 0.1}, A: {A: 0.6, B: 0.4}, B: {A: 0.5, B: 0.5}}
    said, _ = progress_of(chain, options(2))
    assert said[0] == Progress((A,), 0)
    assert said[1] == Progress((A, A), 1)


def test_an_ending_that_may_still_be_the_best_makes_nothing_certain_that_it_does_not_share():
    """a . ends with 0.3 while b c, 0.36, and b c c, 0.324, live on and look better; b c c c, 0.29, no longer does."""
    chain = {BOS: {A: 0.6, B: 0.4}, A: {EOS: 0.5, C: 0.5}, B: {C: 0.9, EOS: 0.1}, C: {C: 0.9, EOS: 0.1}}
    said, (best,) = progress_of(chain, options(2))
    assert said == [Progress((A,), 0), Progress((B, C), 0), Progress((B, C, C), 0)]
    assert best.tokens == (A, EOS)


def test_an_ending_that_others_go_on_from_is_certain_as_far_as_it_goes():
    """a . ends with 0.45 and a b 0.45 lives: a it is, whichever wins."""
    chain = {BOS: {A: 0.9, B: 0.1}, A: {EOS: 0.5, B: 0.5}, B: {B: 1.0}}
    said, _ = progress_of(chain, options(2, length_penalty=1.0))
    assert said[0] == Progress((A,), 0)
    assert said[1].certain == 1
    assert said[2].certain == 1


def test_what_has_ended_counts_among_the_alternatives_too():
    """After the prefix a . , a b and a c go on apart; a is all they share, also once one of them is over."""
    chain = {BOS: {A: 1.0}, A: {EOS: 0.4, B: 0.3, C: 0.3}, B: {EOS: 1.0}, C: {C: 1.0}}
    said, found = progress_of(chain, options(3, hypothesis_count=3, alternatives=True, prefix=(A,)))
    assert [progress.certain for progress in said] == [1] * 6
    assert [h.tokens for h in found] == [(A, EOS), (A, B, EOS), (A, C, C, C, C, C)]
