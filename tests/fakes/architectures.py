"""Every architecture of the translation model, small and with random weights; docs/architectures.md has what they are."""

from collections.abc import Mapping
from typing import Any

import torch

from training.models.attention import ATTENTION
from training.models.base import SequenceToSequence
from training.models.cells import CELLS
from training.models.translation import TranslationDecoder, TranslationEncoder, TranslationModelConfig

SOURCES, TARGETS = 23, 19
"""Sizes of the vocabularies."""

_PAIRS = {f"{cell}, {attention}": {"cell": cell, "attention": attention} for cell in CELLS for attention in ATTENTION}
_STACKS = {
    f"{cell}, stacked": {"cell": cell, "encoder_layers": 2, "decoder_layers": 3, "dropout": 0.3} for cell in CELLS
}
_REST: dict[str, dict[str, Any]] = {
    "one way": {"encoder_bidirectional": False},
    "one way, stacked, additive": {
        "cell": "gru_reset_after",
        "attention": "additive",
        "encoder_bidirectional": False,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.3,
    },
    "not fed": {"input_feeding": False},
    "not fed, additive": {"cell": "lstm", "attention": "additive", "input_feeding": False},
    "Sutskever 2014": {
        "cell": "lstm",
        "attention": "none",
        "encoder_bidirectional": False,
        "encoder_layers": 2,
        "decoder_layers": 2,
    },
}
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = _PAIRS | _STACKS | _REST
"""What each says in the `model` section of a recipe."""


def model_config(name: str) -> TranslationModelConfig:
    """Return the section of an architecture, with sizes that are all different."""
    sizes = {"embedding_size": 10, "encoder_size": 12, "hidden_size": 14, "dropout": 0.0}
    said = {"input_feeding": ARCHITECTURES[name].get("attention") != "none"} | ARCHITECTURES[name]
    return TranslationModelConfig.model_validate({"kind": "translation", **sizes, **said})


def untrained_model(name: str, source_size: int = SOURCES, target_size: int = TARGETS) -> SequenceToSequence:
    """Make an architecture with weights and biases so large that its gates move and its log-probs differ from token to token."""
    torch.manual_seed(7)
    config = model_config(name)
    model = SequenceToSequence(TranslationEncoder(config, source_size), TranslationDecoder(config, target_size))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.5)
            else:
                parameter.mul_(1.7)
    return model.eval()
