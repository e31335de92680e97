"""What a run makes small: the cross-entropy of what people wrote, or minus the reward of what the model itself writes."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from training.config import Config, RecipeError
from training.decoding import Samples, draw, take_rows
from training.loss import smoothed_cross_entropy, symmetric_divergence, unevenness, weighed_cross_entropy
from training.models.base import LookingDecoder, SequenceToSequence
from training.problems.base import Batch, Problem, TextProblem
from training.rewards import END, BleuCounts, DocumentFrequencies, Words, bleu_gains, cider_d, count_for_bleu
from training.vocabulary import EOS, PAD

ROWS_AT_ONCE = 128
"""Samples that go through the decoder together, those of like length: padding was two fifths of a step."""

Objective = Callable[[SequenceToSequence, Batch], Tensor]
"""From a model in training mode and a batch to a scalar to go down from."""


class CrossEntropyConfig(Config):
    """Learn what people wrote, each token given those before it.

    Attributes:
        kind: `cross_entropy`, the default.
        consistency: how much it costs that two passes with other dropouts are apart: half the alpha of R-Drop, Liang et al. 2021
            (arXiv:2106.14448, eq. 4), since cross-entropy is the passes' mean here and their sum there. 0: one pass, half the time.
        evenness: how much it costs that a caption looks at some cells of its photo more than at others, in all its words together:
            the lambda of loss.unevenness. Of captioners only, and not with consistency.
    """

    kind: Literal["cross_entropy"]
    consistency: float = Field(default=0.0, ge=0)
    evenness: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_addition(self) -> "CrossEntropyConfig":
        """Refuse both: two passes look twice."""
        if self.consistency and self.evenness:
            raise ValueError(
                f"evenness: given {self.evenness:g} with consistency {self.consistency:g}; allowed: one of them"
            )
        return self

    def build(self, problem: Problem, label_smoothing: float) -> Objective:  # noqa: ARG002 - any problem will do
        """Return the objective, which raises RecipeError where evenness is asked of a model that cannot say where it looks."""

        def objective(model: SequenceToSequence, batch: Batch) -> Tensor:
            return smoothed_cross_entropy(
                model(batch.inputs, batch.source, batch.target), batch.target, label_smoothing
            )

        def consistent(model: SequenceToSequence, batch: Batch) -> Tensor:
            first, second = (model(batch.inputs, batch.source, batch.target) for _ in range(2))
            both = (smoothed_cross_entropy(logits, batch.target, label_smoothing) for logits in (first, second))
            return torch.stack(list(both)).mean() + self.consistency * symmetric_divergence(first, second, batch.target)

        def even(model: SequenceToSequence, batch: Batch) -> Tensor:
            if not isinstance(model.decoder, LookingDecoder):
                raise RecipeError(
                    f"training.objective.evenness: given {self.evenness:g} with a model that is no captioner; allowed: 0"
                )
            memory, state = model.read(batch.inputs, batch.source)
            logits, attention = model.decoder.look(batch.target, memory, state)
            loss = smoothed_cross_entropy(logits, batch.target, label_smoothing)
            return loss + self.evenness * unevenness(attention, memory.memory_mask, batch.target)

        if self.evenness:
            return even
        return consistent if self.consistency else objective


class RewardConfig(Config):
    """Write, and learn from what it was worth: self-critical training, for the last stage of a run that can already write.

    Williams 1992 (REINFORCE); Rennie et al. 2017 (arXiv:1612.00563); the baseline of a sample is the mean reward of the other
    samples of its source, Luo 2020 (arXiv:2003.09971, eq. 5): unbiased, and no second decoding.

    Attributes:
        kind: `reward`.
        cider: weight of CIDEr-D (0 to 10; about 0.5 to 1 for good captions) in the reward.
        bleu: weight of the log of BLEU-4, the batch's samples being the corpus.
        samples: answers drawn of each source.
        max_length: most tokens of one, `eos` counted.
    """

    kind: Literal["reward"]
    cider: float = Field(default=1.0, ge=0)
    bleu: float = Field(default=0.5, ge=0)
    samples: int = Field(default=5, ge=2)
    max_length: int = Field(default=30, ge=2)

    def build(self, problem: Problem, label_smoothing: float) -> Objective:  # noqa: ARG002 - nothing is smoothed
        """Return the objective; RecipeError where the problem's answers are no words."""
        if not isinstance(problem, TextProblem):
            raise RecipeError(
                "training.objective.kind: given 'reward' with answers that are no words; allowed: cross_entropy"
            )
        return RewardObjective(self, problem)


