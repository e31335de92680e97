"""Peers in environments of their own: how they are asked, what they are asked, and what is said of it."""

import asyncio
import hashlib
import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from sacremoses import MosesTokenizer

from benchmarks.peers import environments, huggingface
from benchmarks.peers.apart.batching import BATCH_TOKENS, Pair, batches
from benchmarks.peers.apart.files import ABOUT, INT8, PIECES
from benchmarks.peers.apart.pieces import Pieces, lower_tokens
from benchmarks.peers.ctranslate2 import PEER, latencies, peer_folder, quality, with_children
from benchmarks.peers.other_process import OtherError, other
from benchmarks.peers.own_engine import KEY, OwnEngine
from benchmarks.peers.plain_server import Batches
from benchmarks.peers.sentences import sentences
from benchmarks.peers.sides import OURS
from benchmarks.peers.table import Effort, NotMeasuredError
from export.evaluation.translation_metrics import lower_moses_tokens
from serving.bundle import load_bundle
from serving.engine import Engine
from serving.session import OnnxModel, SessionConfig
from serving.tasks.translation import Translation

BUNDLE = Path(__file__).parents[2] / "models" / "translation-en-de" / "1"
TEXTS = ["A man is riding a bicycle.", "Two dogs run.", "A girl in a red coat plays the piano at home."]


def test_a_process_answers_questions_whatever_else_it_prints_and_a_failure_ends_nothing():
    with other("tests.fakes.parrot", []) as parrot:
        assert parrot.ask("repeat", words="zwölf") == "zwölf"
        with pytest.raises(OtherError, match="ValueError: no"):
            parrot.ask("fail")
        parrot.begin("repeat", words="still there")
        assert parrot.end() == "still there"
        assert parrot.pid in with_children(parrot.pid)


def test_a_process_that_ends_is_told_of():
    with other("json.tool", ["--no-such-option"]) as gone, pytest.raises(OtherError, match="ended"):
        gone.ask("repeat", words="?")


async def test_several_batches_are_answered_at_the_same_time():
    both = threading.Barrier(2, timeout=10)

    def answer(requests):
        both.wait()  # goes on only when two batches are here at once
        return requests

    with ThreadPoolExecutor(2) as threads:
        asked = Batches(answer, 3, threads, at_once=2)
        found = await asyncio.gather(*(asked.ask(place) for place in range(6)))
    assert found == [0, 1, 2, 3, 4, 5]


def test_our_engine_in_batches_and_all_at_once_gives_the_same_answers_of_the_asked_lengths():
    bundle = load_bundle(BUNDLE)
    task = Translation(bundle)
    with Engine({KEY: OnnxModel(bundle, SessionConfig())}) as engine:
        own = OwnEngine(task, engine)
        own.give(TEXTS, beam_size=2)
        assert own.all() > 0
        at_once = own.texts()
        own.all(batch=2)
        assert own.texts() == at_once
        assert len(set(at_once)) == 3
        assert len(own.singly(1, 5)) == 2
        own.give(TEXTS, beam_size=2, lengths=[4, 5, 6])
        own.all()
        assert own.pieces() == [4, 5, 6]


def test_every_pair_comes_once_an_epoch_in_batches_within_the_bound():
    pairs = [Pair([length, *[9] * length, 0], [length, *[8] * (length % 7), 0]) for length in range(1, 200)]
    found, seen = batches(pairs, 1, random.Random(0)), Counter()
    while sum(seen.values()) < len(pairs):
        source, target = next(found)
        assert source.shape[0] == target.shape[0]
        assert source.shape[0] * max(source.shape[1], target.shape[1]) <= BATCH_TOKENS
        assert torch.equal(source[:, 0], target[:, 0])  # the two sides of a pair stay together
        seen.update(source[:, 0].tolist())
    assert seen == Counter(range(1, 200))


def test_pieces_end_with_the_sentence_and_become_the_same_text_again():
    pieces = Pieces(BUNDLE / "source.model")
    (cut,) = pieces.cut(["a man rides ."])
    assert cut[-1] == "</s>"
    assert pieces.pieces_of([*pieces.ids_of(cut), 7]) == cut[:-1]
    assert pieces.text(pieces.joined(cut[:-1])) == "a man rides."


