"""A line a call, but not of every call that a flood has refused."""

import logging

import pytest
from grpc import StatusCode

from serving.calls.call import Call
from serving.observation.log import REFUSALS, CallLog


@pytest.fixture
def log(caplog):
    """A log whose clock stands still, what it has said, and a way to end a call."""
    caplog.set_level(logging.INFO, "serving.calls")
    now = [100.0]
    written = CallLog(clock=lambda: now[0])

    def end(code: StatusCode, seconds_later: float = 0.0) -> None:
        now[0] += seconds_later
        written.ended(Call("/s/m", code=code), None)

    return end, lambda: [record.getMessage().split(" details")[0].split(" request_id")[0] for record in caplog.records]


def test_the_first_refusals_of_a_second_have_lines_and_the_others_a_number(log):
    end, said = log
    for _ in range(REFUSALS + 5):
        end(StatusCode.RESOURCE_EXHAUSTED)
    assert said() == ["method=s/m code=RESOURCE_EXHAUSTED"] * REFUSALS
    end(StatusCode.OK, seconds_later=1.5)
    assert said()[REFUSALS:] == ["refused 5 more calls within a second", "method=s/m code=OK"]


def test_every_other_call_has_its_line_however_many_are_refused(log):
    end, said = log
    for _ in range(REFUSALS + 5):
        end(StatusCode.RESOURCE_EXHAUSTED)
        end(StatusCode.OK)
    assert said().count("method=s/m code=OK") == REFUSALS + 5


def test_a_new_second_has_lines_again_and_nothing_is_said_of_none(log):
    end, said = log
    end(StatusCode.RESOURCE_EXHAUSTED)
    end(StatusCode.RESOURCE_EXHAUSTED, seconds_later=1.0)
    assert said() == ["method=s/m code=RESOURCE_EXHAUSTED"] * 2
