"""Every decoding option is checked by the task, and refused with its field, what was given and what is allowed."""

import numpy as np
import pytest

from serving.errors import InvalidRequest
from serving.tasks.base import Plan
from serving.tasks.options import RequestedOptions
from serving.tasks.translation import Translation
from tests.fakes.bundles import write_bundle


@pytest.fixture(scope="module")
def translation(tmp_path_factory):
    return Translation(write_bundle(tmp_path_factory.mktemp("translation"), "translation"))


def plan(task, source, **requested) -> Plan:
    return task.plan(RequestedOptions(**requested), source)


@pytest.fixture(scope="module")
def planned(translation):
    """Plan for a short text."""
    source = translation.source("ein hund")
    return lambda **requested: plan(translation, source, **requested)


def refusal(call, *arguments, **requested) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call(*arguments, **requested)
    return str(caught.value)


@pytest.mark.parametrize("name", ["suppressed_phrases", "required_phrases"])
def test_a_phrase_of_which_normalisation_leaves_nothing_is_refused(planned, name):
    message = refusal(planned, **{name: ("hund", "\u200b")})
    assert message == f"options.{name}[1]: only characters that the model drops; allowed: at least one that it writes"


@pytest.mark.parametrize(
    ("requested", "place", "piece"),
    [
        ({"suppressed_phrases": ("ein hund",), "required_phrases": ("das", "das", "ein hund")}, 2, "nd"),
        ({"no_repeat_ngram_size": 1, "required_phrases": ("das", "ein hund ein")}, 1, "▁ein"),
    ],
)
def test_a_phrase_that_the_request_itself_rules_out_is_refused_by_its_own_place(planned, requested, place, piece):
    given = f"{piece!r}, which a suppressed option or no_repeat_ngram_size rules out"
    expected = f"options.required_phrases[{place}]: {given}; allowed: what they leave"
    assert refusal(planned, max_length=20, **requested) == expected


def test_a_phrase_spelt_like_a_special_token_does_not_ban_it(planned, translation):
    constraint = planned(suppressed_phrases=("hund</s>", "hund<unk>", "</s>")).constraint
    row = np.array([translation.target("target", "hund")])
    assert constraint.banned(row).tolist() == [[]]