def test_the_peer_reads_the_tokens_that_the_metric_counts():
    moses = MosesTokenizer(lang="en")
    text = "A man's \"dog\" & 2.5 cats (of 3), Dr. Who's; runs..."
    assert lower_tokens(moses, text) == lower_moses_tokens(moses, text)


def test_forced_lengths_are_one_for_a_batch_and_the_references_mean():
    texts = [str(place) for place in range(100)]
    references = ["w " * (place % 10 + 1) for place in range(100)]
    asked = huggingface.asked_of(texts, references, 40, forced=True)
    assert len(asked.texts) == len(asked.lengths) == 64
    assert len(set(asked.lengths)) == 2
    assert all(len(set(asked.lengths[first : first + 32])) == 1 for first in (0, 32))
    total = sum(len(references[int(text)].split()) for text in asked.texts)
    assert sum(asked.lengths) == pytest.approx(total, rel=0.1)


def test_answers_end_by_themselves_where_the_peer_was_trained_well(tmp_path):
    assert not huggingface.is_good(tmp_path)
    (tmp_path / ABOUT).write_text('{"bleu_val": 12.5}', encoding="utf-8")
    assert not huggingface.is_good(tmp_path)
    (tmp_path / ABOUT).write_text('{"bleu_val": 38.1}', encoding="utf-8")
    assert huggingface.is_good(tmp_path)
    assert huggingface.asked_of(["a", "b"], ["c", "d"], 1, forced=False) == huggingface.Asked(("a", "b"), None)


@pytest.mark.parametrize(("ours", "said"), [(41.0, "equal or better"), (39.08, "worse")])
def test_quality_stands_beside_speed(ours, said):
    (line,) = quality({OURS: {"BLEU": ours}, PEER: {"BLEU": 40.05}})
    assert said in line
    assert f"{ours:.2f} beside 40.05" in line


def test_without_references_nothing_is_said_of_quality():
    (line,) = quality({OURS: {}, PEER: {}})
    assert "--data" in line
    made = sentences(None)
    assert made.bleu(list(made.texts)) == {}
    assert made.texts == sentences(None).texts


def test_a_data_folder_without_the_sentences_is_named(tmp_path):
    with pytest.raises(NotMeasuredError, match=r"--data: .*test_2016_flickr\.en\.gz"):
        sentences(tmp_path)


def test_latencies_are_percentiles_in_milliseconds():
    assert latencies([place / 1e3 for place in range(101)]) == pytest.approx({"p50, ms": 50, "p95, ms": 95})


def test_a_peer_that_is_not_there_is_asked_for_by_its_option(tmp_path):
    with pytest.raises(NotMeasuredError, match="no --peer FOLDER"):
        peer_folder(Effort())
    (tmp_path / INT8).mkdir()
    with pytest.raises(NotMeasuredError, match=PIECES):
        peer_folder(Effort(peer=tmp_path))
    (tmp_path / PIECES).touch()
    assert peer_folder(Effort(peer=tmp_path)) == (tmp_path / INT8, tmp_path / PIECES)


def test_an_environment_is_made_once_for_what_it_pins(tmp_path, monkeypatch):
    made = []

    def create(folder, **_):
        made.append(folder)
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").unlink(missing_ok=True)
        (folder / "bin" / "python").symlink_to("/bin/true")

    monkeypatch.setattr(environments.venv, "create", create)
    python = environments.environment("ctranslate2", tmp_path)
    assert environments.environment("ctranslate2", tmp_path) == python
    assert made == [tmp_path / "ctranslate2"]
    stamp = tmp_path / "ctranslate2" / environments.STAMP
    pinned = (environments.REQUIREMENTS / "ctranslate2.txt").read_bytes()
    assert stamp.read_text() == hashlib.sha256(pinned + f"{sys.base_prefix} {sys.version}".encode()).hexdigest()
    stamp.write_text("of other versions")
    environments.environment("ctranslate2", tmp_path)
    assert len(made) == 2
    monkeypatch.setattr(environments.sys, "base_prefix", "/another/python")
    environments.environment("ctranslate2", tmp_path)
    assert len(made) == 3


def test_an_environment_that_cannot_be_installed_says_so(tmp_path, monkeypatch):
    def create(folder, **_):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to("/bin/false")

    monkeypatch.setattr(environments.venv, "create", create)
    with pytest.raises(NotMeasuredError, match=r"huggingface\.txt: pip ended with status 1"):
        environments.environment("huggingface", tmp_path)
