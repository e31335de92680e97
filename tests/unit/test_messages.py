"""A request's options become the task's: none is forgotten, what is unset stays so, and nothing huge is unpacked."""

from types import SimpleNamespace

import pytest

from beamstep.v1 import decoding_pb2
from beamstep.v1.decoding_pb2 import DecodingOptions
from beamstep.v1.translation_pb2 import TranslateTextRequest
from serving.decoding.options import LengthNormalization
from serving.errors import InvalidRequest
from serving.servicers.messages import requested_options
from serving.tasks.options import MOST_GIVEN, RequestedOptions, RequestedSampling

NO_MATTER_OF_ONE_SEARCH = {"on_deadline", "ensemble", "ensemble_weight", "priority"}
"""Read by serving/servicers/backend.py."""


class Millions:
    """A repeated field that nobody should go through."""

    def __len__(self) -> int:
        return 15_000_000

    def __iter__(self):
        raise AssertionError("unpacked")


def test_what_is_unset_stays_unset():
    assert requested_options(TranslateTextRequest(text="ein hund")) == RequestedOptions()


def test_every_option_arrives():
    options = DecodingOptions(
        beam_size=1,
        hypothesis_count=2,
        length_penalty=3,
        min_length=4,
        max_length=5,
        include_attention=True,
        length_normalization=decoding_pb2.LENGTH_NORMALIZATION_PLAIN,
        coverage_penalty=8,
        patience=9,
        repetition_penalty=10,
        no_repeat_ngram_size=11,
        suppressed_tokens=[12],
        suppressed_phrases=["13"],
        required_phrases=["14"],
        target_prefix="15",
        target_prefix_tokens=[16],
        alternatives=True,
        sampling=decoding_pb2.Sampling(temperature=1.5, top_k=2, top_p=0.5, seed=4),
    )
    read = requested_options(TranslateTextRequest(options=options))
    assert read == RequestedOptions(
        1,
        2,
        3.0,
        4,
        5,
        attention=True,
        length_normalization=LengthNormalization.PLAIN,
        coverage_penalty=8.0,
        patience=9.0,
        repetition_penalty=10.0,
        no_repeat_ngram_size=11,
        suppressed_tokens=(12,),
        suppressed_phrases=("13",),
        required_phrases=("14",),
        target_prefix="15",
        target_prefix_tokens=(16,),
        alternatives=True,
        sampling=RequestedSampling(1.5, 2, 0.5, 4),
    )
    given = {field.name for field, _ in options.ListFields()}
    assert given == {field.name for field in DecodingOptions.DESCRIPTOR.fields} - NO_MATTER_OF_ONE_SEARCH


def test_an_empty_sampling_is_one():
    request = TranslateTextRequest(options=DecodingOptions(sampling=decoding_pb2.Sampling()))
    assert requested_options(request).sampling == RequestedSampling()


@pytest.mark.parametrize("value", [3, -1, 2**31 - 1])
def test_an_unknown_length_normalization_is_refused(value):
    with pytest.raises(InvalidRequest) as caught:
        requested_options(TranslateTextRequest(options=DecodingOptions(length_normalization=value)))
    allowed = "LENGTH_NORMALIZATION_GNMT, LENGTH_NORMALIZATION_PLAIN"
    assert str(caught.value) == f"options.length_normalization: {value}; allowed: {allowed}"


@pytest.mark.parametrize("name", MOST_GIVEN)
def test_millions_of_entries_are_refused_before_they_are_unpacked(name):
    options = SimpleNamespace(**{**dict.fromkeys(MOST_GIVEN, ()), name: Millions()})
    most, noun = MOST_GIVEN[name]
    with pytest.raises(InvalidRequest) as caught:
        requested_options(SimpleNamespace(options=options))
    assert str(caught.value) == f"options.{name}: 15000000 {noun}; allowed: up to {most}"