ObjectiveConfig = Annotated[CrossEntropyConfig | RewardConfig, Field(discriminator="kind")]


class RewardObjective:
    """Minus the mean reward of samples, and the policy gradient of it."""

    def __init__(self, config: RewardConfig, problem: TextProblem) -> None:
        self.config = config
        self.problem = problem
        groups = ([_ended(words) for words in problem.words(group)] for group in problem.training_references())
        self.frequencies = DocumentFrequencies.of(groups)

    def __call__(self, model: SequenceToSequence, batch: Batch) -> Tensor:
        """Draw samples, and return a scalar whose value is minus their reward and whose gradient is its estimate.

        The encoder runs once, with its dropout, and its memory serves both the drawing and one teacher-forced pass over what was
        drawn. The decoder draws without its dropout, and learns with it: without, the policy learnt the training images by heart.
        """
        memory, state = model.encoder(batch.inputs)
        model.decoder.eval()
        samples = draw(model.decoder, memory, state, self.config.samples, self.config.max_length)
        model.decoder.train()
        reward = self.reward(batch, samples)
        real = (samples.target != PAD).sum()
        advantage = advantages(torch.tensor(reward.shares, device=samples.target.device), self.config.samples)
        surrogate = torch.zeros(())
        for rows in samples.by_length(ROWS_AT_ONCE):
            source, target = samples.source[rows], samples.target[rows]
            target = target[:, : int((target != PAD).sum(1).max())]
            logits = model.decoder(target, memory.take(source), take_rows(state, source))
            part = policy_loss(logits, target, advantage[rows])
            surrogate = surrogate + part * ((target != PAD).sum() / real)
        return surrogate - surrogate.detach() - reward.total

    def reward(self, batch: Batch, samples: Samples) -> "Reward":
        """Return what the samples are worth, against the batch's targets of the same source."""
        references = self._words_by_source(batch.target.tolist(), batch.source.tolist())
        candidates = self._words_by_source(samples.answers(), samples.source.tolist())
        cider, counts = [], []
        for source, own in candidates.items():
            cider += cider_d(own, references[source], self.frequencies)
            counts += count_for_bleu(own, references[source])
        gains = bleu_gains(counts)
        shares = [self.config.cider * c + self.config.bleu * g for c, g in zip(cider, gains, strict=True)]
        log_bleu = BleuCounts.total(counts).log_bleu()
        return Reward(self.config.cider * sum(cider) / len(cider) + self.config.bleu * log_bleu, shares)

    def _words_by_source(self, targets: list[list[int]], source: list[int]) -> dict[int, list[Words]]:
        """Return the words of targets under their sources, in order; those that end in `eos` end in `END`."""
        grouped: dict[int, list[Words]] = {}
        for place, words, target in zip(source, self.problem.words(targets), targets, strict=True):
            grouped.setdefault(place, []).append(_ended(words) if EOS in target else words)
        return grouped


class Reward(NamedTuple):
    """What a batch of samples is worth.

    Attributes:
        total: mean CIDEr-D and log BLEU, weighted.
        shares: of each sample, what it adds to that, but for a constant.
    """

    total: float
    shares: list[float]


def advantages(rewards: Tensor, samples: int) -> Tensor:
    """Return each reward less the mean of the others of its source; rewards (N * samples,), those of a source together."""
    grouped = rewards.view(-1, samples)
    others = (grouped.sum(1, keepdim=True) - grouped) / (samples - 1)
    return (grouped - others).flatten()


def policy_loss(logits: Tensor, target: Tensor, advantage: Tensor) -> Tensor:
    """Return minus the mean over real tokens of advantage times log-prob. Rennie et al. 2017, eq. 6.

    Args:
        logits: (R, T, V), of any float type; -inf where not allowed.
        target: (R, T) int64, padded with `pad`.
        advantage: (R,) float32.
    """
    return weighed_cross_entropy(logits, target, advantage)


def _ended(words: Words) -> Words:
    """Return the words of a sentence that ended by itself."""
    return (*words, END)
