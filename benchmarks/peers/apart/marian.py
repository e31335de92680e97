"""A Transformer-Tiny as a MarianMTModel: what it is, its tokens, and how it is written and converted.

    python -m benchmarks.peers.apart.marian FOLDER < SENTENCES      # one of random weights, to measure times with

Post-norm, sinusoidal positions, one embedding for both sides and the output, as Marian has them, so that the same weights run in
Hugging Face transformers, in Optimum's ONNX export and, by its own converter, in CTranslate2. (Wu et al. 2021,
arXiv:2105.14462, have the size.)
"""

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import sentencepiece
import torch
from ctranslate2.converters import TransformersConverter
from ctranslate2.specs.model_spec import ModelSpec
from transformers import MarianConfig, MarianMTModel

from benchmarks.peers.apart.files import FLOAT32, INT8, MARIAN, PIECES

VOCABULARY: Final = 8000
END: Final = 0
UNKNOWN: Final = 1
WIDTH: Final = 128
NEVER: Final = -1e4
"""The bias of pieces that no German sentence holds."""
POSITIONS: Final = 256


def train_pieces(lines: Sequence[str], scratch: Path) -> Path:
    """Train the byte-pair encoding of both languages, ids as Marian has them: `</s>` 0, `<unk>` 1; return its file."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(scratch / "pieces"),
        vocab_size=VOCABULARY,
        model_type="bpe",
        character_coverage=1.0,
        eos_id=END,
        unk_id=UNKNOWN,
        bos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    return scratch / "pieces.model"


def make_model(pieces: int, dropout: float = 0.0) -> MarianMTModel:
    """Return a model of random weights.

    Args:
        pieces: of the vocabulary; one more, the last, is `<pad>`, whose embedding is zero and which begins every answer.
        dropout: of embeddings and of what each part of a layer adds; attention is left whole.
    """
    pad = pieces
    config = MarianConfig(
        vocab_size=pieces + 1,
        d_model=WIDTH,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        max_position_embeddings=POSITIONS,
        activation_function="relu",
        dropout=dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        pad_token_id=pad,
        eos_token_id=END,
        bos_token_id=END,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
    )
    model = MarianMTModel(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear) and module is not model.lm_head:
                torch.nn.init.xavier_uniform_(module.weight)
        torch.nn.init.normal_(model.model.shared.weight, std=WIDTH**-0.5)
        model.model.shared.weight[pad] = 0
        model.final_logits_bias[0, pad] = NEVER
    return model


def save(model: MarianMTModel, pieces: Path, output: Path) -> None:
    """Write a folder that `from_pretrained` reads, tokenizer included, and the pieces' file beside it."""
    folder = output / MARIAN
    model.save_pretrained(folder)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    names = [processor.id_to_piece(token) for token in range(processor.get_piece_size())]
    vocabulary = {name: token for token, name in enumerate([*names, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    for name in ("source.spm", "target.spm"):
        shutil.copyfile(pieces, folder / name)
    settings = {"source_lang": "en", "target_lang": "de", "model_max_length": POSITIONS}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "MarianTokenizer"}), encoding="utf-8"
    )
    shutil.copyfile(pieces, output / PIECES)


def convert(output: Path) -> None:
    """Convert a saved model to CTranslate2, in 8 bits and in float32, its answers limited to pieces that German has."""
    for name, kind in ((INT8, "int8"), (FLOAT32, "float32")):
        _Converter(str(output / MARIAN)).convert(str(output / name), quantization=kind, force=True)


class _Converter(TransformersConverter):  # type: ignore[misc]  # CTranslate2 has no types
    """CTranslate2's own, then the rows of pieces that are never answered cut out of the decoder."""

    def _load(self) -> ModelSpec:
        spec = super()._load()
        bias = spec.decoder.projection.bias
        kept = [token for token, value in enumerate(bias.tolist()) if value > NEVER]
        (names,) = spec._vocabularies["source"]
        spec._vocabularies["target"] = [[names[token] for token in kept]]
        embedding, projection = spec.decoder.embeddings, spec.decoder.projection
        embedding.weight, projection.weight = embedding.weight[kept], projection.weight[kept]
        projection.bias = bias[kept]
        return spec


def invented(count: int) -> list[str]:
    """Return words that nobody says, enough of them to fill a vocabulary."""
    generator = random.Random(0)
    syllables = [first + vowel for first in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    return ["".join(generator.choices(syllables, k=generator.randint(2, 4))) for _ in range(count)]


def main() -> None:
    """Write a model of random weights whose pieces are of the sentences on stdin and of invented words."""
    output = Path(sys.argv[1])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        lines = [line.strip().lower() for line in sys.stdin]
        file = train_pieces([*lines, *invented(3 * VOCABULARY)], Path(scratch))
        save(make_model(VOCABULARY).eval(), file, output)
    convert(output)


if __name__ == "__main__":
    main()
