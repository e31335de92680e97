"""Every architecture, small and with random weights; docs/architectures.md has what they are."""

from collections.abc import Mapping
from typing import Any

import torch

from training.models.base import SequenceToSequence
from training.models.ensemble import ensemble_of
from training.models.point_sequence import PointSequenceConfig, PointSequenceDecoder, PointSequenceEncoder
from training.models.pointer import PointerConfig, PointerDecoder, PointerEncoder
from training.models.recurrent_points import RecurrentPointsConfig
from training.models.transformer import TransformerConfig
from training.models.translation import TranslationModelConfig

SOURCES, TARGETS = 23, 19
"""Sizes of the vocabularies."""

_DEEP_ENCODER = {"encoder_layers": 2, "dropout": 0.3}
_ONE_WAY = {"encoder_bidirectional": False}
_DEEP_DECODER = {"decoder_layers": 3, "dropout": 0.3}
_NOT_FED = {"input_feeding": False}

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    f"{cell}, {attention}": {"cell": cell, "attention": attention} | rest
    for cell, attention, rest in (
        ("rnn", "dot", _ONE_WAY | _DEEP_DECODER),
        ("rnn", "scaled", _DEEP_ENCODER | _NOT_FED),
        ("rnn", "general", _ONE_WAY),
        ("rnn", "additive", _DEEP_ENCODER | _ONE_WAY | _DEEP_DECODER | _NOT_FED),
        ("rnn", "none", _DEEP_DECODER | _NOT_FED),
        ("gru", "dot", {}),
        ("gru", "scaled", _ONE_WAY | _DEEP_DECODER | _NOT_FED),
        ("gru", "general", _ONE_WAY | _DEEP_DECODER),
        ("gru", "additive", _DEEP_ENCODER | _ONE_WAY | _NOT_FED),
        ("gru", "none", _DEEP_ENCODER | _NOT_FED),
        ("gru_reset_after", "dot", _DEEP_ENCODER | _NOT_FED),
        ("gru_reset_after", "scaled", _DEEP_ENCODER | _ONE_WAY),
        ("gru_reset_after", "general", _DEEP_DECODER),
        ("gru_reset_after", "additive", _ONE_WAY | _DEEP_DECODER | _NOT_FED),
        ("gru_reset_after", "none", _ONE_WAY | _NOT_FED),
        ("lstm", "dot", _DEEP_ENCODER),
        ("lstm", "scaled", _DEEP_DECODER),
        ("lstm", "general", _DEEP_ENCODER | _DEEP_DECODER | _NOT_FED),
        ("lstm", "additive", {}),
        ("lstm", "none", _DEEP_ENCODER | _ONE_WAY | _DEEP_DECODER | _NOT_FED),
    )
}
"""Every cell with every attention, and what each says in the `model` section of a recipe.

Every other choice stands with and without every cell, every attention and every other choice somewhere.
"""


ATTENTIVE = "gru, dot, attentive encoder"
TRANSFORMER = "transformer"
OTHERS: Mapping[str, Mapping[str, Any]] = {
    ATTENTIVE: {"encoder": "attentive", "encoder_size": 16, "encoder_layers": 2, "encoder_heads": 2},
    TRANSFORMER: {"hidden_size": 12, "feed_forward_size": 18, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2},
}
"""What has no cell in its encoder."""

ENSEMBLE = "ensemble"
MEMBERS = ("gru, dot", "lstm, additive")
"""The architectures of an ensemble's members: one with attention keys and a cell's second state, which the other has not."""


def model_config(name: str) -> TranslationModelConfig:
    """Return the section of an architecture with cells, with sizes that are all different."""
    sizes = {"embedding_size": 10, "encoder_size": 12, "hidden_size": 14, "dropout": 0.0}
    return TranslationModelConfig.model_validate({"kind": "translation", **sizes, **{**ARCHITECTURES, **OTHERS}[name]})


def fresh_model(name: str, sources: int, targets: int) -> SequenceToSequence:
    """Make an architecture as a recipe does, for vocabularies of these sizes."""
    if name == TRANSFORMER:
        return TransformerConfig(kind="transformer", dropout=0.0, **OTHERS[name]).build_for(sources, targets)
    return model_config(name).build_for(sources, targets)


def untrained_model(name: str) -> SequenceToSequence:
    """Make an architecture, or ENSEMBLE, with random weights."""
    if name == ENSEMBLE:
        return ensemble_of([untrained_model(member) for member in MEMBERS]).eval()
    torch.manual_seed(7)
    return _sharpened(fresh_model(name, SOURCES, TARGETS))


POINTERS: Mapping[str, PointerConfig | PointSequenceConfig] = {
    "pointer": PointerConfig(
        encoder=RecurrentPointsConfig(hidden_size=15, num_layers=2, bidirectional=False, dropout=0.3),
        num_heads=2,
        recent=2,
        period=3,
        remembered=4,
    ),
    "ptr-net": PointSequenceConfig(kind="point_sequence", hidden_size=15, embedding_size=6),
    "indices, none": PointSequenceConfig(
        kind="point_sequence", output="vocabulary", positions=20, hidden_size=15, embedding_size=6
    ),
    "indices, additive": PointSequenceConfig(
        kind="point_sequence", output="vocabulary", positions=20, attention="additive", hidden_size=15, embedding_size=6
    ),
}
"""What each network that points says in the `model` section; `pointer` keeps every kind of state, fakes/runs.py has attention."""


def untrained_pointer(name: str) -> SequenceToSequence:
    """Make a network that points, with random weights."""
    torch.manual_seed(7)
    config = POINTERS[name]
    if isinstance(config, PointerConfig):
        return _sharpened(SequenceToSequence(PointerEncoder(config), PointerDecoder(config)))
    return _sharpened(SequenceToSequence(PointSequenceEncoder(config), PointSequenceDecoder(config)))


def _sharpened(model: SequenceToSequence) -> SequenceToSequence:
    """Make weights and biases so large that gates move and log-probs differ from token to token."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.5)
            else:
                parameter.mul_(1.7)
    return model.eval()
