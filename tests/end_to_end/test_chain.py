"""The whole chain as a user has it: train the toy, export it, serve the bundle, call it."""

import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beamstep.client import Client
from beamstep.v1.decoding_pb2 import DecodingOptions
from serving.bundle import load_bundle
from serving.errors import BadBundle

PROGRAM = Path(sys.executable).parent / "beamstep"


@pytest.fixture(scope="module")
def bundles(toy, tmp_path_factory) -> Path:
    """The folder that `beamstep export` published the toy into."""
    folder = tmp_path_factory.mktemp("bundles")
    command = [PROGRAM, "export", toy, "--output", folder, "--inputs", "20", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(bundles) -> Iterator[str]:
    """Where `beamstep serve` listens; it ends on SIGTERM with status 0."""
    command = [PROGRAM, "serve", "--models", bundles, "--host", "127.0.0.1", "--port", "0", "--step-threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        yield next(found[1] for line in lines if (found := re.search(r"serving on (\S+): reverse/1$", line)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read().endswith("stopped\n")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_trained_toy_is_served(address):
    with Client(address, timeout_s=20) as client:
        for text, reversed_text in (("a b c d", "d c b a"), ("h", "h"), ("e d g a b", "b a g d e")):
            assert client.translate(text).hypotheses[0].text == reversed_text


def test_more_than_one_hypothesis_and_attention_come_from_a_real_session(address):
    with Client(address, timeout_s=20) as client:
        options = DecodingOptions(beam_size=5, hypothesis_count=5, include_attention=True)
        answer = client.translate("a b c", options=options)
    texts = [found.text for found in answer.hypotheses]
    assert texts[0] == "c b a"
    assert len(set(texts)) == 5
    assert list(answer.source_pieces)[-1] == "</s>"
    for found in answer.hypotheses:
        assert found.decoding.log_prob == pytest.approx(
            sum(token.log_prob for token in found.decoding.tokens), abs=1e-4
        )
        assert all(sum(token.attention) == pytest.approx(1, abs=1e-4) for token in found.decoding.tokens)


def test_the_program_translates(address):
    done = subprocess.run(
        [PROGRAM, "translate", "-", "--address", address],
        input="a b c\nd e\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("c b a\ne d\n", "", 0)


def test_the_bundle_is_evaluated_through_serving(bundles, tmp_path):
    words = [["a", "b", "c", "d"], ["e", "d", "g", "a", "b"], ["h", "f", "c", "a"], ["b", "g", "e", "f", "d"]]
    (tmp_path / "source").write_text("".join(f"{' '.join(word)}\n" for word in words))
    (tmp_path / "reference").write_bytes(gzip.compress("".join(f"{' '.join(word[::-1])}\n" for word in words).encode()))
    command = [PROGRAM, "evaluate", bundles / "reverse", "--source", tmp_path / "source"]
    done = subprocess.run(
        [*command, "--reference", tmp_path / "reference", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == ["count", "bleu_lower_tokenized", "bleu_13a", "chrf", "sentences_per_second"]
    assert figures["count"] == 4
    assert figures["bleu_lower_tokenized"] == figures["bleu_13a"] == 100


WITHOUT_TORCH = """
import sys
sys.modules |= dict.fromkeys(["torch", "onnx", "training"])
import typer
from export.certification.command import verify
typer.run(verify)
"""


def test_the_bundle_is_verified_where_there_is_no_torch(bundles):
    command = [sys.executable, "-c", WITHOUT_TORCH, bundles / "reverse", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (certificate,) = json.loads(done.stdout.splitlines()[-1])
    (exported,) = json.loads((bundles / "reverse/1/manifest.json").read_text(encoding="utf-8"))["certificates"]
    assert (certificate["precision"], certificate["provider"]) == ("int8", "CPUExecutionProvider")
    for figure in ("inputs", "tensor_error", "tokens", "metric", "neighbours_error", "padding_error"):
        assert certificate[figure] == exported[figure], figure
    assert exported["speed"]
    assert not certificate["speed"], "the bundle was exported without fp32"


def test_a_flipped_bit_of_any_file_is_found_and_the_file_named(bundles, tmp_path):
    folder = tmp_path / "altered"
    shutil.copytree(bundles / "reverse/1", folder)
    files = sorted(path for path in folder.iterdir() if path.name != "README.md")  # which nothing reads
    assert len(files) == 6
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
        with pytest.raises(BadBundle, match=path.name):
            load_bundle(folder)
        path.write_bytes(content)
    load_bundle(folder)
