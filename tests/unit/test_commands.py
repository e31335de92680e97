"""The `beamstep` command against scripted servers: what it asks, and what it makes of any answer."""

import pytest
from typer.testing import CliRunner

from beamstep.cli import app
from beamstep.v1.captioning_pb2 import CaptionHypothesis, CaptionImageResponse
from beamstep.v1.decoding_pb2 import (
    LENGTH_NORMALIZATION_GNMT,
    LENGTH_NORMALIZATION_PLAIN,
    ON_DEADLINE_FAIL,
    ON_DEADLINE_RETURN_BEST,
    DecodingOptions,
    EnsembleMember,
    Sampling,
)
from beamstep.v1.pointing_pb2 import FindConvexHullResponse, FindDelaunayTriangulationResponse, FindTourResponse
from beamstep.v1.translation_pb2 import TranslateTextResponse, TranslationHypothesis
from tests.unit.scripted import Captioning, Pointing, Translation, serving

TRIANGLE = "0 0\n1 0\n0 1\n"
TRANSLATED = TranslateTextResponse(hypotheses=[TranslationHypothesis(text="Ein Hund")])
CAPTIONED = CaptionImageResponse(hypotheses=[CaptionHypothesis(caption="a dog")])


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()

    def run(servicer, *arguments, stdin=None):
        with serving(servicer) as address:
            return runner.invoke(app, [*map(str, arguments), "--address", address], input=stdin)

    return run


def succeeded(result) -> str:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


FOR_ALL = [
    ((), DecodingOptions()),
    (("--beam-size", "4", "--hypotheses", "2"), DecodingOptions(beam_size=4, hypothesis_count=2)),
    (("--length-penalty", "0"), DecodingOptions(length_penalty=0)),
    (("--length-normalization", "gnmt"), DecodingOptions(length_normalization=LENGTH_NORMALIZATION_GNMT)),
    (("--length-normalization", "plain"), DecodingOptions(length_normalization=LENGTH_NORMALIZATION_PLAIN)),
    (("--coverage-penalty", "0.2"), DecodingOptions(coverage_penalty=0.2)),
    (("--min-length", "0", "--max-length", "9"), DecodingOptions(min_length=0, max_length=9)),
    (("--patience", "1.5"), DecodingOptions(patience=1.5)),
    (("--repetition-penalty", "1.2"), DecodingOptions(repetition_penalty=1.2)),
    (("--no-repeat-ngram", "3"), DecodingOptions(no_repeat_ngram_size=3)),
    (("--suppress-token", "7", "--suppress-token", "9"), DecodingOptions(suppressed_tokens=[7, 9])),
    (("--prefix-token", "9", "--prefix-token", "7"), DecodingOptions(target_prefix_tokens=[9, 7])),
    (("--alternatives",), DecodingOptions(alternatives=True)),
    (("--sample",), DecodingOptions(sampling=Sampling())),
    (("--temperature", "0.7"), DecodingOptions(sampling=Sampling(temperature=0.7))),
    (("--sample", "--top-k", "5", "--top-p", "0.9"), DecodingOptions(sampling=Sampling(top_k=5, top_p=0.9))),
    (("--seed", str(2**63 - 1)), DecodingOptions(sampling=Sampling(seed=2**63 - 1))),
    (("--seed", "0"), DecodingOptions(sampling=Sampling(seed=0))),
    (("--on-deadline", "fail"), DecodingOptions(on_deadline=ON_DEADLINE_FAIL)),
    (("--on-deadline", "return-best"), DecodingOptions(on_deadline=ON_DEADLINE_RETURN_BEST)),
    (("--attention",), DecodingOptions(include_attention=True)),
    (
        ("--ensemble", "other", "--ensemble", "third/2=0.5", "--ensemble-weight", "2"),
        DecodingOptions(
            ensemble=[EnsembleMember(model="other"), EnsembleMember(model="third", model_version="2", weight=0.5)],
            ensemble_weight=2,
        ),
    ),
]
FOR_TEXT = [
    (("--require", "ein Hund", "--require", "Schnee"), DecodingOptions(required_phrases=["ein Hund", "Schnee"])),
    (("--suppress", "Katze", "--suppress", "Kater"), DecodingOptions(suppressed_phrases=["Katze", "Kater"])),
    (("--prefix", "Zwei"), DecodingOptions(target_prefix="Zwei")),
]


@pytest.mark.parametrize(("flags", "options"), [*FOR_ALL, *FOR_TEXT])
def test_translate_passes_every_option_on(run, flags, options):
    servicer = Translation(TRANSLATED)
    assert succeeded(run(servicer, "translate", "A dog", *flags)) == "Ein Hund\n"
    assert [request.options for request in servicer.requests] == [options]


@pytest.mark.parametrize(("flags", "options"), FOR_TEXT)
def test_caption_passes_the_options_of_texts_on(run, tmp_path, flags, options):
    (tmp_path / "photo.jpg").write_bytes(b"an image")
    servicer = Captioning(CAPTIONED)
    assert succeeded(run(servicer, "caption", tmp_path / "photo.jpg", *flags)) == "a dog\n"
    assert [request.options for request in servicer.requests] == [options]


@pytest.mark.parametrize(("flags", "options"), FOR_ALL)
def test_tour_passes_every_option_on(run, flags, options):
    servicer = Pointing(FindTourResponse())
    succeeded(run(servicer, "tour", "-", *flags, stdin=TRIANGLE))
    assert [request.options for request in servicer.requests] == [options]


@pytest.mark.parametrize(
    ("command", "answer"),
    [("hull", FindConvexHullResponse()), ("triangulate", FindDelaunayTriangulationResponse())],
)
def test_hull_and_triangulate_take_the_same_options_as_tour(run, command, answer):
    servicer = Pointing(answer)
    succeeded(run(servicer, command, "-", "--seed", "3", "--max-length", "9", stdin=TRIANGLE))
    expected = DecodingOptions(max_length=9, sampling=Sampling(seed=3))
    assert [request.options for request in servicer.requests] == [expected]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beam-size", "2147483648"], "'--beam-size': 2147483648; allowed: a number of at most 32 bits"),
        (["--suppress-token", "-2147483649"], "'--suppress-token': -2147483649; allowed: a number of at most 32 bits"),
        (["--seed", "9223372036854775808"], "'--seed': 9223372036854775808; allowed: a number of at most 64 bits"),
        (["--top-k", "many"], "'--top-k': 'many' is not a whole number"),
        (["--temperature", "hot"], "Invalid value for '--temperature': Input should be a valid number"),
        (["--length-normalization", "wide"], "'wide' is not one of 'gnmt', 'plain'"),
        (["--on-deadline", "cry"], "'cry' is not one of 'fail', 'return-best'"),
        (["--ensemble", "a=b"], "'--ensemble': 'a=b'; allowed: NAME[/VERSION][=WEIGHT], the weight a number"),
    ],
)
def test_a_flags_value_that_no_message_can_hold_is_wrong_usage(run, flags, message):
    servicer = Translation()
    result = run(servicer, "translate", "A dog", *flags)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())
    assert "Traceback" not in result.output
    assert servicer.requests == []


def test_a_phrase_that_is_not_text_is_bad_input(run):
    result = run(Translation(), "translate", "A dog", "--require", "\udcff")
    assert (result.exit_code, result.stderr) == (2, "error: the input is not UTF-8 text\n")
