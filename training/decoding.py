"""Decoding in torch, while a model trains: a small beam search for validation, and samples for the reward objective.

What is served is decoded by `serving.decoding`, by the same rules; a test compares the two.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from training.models.base import Decoder, Memory, SequenceToSequence, State
from training.vocabulary import BOS, EOS, PAD


def search(
    model: SequenceToSequence,
    inputs: dict[str, Tensor],
    max_length: int,
    *,
    beam_size: int = 1,
    length_penalty: float = 0.0,
) -> list[list[int]]:
    """Return the best answer found for each of N sources, without `eos`; beam 1 is greedy.

    The beam is Sutskever et al. 2014's (arXiv:1409.3215, section 3.2): the K best continuations of the live hypotheses, of
    which those that end leave it. A source's search goes on until none is live, or the length is used up: none is given up
    early, so that no better hypothesis is lost. One without `eos` is an answer only where none ended.

    Args:
        model: in evaluation mode.
        inputs: a batch's encoder inputs.
        max_length: most tokens, `eos` counted.
        beam_size: K.
        length_penalty: a finished log-prob is divided by ((5 + length) / 6) ** length_penalty, `eos` counted. Wu et al. 2016.
    """
    with torch.inference_mode():
        memory, state = model.encoder(inputs)
        device = memory.memory.device
        beams = Beams.begin(len(memory.memory), beam_size, max_length, device)
        sources = torch.arange(len(memory.memory), device=device)  # those still searched for
        memory, state = memory.take(beams.rows()), take_rows(state, beams.rows())
        last = torch.full((len(sources) * beam_size,), BOS, device=device)
        answers: list[list[int]] = [[] for _ in sources]
        for length in range(1, max_length + 1):
            logits, state, _ = model.decoder.step(last, memory, state)
            parent, last = beams.extend(logits, length)
            state = take_rows(state, parent)
            beams.finish(last, length, length_penalty, cut=length == max_length)
            over = beams.over(length_penalty) if length < max_length else torch.ones_like(sources, dtype=torch.bool)
            for source, tokens in zip(sources[over].tolist(), beams.answers[over].tolist(), strict=True):
                answers[source] = [token for token in tokens if token not in (EOS, PAD)]
            if bool(over.any()):
                going = (~over).nonzero().squeeze(1)
                if len(going) == 0:
                    break
                rows = (going.unsqueeze(1) * beam_size + torch.arange(beam_size, device=device)).flatten()
                sources, beams = sources[going], beams.take(going, rows)
                memory, state, last = memory.take(rows), take_rows(state, rows), last[rows]
    return answers


@dataclass
class Beams:
    """The beams of N sources, K places each; a row is a place.

    Attributes:
        live: (N, K) float32, log-probs; -inf where nothing lives.
        tokens: (N * K, T) int64, what each row has chosen.
        best: (N,) float32, the score of the best finished answer; -inf where none is.
        answers: (N, T) int64, that answer.
    """

    live: Tensor
    tokens: Tensor
    best: Tensor
    answers: Tensor

    @classmethod
    def begin(cls, sources: int, beam_size: int, max_length: int, device: torch.device) -> "Beams":
        """Return beams with one empty hypothesis each."""
        live = torch.full((sources, beam_size), float("-inf"), device=device)
        live[:, 0] = 0.0
        tokens = torch.full((sources * beam_size, max_length), PAD, device=device)
        best = torch.full((sources,), float("-inf"), device=device)
        return cls(live, tokens, best, tokens[::beam_size].clone())

    def rows(self) -> Tensor:
        """Return the source of every row."""
        return torch.arange(len(self.live), device=self.live.device).repeat_interleave(self.live.shape[1])

    def first_rows(self) -> Tensor:
        """Return the first row of every source, (N,)."""
        return torch.arange(len(self.live), device=self.live.device) * self.live.shape[1]

    def extend(self, logits: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Put the K best continuations of each source into its places; logits (N * K, V).

        Returns:
            parent (N * K,), the row each place continues; and the token it chose.
        """
        sources, places = self.live.shape
        logits = logits.float()
        likeliest, candidates = logits.topk(min(places, logits.shape[1]))  # K of one row are all that can be among K
        log_probs = likeliest - logits.logsumexp(-1, keepdim=True)
        total = log_probs.view(sources, places, -1) + self.live.unsqueeze(2)
        self.live, chosen = total.flatten(1).topk(places)
        parent = (chosen // candidates.shape[1] + self.first_rows().unsqueeze(1)).flatten()
        last = candidates.view(sources, -1).gather(1, chosen).flatten()
        self.tokens = self.tokens[parent]
        self.tokens[:, length - 1] = last
        return parent, last

    def finish(self, last: Tensor, length: int, length_penalty: float, *, cut: bool) -> None:
        """Take what ended out of the beams, and keep it where it is the best so far; `cut`: whatever lives where none ended."""
        ended = (last == EOS).view(self.live.shape)
        if cut:
            ended = ended | (self.best == float("-inf")).unsqueeze(1)
        scores = self.live / ((5 + length) / 6) ** length_penalty
        score, place = scores.masked_fill(~ended, float("-inf")).max(1)
        better = score > self.best
        self.best = torch.where(better, score, self.best)
        self.answers[better] = self.tokens[place + self.first_rows()][better]
        self.live = self.live.masked_fill(ended, float("-inf"))

    def over(self, length_penalty: float) -> Tensor:
        """Tell (N,) whether nothing that lives can become better than what has ended: a log-prob only falls."""
        bound = self.live.max(1).values / ((5 + self.tokens.shape[1]) / 6) ** length_penalty
        over: Tensor = self.best >= bound
        return over

    def take(self, sources: Tensor, rows: Tensor) -> "Beams":
        """Return the beams of some sources, whose rows are `rows`."""
        return Beams(self.live[sources], self.tokens[rows], self.best[sources], self.answers[sources])


class Samples(NamedTuple):
    """Answers drawn from a model.

    Attributes:
        source: (R,) int64, which source each is for; as many of every source.
        target: (R, T) int64, tokens and, where it ended within the length, `eos`; padded with `pad`.
    """

    source: Tensor
    target: Tensor

    def answers(self) -> list[list[int]]:
        """Return each as a list, its `eos` included."""
        return [[token for token in row if token != PAD] for row in self.target.tolist()]

    def by_length(self, rows: int) -> tuple[Tensor, ...]:
        """Return the places of all samples, the shortest first, in parts of at most so many rows."""
        parts: tuple[Tensor, ...] = torch.split((self.target != PAD).sum(1).argsort(), rows)
        return parts


@torch.no_grad()
def draw(decoder: Decoder, memory: Memory, state: State, count: int, max_length: int) -> Samples:
    """Draw `count` answers of each of N sources from the decoder's distribution, token by token.

    Args:
        decoder: whose distribution; it is used as it is, in training or evaluation mode.
        memory: of N sources.
        state: the first one, a row a source.
        count: samples a source; those of one stand together.
        max_length: most tokens, `eos` counted.
    """
    source = torch.arange(len(memory.memory), device=memory.memory.device).repeat_interleave(count)
    running = torch.arange(len(source), device=source.device)  # the rows that have not ended
    target = torch.full((len(source), max_length), PAD, device=source.device)
    token = torch.full_like(source, BOS)
    memory, state = memory.take(source), take_rows(state, source)
    for length in range(max_length):
        logits, state, _ = decoder.step(token, memory, state)
        token = draw_tokens(logits)
        target[running, length] = token
        going = (token != EOS).nonzero().squeeze(1)
        if len(going) == 0:
            break
        if len(going) < len(token):
            running, token = running[going], token[going]
            memory, state = memory.take(going), take_rows(state, going)
    return Samples(source, target[:, : length + 1])


def draw_tokens(logits: Tensor) -> Tensor:
    """Draw a token (R,) from each row of logits (R, V), where its share of the cumulated probability begins.

    One uniform number a row: torch.multinomial draws one for every token, which took an eighth of a training step.
    """
    cumulated: Tensor = logits.float().softmax(-1).cumsum(-1)
    place = torch.rand(len(logits), 1, device=logits.device) * cumulated[:, -1:]
    tokens: Tensor = torch.searchsorted(cumulated, place, right=True).squeeze(1)
    return tokens.clamp(max=logits.shape[1] - 1)


def take_rows(state: State, rows: Tensor) -> State:
    """Reorder, repeat or drop rows."""
    return {name: tensor[rows] for name, tensor in state.items()}
