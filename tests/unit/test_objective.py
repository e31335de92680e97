"""Learning what people wrote, in one pass or two, and by reward: what is worth more becomes likelier, and nothing else moves it."""

import pytest
import torch
from pydantic import TypeAdapter

from tests.fakes.networks import noise
from tests.unit.test_captioning_models import SOURCE, TARGET, model_of
from tests.unit.test_torch_decoding import INPUTS, SOURCES, TableDecoder, TableEncoder
from training.config import RecipeError
from training.decoding import Samples
from training.loss import unevenness
from training.models.base import SequenceToSequence
from training.objective import CrossEntropyConfig, ObjectiveConfig, RewardConfig, advantages, policy_loss
from training.problems.base import Batch
from training.vocabulary import BOS, EOS, PAD

REFERENCE = [3, 4, 5]


class LongDecoder(TableDecoder):
    """A table that can also score whole targets."""

    def forward(self, target, memory, state):
        previous = torch.nn.functional.pad(target, (1, -1), value=BOS)
        logits = []
        for token in previous.unbind(1):
            scores, state, _ = self.step(token, memory, state)
            logits.append(scores)
        return torch.stack(logits, 1)


class Letters:
    """Targets whose ids are words; people always wrote the same."""

    def training_batches(self, epoch):
        yield from [batch_of()] * (epoch + 1)

    def validation_batches(self):
        yield from ()

    def words(self, targets):
        return [tuple(str(token) for token in target if token > EOS) for target in targets]

    def training_references(self):
        return [[[*REFERENCE, EOS]], [[4, 4, EOS]], [[5, EOS]]]


def batch_of(sources=SOURCES):
    target = torch.tensor([[*REFERENCE, EOS]] * sources)
    return Batch(INPUTS, torch.arange(sources), target)


def make_model():
    torch.manual_seed(4)
    return SequenceToSequence(TableEncoder(), LongDecoder())


def likelihood(model, batch):
    memory, state = model.encoder(batch.inputs)
    log_probs = model.decoder(batch.target, memory, state).log_softmax(-1)
    return log_probs.gather(2, batch.target.unsqueeze(2)).sum((1, 2)).exp()


def test_an_advantage_is_the_reward_less_the_mean_of_the_others() -> None:
    assert advantages(torch.tensor([1.0, 2.0, 6.0, 3.0, 3.0, 3.0]), 3).tolist() == [-3, -1.5, 4.5, 0, 0, 0]


class Passes:
    """A model whose two passes give two tables, as two dropouts would."""

    def __init__(self, *logits):
        self.logits = list(logits)

    def __call__(self, inputs, source, target):
        return self.logits.pop(0)


def test_two_passes_cost_their_mean_and_what_they_are_apart() -> None:
    first, second = torch.zeros(1, 1, 6), torch.zeros(1, 1, 6)
    second[..., 3] = 2.0
    batch = Batch(INPUTS, torch.arange(1), torch.tensor([[3]]))
    config = CrossEntropyConfig(kind="cross_entropy", consistency=2.5)
    loss = config.build(Letters(), 0.0)(Passes(first, second), batch)
    p, q = first.log_softmax(-1).flatten(), second.log_softmax(-1).flatten()
    apart = 0.5 * ((p.exp() - q.exp()) * (p - q)).sum()
    torch.testing.assert_close(loss, -(p[3] + q[3]) / 2 + 2.5 * apart)


def test_without_a_weight_on_consistency_there_is_one_pass() -> None:
    batch = Batch(INPUTS, torch.arange(1), torch.tensor([[3]]))
    loss = CrossEntropyConfig(kind="cross_entropy").build(Letters(), 0.0)(Passes(torch.zeros(1, 1, 6)), batch)
    assert loss.item() == pytest.approx(torch.tensor(6.0).log().item())


def test_evenness_adds_what_a_captioner_looked_at_unevenly() -> None:
    model = model_of("dot", dropout=0.0)
    batch = Batch({"image": noise(2)}, SOURCE, TARGET)
    plain, even = (
        CrossEntropyConfig(kind="cross_entropy", evenness=weight).build(Letters(), 0.1)(model, batch)
        for weight in (0.0, 0.5)
    )
    memory, state = model.read(batch.inputs, SOURCE)
    _, attention = model.decoder.look(TARGET, memory, state)
    torch.testing.assert_close(even - plain, 0.5 * unevenness(attention, memory.memory_mask, TARGET))
    even.backward()
    assert model.encoder.memory.weight.grad.abs().sum() > 0


def test_evenness_is_refused_where_nobody_says_what_is_looked_at() -> None:
    objective = CrossEntropyConfig(kind="cross_entropy", evenness=0.5).build(Letters(), 0.0)
    with pytest.raises(RecipeError, match=r"training\.objective\.evenness: given 0\.5 .* allowed: 0"):
        objective(make_model(), batch_of())
    with pytest.raises(ValueError, match=r"given 0\.5 with consistency 1; allowed: one of them"):
        CrossEntropyConfig(kind="cross_entropy", evenness=0.5, consistency=1.0)


def test_the_gradient_raises_the_better_sample_and_lowers_the_worse_one() -> None:
    logits = torch.zeros(2, 2, 5).index_fill(2, torch.tensor([PAD]), float("-inf")).requires_grad_()
    target = torch.tensor([[3, EOS], [4, PAD]])
    policy_loss(logits, target, torch.tensor([0.5, -0.5])).backward()
    slope = logits.grad
    assert slope[0, 0, 3] < 0 < slope[0, 0, 4]  # going down it raises 3, and lowers the others
    assert slope[1, 0, 4] > 0 > slope[1, 0, 3]
    assert not slope[1, 1].any()  # padding
    assert torch.isfinite(slope).all()


def test_reward_training_makes_what_people_wrote_likelier() -> None:
    model = make_model()
    model.decoder.table.data.zero_()  # every token as likely
    objective = RewardConfig(kind="reward", cider=0.1, bleu=0.5, samples=32, max_length=4).build(Letters(), 0.0)
    batch = batch_of()
    before = likelihood(model, batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    first = None
    for _ in range(120):
        loss = objective(model.train(), batch)
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (likelihood(model, batch) > before).all()
    assert likelihood(model, batch).min() > 0.5
    assert loss.item() < first  # minus the mean reward


def test_where_all_samples_are_worth_the_same_nothing_is_learnt() -> None:
    model = make_model()
    objective = RewardConfig(kind="reward", cider=0, bleu=0, samples=4, max_length=4).build(Letters(), 0.0)
    loss = objective(model.train(), batch_of())
    loss.backward()
    assert not model.decoder.table.grad.any()


def test_a_caption_that_breaks_off_is_worth_less_than_one_that_ends() -> None:
    objective = RewardConfig(kind="reward").build(Letters(), 0.0)
    samples = Samples(torch.tensor([0, 0]), torch.tensor([[*REFERENCE, EOS], [*REFERENCE, PAD]]))
    ended, broken_off = objective.reward(batch_of(1), samples).shares
    assert ended > broken_off


def test_the_reward_needs_words_and_the_recipe_chooses_by_kind() -> None:
    config = TypeAdapter(ObjectiveConfig).validate_python({"kind": "reward", "samples": 3})
    with pytest.raises(RecipeError, match="no words"):
        config.build(object(), 0.0)
