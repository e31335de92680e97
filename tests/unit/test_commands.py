"""The `beamstep` command against scripted servers: what it asks, and what it makes of any answer."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner

from beamstep.cli import app
from beamstep.v1.captioning_pb2 import (
    AttentionGrid,
    CaptionHypothesis,
    CaptionImageResponse,
    CaptioningServiceScoreTargetRequest,
    CaptioningServiceScoreTargetResponse,
    StreamCaptionImageRequest,
    StreamCaptionImageResponse,
)
from beamstep.v1.decoding_pb2 import (
    LENGTH_NORMALIZATION_GNMT,
    LENGTH_NORMALIZATION_PLAIN,
    ON_DEADLINE_FAIL,
    ON_DEADLINE_RETURN_BEST,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Decoding,
    DecodingOptions,
    EnsembleMember,
    Sampling,
    Token,
)
from beamstep.v1.pointing_pb2 import FindConvexHullResponse, FindDelaunayTriangulationResponse, FindTourResponse
from beamstep.v1.translation_pb2 import (
    StreamTranslateTextRequest,
    StreamTranslateTextResponse,
    TranslateTextResponse,
    TranslationHypothesis,
    TranslationServiceScoreTargetRequest,
    TranslationServiceScoreTargetResponse,
)
from tests.unit.scripted import Captioning, Pointing, Translation, serving

TRIANGLE = "0 0\n1 0\n0 1\n"
TRANSLATED = TranslateTextResponse(hypotheses=[TranslationHypothesis(text="Ein Hund")])
CAPTIONED = CaptionImageResponse(hypotheses=[CaptionHypothesis(caption="a dog")])
PARTS = [
    StreamTranslateTextResponse(tentative_text="Ein Hand", revision=1),
    StreamTranslateTextResponse(committed_text="Ein ", tentative_text="Hund", revision=2),
    StreamTranslateTextResponse(committed_text="Hund", revision=3, answer=TRANSLATED),
]
SCORED = Decoding(
    log_prob=-1.5, score=-1.25, tokens=[Token(piece="▁Hund", log_prob=-1.0), Token(piece="</s>", log_prob=-0.5)]
)
LOOKED = Decoding(tokens=[Token(piece="▁Hund", attention=[0.25, 0.75]), Token(piece="</s>", attention=[0.875, 0.125])])


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
    (("--priority", "low"), DecodingOptions(priority=PRIORITY_LOW)),
    (("--priority", "high"), DecodingOptions(priority=PRIORITY_HIGH)),
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


def test_a_stream_prints_what_is_certain_and_a_line_end(run):
    servicer = Translation(PARTS)
    assert succeeded(run(servicer, "translate", "A dog", "--stream", "--max-length", "9")) == "Ein Hund\n"
    assert servicer.requests == [StreamTranslateTextRequest(text="A dog", options=DecodingOptions(max_length=9))]


def test_a_stream_of_lines_stays_line_aligned(run):
    servicer = Translation(PARTS, PARTS)
    assert succeeded(run(servicer, "translate", "-", "--stream", stdin="A\n\nB\n")) == "Ein Hund\n\nEin Hund\n"


def test_a_stream_as_json_is_a_message_a_line(run):
    output = succeeded(run(Translation(PARTS), "translate", "A dog", "--stream", "--json"))
    messages = [json.loads(line) for line in output.splitlines()]
    assert [(message["committed_text"], message["tentative_text"]) for message in messages] == [
        ("", "Ein Hand"), ("Ein ", "Hund"), ("Hund", ""),
    ]  # fmt: skip
    assert ["answer" in message for message in messages] == [False, False, True]


def test_a_caption_streams_too(run, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"an image")
    servicer = Captioning([StreamCaptionImageResponse(committed_text="a dog", revision=1, answer=CAPTIONED)])
    assert succeeded(run(servicer, "caption", tmp_path / "photo.jpg", "--stream")) == "a dog\n"
    assert servicer.requests == [StreamCaptionImageRequest(image=b"an image", options=DecodingOptions())]


def test_what_is_certain_reaches_a_pipe_while_the_rest_is_still_open():
    on = threading.Event()
    with serving(Translation([*PARTS[:2], on, PARTS[2]])) as address:
        command = [Path(sys.executable).parent / "beamstep", "translate", "A dog", "--stream", "--address", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.read(4) == "Ein "
            on.set()
            assert process.stdout.read() == "Hund\n"
        assert process.returncode == 0


def test_a_stream_that_breaks_off_leaves_what_was_certain_and_says_why(run):
    result = run(Translation([*PARTS[:2], grpc.StatusCode.INTERNAL]), "translate", "A dog", "--stream")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "Ein ", "error: as scripted\n")


@pytest.mark.parametrize("parts", [[], PARTS[:2]])
def test_a_stream_without_an_answer_is_no_success(run, parts):
    result = run(Translation(parts), "translate", "A dog", "--stream")
    assert (result.exit_code, result.stderr) == (1, "error: the server ended the stream without an answer\n")


def test_a_score_is_printed_as_a_whole_and_token_by_token(run):
    servicer = Translation(TranslationServiceScoreTargetResponse(decoding=SCORED))
    output = succeeded(run(servicer, "score", "A dog", "Hund", "--length-penalty", "0.5", "--model", "m/2"))
    assert [line.split() for line in output.splitlines()] == [
        ["log-prob", "-1.5000,", "score", "-1.2500,", "2", "tokens"],
        ["token", "log-prob"],
        ["▁Hund", "-1.0000"],
        ["</s>", "-0.5000"],
    ]
    options = DecodingOptions(length_penalty=0.5)
    assert servicer.requests == [
        TranslationServiceScoreTargetRequest(text="A dog", target="Hund", model="m", model_version="2", options=options)
    ]


def test_a_score_as_json_is_the_whole_answer(run):
    servicer = Translation(TranslationServiceScoreTargetResponse(decoding=SCORED))
    answer = json.loads(succeeded(run(servicer, "score", "A dog", "", "--json")))
    assert answer["decoding"]["log_prob"] == -1.5
    assert [token["log_prob"] for token in answer["decoding"]["tokens"]] == [-1.0, -0.5]


def test_a_captions_score_is_printed(run, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"an image")
    servicer = Captioning(CaptioningServiceScoreTargetResponse(decoding=SCORED))
    assert "log-prob -1.5000" in succeeded(run(servicer, "score-caption", tmp_path / "photo.jpg", "a dog"))
    assert servicer.requests == [
        CaptioningServiceScoreTargetRequest(image=b"an image", target="a dog", options=DecodingOptions())
    ]


@pytest.mark.parametrize("command", ["score", "score-caption"])
def test_options_that_say_how_to_search_are_none_of_a_score(run, command):
    assert run(Translation(), command, "A dog", "Ein Hund", "--beam-size", "4").exit_code == 2


def test_attention_shows_what_each_token_looked_at(run):
    answer = TranslateTextResponse(
        hypotheses=[TranslationHypothesis(text="Hund", decoding=LOOKED)], source_pieces=["▁dog", "</s>"]
    )
    lines = succeeded(run(Translation(answer), "translate", "dog", "--attention")).splitlines()
    assert [line.split() for line in lines] == [
        ["Hund"],
        ["token", "log-prob", "looked", "most", "at", "weight"],
        ["▁Hund", "0.0000", "</s>", "0.75"],
        ["</s>", "0.0000", "▁dog", "0.88"],
    ]


def test_a_captions_attention_is_on_cells_of_the_image(run, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"an image")
    grid = AttentionGrid(row_count=1, column_count=2)
    answer = CaptionImageResponse(hypotheses=[CaptionHypothesis(decoding=LOOKED)], attention_grid=grid)
    output = succeeded(run(Captioning(answer), "caption", tmp_path / "photo.jpg", "--attention"))
    assert "row 1, column 2" in output


def test_a_deadline_that_was_reached_is_noted_on_stderr(run):
    answer = TranslateTextResponse(hypotheses=TRANSLATED.hypotheses, deadline_reached=True)
    note = "note: the deadline came before the search was over; this is the best so far\n"
    for arguments in (["A dog"], ["A dog", "--json"]):
        result = run(Translation(answer), "translate", *arguments, "--on-deadline", "return-best")
        assert (result.exit_code, result.stderr) == (0, note)
    streamed = [StreamTranslateTextResponse(committed_text="Ein Hund", answer=answer)]
    result = run(Translation(streamed), "translate", "A dog", "--stream")
    assert (result.stdout, result.stderr) == ("Ein Hund\n", note)
    result = run(Pointing(FindTourResponse(deadline_reached=True)), "tour", "-", stdin=TRIANGLE)
    assert result.stderr == note


def test_a_seed_that_was_not_given_is_noted_on_stderr(run):
    drawn = TranslateTextResponse(hypotheses=[TranslationHypothesis(text="Ein Hund", decoding=Decoding(seed=0))])
    result = run(Translation(drawn), "translate", "A dog", "--sample")
    assert (result.stdout, result.stderr) == ("Ein Hund\n", "note: --seed 0 draws this again\n")
    succeeded(run(Translation(drawn), "translate", "A dog", "--seed", "0"))
    answer = json.loads(succeeded(run(Translation(drawn), "translate", "A dog", "--sample", "--json")))
    assert answer["hypotheses"][0]["decoding"]["seed"] == "0"


def test_a_full_server_says_when_there_may_be_room(run):
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000)))
    full = rpc_status.to_status(status_pb2.Status(code=8, message="the queue is full", details=[detail]))
    result = run(Translation(full), "translate", "A dog")
    assert (result.exit_code, result.stderr) == (1, "error: the queue is full (there may be room in 0.25 s)\n")
