"""What rows have chosen, against a list a row that is copied at every turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.decoding.history import MOST_UNSETTLED, SPARE_COLUMNS, History

WHAT = st.sampled_from(["advance"] * 6 + ["add", "add", "keep", "look", "look at all", "follow", "leave"])


class Naive:
    """Rows as lists of (token, log_prob), each with the turn it joined in."""

    def __init__(self):
        self.rows = []
        self.turn = 0

    def add(self, count):
        self.rows += [(self.turn, []) for _ in range(count)]

    def advance(self, row, token, log_prob):
        self.turn += 1
        chosen = zip(row, token, log_prob, strict=True)
        self.rows = [(self.rows[r][0], [*self.rows[r][1], (t, lp)]) for r, t, lp in chosen]

    def keep(self, rows):
        self.rows = [self.rows[r] for r in rows]


def check(history, naive, what):
    for row, (joined, chosen) in enumerate(naive.rows):
        tokens = [token for token, _ in chosen]
        if what == "follow":
            assert history.of_row(row, joined) == (tokens, [log_prob for _, log_prob in chosen])
        elif what == "look":
            assert history.tokens(slice(row, row + 1), joined).tolist() == [tokens]
        else:
            every = history.every()
            assert len(every) == len(naive.rows)
            assert every[row, every.shape[1] - len(tokens) :].tolist() == tokens


@settings(max_examples=300)
@given(st.lists(WHAT, min_size=1, max_size=4 * MOST_UNSETTLED), st.integers(0, 2**32 - 1))
def test_a_history_says_of_every_row_what_a_list_a_row_says(steps, seed):
    random, history, naive = np.random.default_rng(seed), History(), Naive()
    for what in [*steps, "follow", "look", "look at all"]:
        count = len(naive.rows)
        if what == "add":
            more = int(random.integers(1, 4))
            history.add_rows(more)
            naive.add(more)
        elif what == "advance" and count:
            row = random.integers(count, size=int(random.integers(1, count + 3)))
            token = random.integers(1000, size=len(row))
            log_prob = random.random(len(row)).astype(np.float32)
            oldest = min(joined for joined, _ in naive.rows)
            history.advance(row, token, log_prob, oldest)
            naive.advance(row.tolist(), token.tolist(), log_prob.tolist())
        elif what == "leave" and count and random.random() < 0.3:  # all searches were over in one turn
            none = np.zeros(0, np.int64)
            history.advance(none, none, none.astype(np.float32), min(joined for joined, _ in naive.rows))
            naive.advance([], [], [])
        elif what == "keep" and count:
            rows = random.permutation(count)[: int(random.integers(1, count + 1))]
            history.keep_rows(rows)
            naive.keep(rows.tolist())
        elif what in ("follow", "look", "look at all"):
            check(history, naive, what)
    assert history.turn == naive.turn


@pytest.mark.parametrize("turns", [1, MOST_UNSETTLED - 1, MOST_UNSETTLED, 5 * SPARE_COLUMNS + 3])
def test_a_row_that_comes_late_has_only_its_own_turns(turns):
    history = History()
    history.add_rows(1)
    for turn in range(turns):
        history.advance(np.array([0]), np.array([turn]), np.zeros(1, np.float32), 0)
    history.add_rows(1)
    history.advance(np.array([1, 0]), np.array([100, 200]), np.ones(2, np.float32), 0)
    assert history.of_row(0, turns) == ([100], [1.0])
    assert history.of_row(1, 0)[0] == [*range(turns), 200]
    assert history.tokens(slice(0, 1), turns).tolist() == [[100]]
    assert history.tokens(slice(1, 2), 0).tolist() == [[*range(turns), 200]]
