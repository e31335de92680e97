"""Decoding in torch against every possible answer, and samples against the distribution that they are drawn from."""

import itertools
import math

import numpy as np
import pytest
import torch

from export.torch_model import TorchModel
from serving.decoding.options import DecodingOptions, SpecialTokens
from serving.decoding.search import decode
from serving.manifest import TensorSpec
from training.decoding import draw, draw_tokens, search
from training.models.base import Decoder, Encoder, Memory, SequenceToSequence
from training.vocabulary import BOS, EOS, PAD

VOCABULARY, SOURCES = 6, 4
ALLOWED = (EOS, 3, 4, 5)


class TableEncoder(Encoder):
    def forward(self, inputs):
        sources = inputs["source"]
        memory = sources.float().view(-1, 1, 1)
        return Memory(memory, torch.ones_like(memory[:, :, 0], dtype=torch.bool), {}), {
            "place": torch.zeros_like(sources)
        }


class TableDecoder(Decoder):
    """A token's logit depends on the source, the place and the last token alone."""

    def __init__(self, length=4):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(SOURCES, length, VOCABULARY, VOCABULARY) * 1.5)

    def step(self, token, memory, state):
        logits = self.table[memory.memory[:, 0, 0].long(), state["place"], token].clone()
        logits[:, [PAD, BOS]] = float("-inf")
        return logits, {"place": state["place"] + 1}, memory.memory_mask.float()


@pytest.fixture
def model():
    torch.manual_seed(2)
    return SequenceToSequence(TableEncoder(), TableDecoder()).eval()


INPUTS = {"source": torch.arange(SOURCES)}


def answers_by_score(model, source, length, penalty):
    """Every answer that ends within the length, best first."""
    table = model.decoder.table[source].detach().clone()
    table[:, :, [PAD, BOS]] = float("-inf")
    table = table.log_softmax(-1)
    found = []
    for count in range(length):
        for words in itertools.product(ALLOWED[1:], repeat=count):
            tokens = (*words, EOS)
            log_prob = sum(
                table[place, last, token].item()
                for place, (last, token) in enumerate(itertools.pairwise((BOS, *tokens)))
            )
            found.append((log_prob / ((5 + len(tokens)) / 6) ** penalty, list(words)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_answers(model, penalty):
    found = search(model, INPUTS, 4, beam_size=40, length_penalty=penalty)
    assert found == [answers_by_score(model, source, 4, penalty)[0][1] for source in range(SOURCES)]


def test_a_beam_of_one_is_greedy(model):
    for source, found in enumerate(search(model, INPUTS, 4)):
        table, last, expected = model.decoder.table[source].detach(), BOS, []
        for place in range(4):
            last = max(ALLOWED, key=lambda token: table[place, last, token].item())
            if last == EOS:
                break
            expected.append(last)
        assert found == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("beam_size", "penalty"), [(1, 0.0), (2, 0.0), (3, 0.7), (5, 1.5)])
def test_it_finds_what_serving_finds(seed, beam_size, penalty):
    torch.manual_seed(seed)
    model = SequenceToSequence(TableEncoder(), TableDecoder(length=7)).eval()
    options = DecodingOptions(
        beam_size,
        max_length=6,
        vocabulary_size=VOCABULARY,
        special=SpecialTokens(PAD, BOS, EOS),
        length_penalty=penalty,
    )
    served = decode(
        TorchModel(model, [TensorSpec(name="source", dtype="int64", axes=("N",))]),
        [{"source": np.array(source)} for source in range(SOURCES)],
        options,
    )
    expected = [[token for token in best.tokens if token != EOS] for best, *_ in served]
    found = search(model, INPUTS, 7, beam_size=beam_size, length_penalty=penalty)
    assert [answer[:6] for answer in found] == expected  # what is cut keeps a seventh token here, in the place of `eos`


def test_an_answer_does_not_depend_on_the_sources_beside_it(model):
    together = search(model, INPUTS, 4, beam_size=2, length_penalty=0.7)
    alone = [
        search(model, {"source": torch.tensor([source])}, 4, beam_size=2, length_penalty=0.7)
        for source in range(SOURCES)
    ]
    assert together == [answer for (answer,) in alone]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    torch.manual_seed(1)
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    drawn = draw_tokens(probabilities.log().expand(20_000, -1))
    assert torch.allclose(torch.bincount(drawn, minlength=6) / 20_000, probabilities, atol=0.02)


def test_samples_end_with_eos_or_fill_the_length_and_come_as_often_as_they_are_likely(model):
    torch.manual_seed(3)
    memory, state = model.encoder({"source": torch.tensor([1])})
    samples = draw(model.decoder, memory, state, 5_000, 3)
    assert samples.source.tolist() == [0] * 5_000
    answers = samples.answers()
    for answer in answers:
        assert (answer[-1] == EOS and EOS not in answer[:-1]) or (len(answer) == 3 and EOS not in answer)
    (score, words), *_ = answers_by_score(model, 1, 3, 0.0)
    assert answers.count([*words, EOS]) / 5_000 == pytest.approx(math.exp(score), abs=0.03)


def test_samples_of_a_source_stand_together(model):
    memory, state = model.encoder(INPUTS)
    assert draw(model.decoder, memory, state, 2, 3).source.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
