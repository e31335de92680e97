"""On real sessions of every task beam 1 is greedy search: the same tokens, alone and beside wide beams."""

import numpy as np
import pytest

from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.search import decode
from serving.tasks.pointing import constraint_of
from tests.fakes.greedy import greedy, rule_of
from tests.fakes.runs import FAMILIES, POINTING

TOLERANCE = 1e-4
"""Neighbours pad the memory, and sums over padding are made in another order: a few units of 2^-24 a token."""


@pytest.mark.parametrize("family", dict.fromkeys((*FAMILIES, *POINTING)))
def test_beam_one_is_greedy(export_family, family):
    exported = export_family(family)
    manifest = exported.bundle.manifest
    vocabulary = manifest.vocabulary
    special = SpecialTokens(vocabulary.pad, vocabulary.bos, vocabulary.eos)
    options, constraints, expected = [], [], []
    for source in exported.sources:
        points = source.get("points")
        size = vocabulary.size if points is None else vocabulary.first_position + len(points)
        option = DecodingOptions(1, 15 if points is None else 6 * len(points), size, special)
        options.append(option)
        constraints.append(None if points is None else constraint_of(manifest, points))
        expected.append(greedy(exported.model, source, option, rule_of(manifest.task, points)))
    wide = [DecodingOptions(5, option.max_length, option.vocabulary_size, special) for option in options]
    alone = [
        decode(exported.model, [source], option, [constraint])[0]
        for source, option, constraint in zip(exported.sources, options, constraints, strict=True)
    ]
    sources = [source for source in exported.sources for _ in range(2)]
    mixed = [option for pair in zip(options, wide, strict=True) for option in pair]
    together = decode(exported.model, sources, mixed, [constraint for constraint in constraints for _ in range(2)])
    for found in (alone, together[::2]):
        for (one,), (tokens, log_probs) in zip(found, expected, strict=True):
            assert one.tokens == tokens
            np.testing.assert_allclose(one.token_log_probs, log_probs, atol=TOLERANCE)
    assert len({tuple(log_probs) for _, log_probs in expected}) > 1, "each source has an answer of its own"
