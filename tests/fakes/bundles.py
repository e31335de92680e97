"""Bundles on disk whose manifests and tokenizers are real and whose graphs are not: for tests that bring their own model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from serving.bundle import MANIFEST_FILE, Bundle, load_bundle, sha256_of
from serving.manifest import TEXT_TARGETS, Certificate, Manifest, Precision, TaskName
from serving.seal import SEAL, seal_of, sealed

SENTENCES = [
    "ein hund läuft durch das gras",
    "eine frau fährt mit dem fahrrad",
    "zwei kinder spielen im schnee",
    "ein mann steht vor dem haus",
]
SOURCE_LIMIT = 20
MAX_LENGTH = 30
BEAM_LIMIT = 8


def write_bundle(
    models: Path, task: TaskName, name: str = "", version: str = "1", *, sentences: Sequence[str] = SENTENCES
) -> Bundle:
    """Write models/<name>/<version> and load it, which checks it; the name is the task's unless one is given.

    Text has tokenizers trained on `sentences`: the same ones give the same vocabulary.
    """
    folder = models / (name or task) / version
    folder.mkdir(parents=True)
    graphs = {}
    for graph in ("encoder", "decoder_step"):
        (folder / f"{graph}.onnx").write_bytes(f"no graph of {graph}".encode())
        graphs[graph] = _file(folder / f"{graph}.onnx") | {"inputs": [], "outputs": []}
    text = task in TEXT_TARGETS
    tokenizers = {}
    vocabulary: dict[str, int] = {"pad": 0, "bos": 1, "eos": 2}
    if text:
        size = train_tokenizer(folder / "target.model", sentences)
        tokenizers["target"] = _file(folder / "target.model")
        vocabulary |= {"unk": 3, "size": size}
    else:
        vocabulary |= {"first_position": 3}
    if task == "translation":
        train_tokenizer(folder / "source.model", sentences)
        tokenizers["source"] = _file(folder / "source.model")
    image = {"height": 8, "width": 12, "grid_rows": 2, "grid_columns": 3} if task == "captioning" else None
    manifest = Manifest.model_validate(
        {
            "name": name or task,
            "version": version,
            "task": task,
            "description": f"A {task} bundle for tests.",
            "graphs": {"fp32": graphs},
            "tokenizers": tokenizers,
            "vocabulary": vocabulary,
            "image": image,
            "defaults": {"beam_size": 2, "length_penalty": 1.0, "max_length": {"per_source": 1, "plus": 2}},
            "limits": {"beam_size": BEAM_LIMIT, "source_length": SOURCE_LIMIT, "max_length": MAX_LENGTH},
            "source_buckets": [SOURCE_LIMIT],
            "provenance": {
                "created": "2026-11-23",
                "git_commit": "0123abc",
                "recipe": f"{task}-test",
                "seed": 7,
                "data_sources": [{"name": "four sentences", "licence": "CC0-1.0"}],
                "tool_versions": ["onnx==1.23.2"],
            },
            "quality": [{"metric": "exact", "value": 12.5, "data": "none", "command": "true"}],
            "certificates": [passed("fp32")],
        }
    )
    (folder / MANIFEST_FILE).write_text(sealed(manifest), encoding="utf-8")
    return load_bundle(folder)


def seal(folder: Path, content: dict[str, Any]) -> None:
    """Write what a manifest shall hold, sealed whatever it is."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    (folder / MANIFEST_FILE).write_text(json.dumps(rest | {SEAL: seal_of(rest)}), encoding="utf-8")


def passed(precision: Precision, provider: str = "CPUExecutionProvider") -> Certificate:
    """Return a certificate that lets a precision be served."""
    return Certificate(
        provider=provider,
        precision=precision,
        passed=True,
        created="2026-11-23",
        machine="none",
        inputs="nothing: a fake",
        neighbours_error=0,
    )


def _file(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": sha256_of(path)}


def train_tokenizer(path: Path, sentences: Sequence[str] = SENTENCES, *, byte_fallback: bool = False) -> int:
    """Write a sentencepiece model and return its size; `byte_fallback` gives it a piece for every byte."""
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=file,
            vocab_size=64 + 256 * byte_fallback,
            byte_fallback=byte_fallback,
            hard_vocab_limit=False,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            minloglevel=2,
        )
    return int(sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size())
