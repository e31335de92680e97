"""Which batch a request joins, and which batch takes the next turn."""

from collections import Counter

import pytest

from serving.groups import FEW_ROWS, SHARE, SHORT, STRIDE, Groups, length_class


class FakeBatch:
    """Counts rows and requests as a running batch does."""

    def __init__(self) -> None:
        self.row_count = 0
        self.request_count = 0

    def admit(self, rows: int) -> None:
        self.row_count += rows
        self.request_count += 1


def admit(groups: Groups, request: int, source_length: int, rows: int = 5):
    group = groups.home(source_length, FakeBatch)
    group.batch.admit(rows)
    groups.joined(request, group)
    return group


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, 0), (SHORT, 0), (SHORT + 1, 1), (SHORT * STRIDE, 1), (SHORT * STRIDE + 1, 2), (SHORT * STRIDE**2 + 1, 3)],
)
def test_lengths_are_alike_up_to_a_factor(length, expected):
    assert length_class(length) == expected


def test_few_rows_take_anybody_in():
    groups = Groups()
    first = admit(groups, 0, 10)
    assert admit(groups, 1, 10 * SHORT) is first
    assert len(groups) == 1


def test_a_long_source_opens_its_own_batch_beside_many_rows_and_the_next_one_joins_it():
    groups = Groups()
    short = admit(groups, 0, 10, rows=FEW_ROWS + 1)
    long = admit(groups, 1, 2 * SHORT, rows=FEW_ROWS + 1)
    assert long is not short
    assert admit(groups, 2, 2 * SHORT) is long
    assert admit(groups, 3, 12) is short


def test_an_empty_batch_is_let_go():
    groups = Groups()
    group = admit(groups, 0, 10)
    admit(groups, 1, 10)
    group.batch.request_count = 0
    for request in (0, 1):
        groups.left(request)
        assert groups.of(request) is None
    assert len(groups) == 0
    groups.left(7)  # never was in a batch


def test_a_cheap_batch_takes_several_turns_while_a_dear_one_takes_one():
    groups = Groups()
    dear = admit(groups, 0, 10 * SHORT, rows=FEW_ROWS + 1)
    cheap = admit(groups, 1, 10)
    costs = {dear: 9.0, cheap: 0.3}
    turns = Counter()
    for _ in range(400):
        group = groups.next()
        turns[group] += 1
        groups.stepped(group, costs[group])
    assert turns[cheap] / turns[dear] == pytest.approx(SHARE * 9.0 / 0.3, rel=0.1)
    assert turns[cheap] * 0.3 <= 1.2 * SHARE * turns[dear] * 9.0


def test_batches_of_like_cost_take_turns():
    groups = Groups()
    batches = [admit(groups, number, length, rows=FEW_ROWS + 1) for number, length in enumerate((10, 100, 1000))]
    turns = Counter()
    for _ in range(30):
        group = groups.next()
        turns[group] += 1
        groups.stepped(group, 1.0)
    assert [turns[group] for group in batches] == [10, 10, 10]


def test_a_newcomer_owes_nothing_and_is_owed_nothing():
    groups = Groups()
    old = admit(groups, 0, 10, rows=FEW_ROWS + 1)
    for _ in range(100):
        groups.stepped(old, 1.0)
    new = admit(groups, 1, 100)
    groups.stepped(new, 1.0)
    assert groups.next() is old
