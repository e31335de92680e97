"""Translation: line-aligned or tab-separated corpora, a sentencepiece model per side, batches of like lengths."""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from training.config import Config, ProblemConfig, RecipeError, Task
from training.problems.base import Batch
from training.problems.text import Tokenizer, seed_sampling, train_tokenizer
from training.vocabulary import EOS, PAD, UNK

POOL_BATCHES = 200
"""Sentences are sorted by length within pools of about this many batches: large, for little padding, yet well mixed."""


class TextPair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class EncodedPair(NamedTuple):
    """A pair as ids, both sides ending in `eos`."""

    source: list[int]
    target: list[int]


class AlignedCorpus(Config):
    """Two files, line i of one the translation of line i of the other; `.gz` or plain, paths relative to the data folder.

    `sentences_per_epoch`: None takes all in every epoch; a number takes a fresh random sample of that many.
    """

    source: str
    target: str
    sentences_per_epoch: int | None = Field(default=None, ge=1)

    def read(self, data: Path) -> list[TextPair]:
        """Read every pair."""
        source, target = read_lines(data / self.source), read_lines(data / self.target)
        if len(source) != len(target):
            raise RecipeError(
                f"{self.source} has {len(source)} lines and {self.target} {len(target)}; allowed: as many"
            )
        if not source:
            raise RecipeError(f"{self.source}: has no lines; allowed: at least one")
        return [TextPair(*pair) for pair in zip(source, target, strict=True)]


class TabSeparatedCorpus(Config):
    """One file with a pair a line, in the columns (from 0) named; `.gz` or plain, path relative to the data folder.

    `sentences_per_epoch`: as for AlignedCorpus.
    """

    tab_separated: str
    source_column: int = Field(default=0, ge=0)
    target_column: int = Field(default=1, ge=0)
    sentences_per_epoch: int | None = Field(default=None, ge=1)

    def read(self, data: Path) -> list[TextPair]:
        """Read every pair; a line with too few columns is an error."""
        pairs = []
        for number, line in enumerate(read_lines(data / self.tab_separated), start=1):
            columns = line.split("\t")
            if len(columns) <= max(self.source_column, self.target_column):
                raise RecipeError(
                    f"{self.tab_separated}, line {number}: {len(columns)} columns, fewer than the recipe names"
                )
            pairs.append(TextPair(columns[self.source_column], columns[self.target_column]))
        if not pairs:
            raise RecipeError(f"{self.tab_separated}: has no lines; allowed: at least one")
        return pairs


Corpus = AlignedCorpus | TabSeparatedCorpus


class BatchLimits(Config):
    """How sentences make batches.

    Attributes:
        tokens: most positions of a batch: its sentences times its longest source or target, padding counted.
        max_length: pairs with a side of more ids than this, `eos` counted, are left out of training.
    """

    tokens: int = Field(default=2048, ge=8)
    max_length: int = Field(default=64, ge=2)


class SubwordSampling(Config):
    """Cutting words differently each time they are seen: more text out of little. Kudo 2018, arXiv:1804.10959.

    Attributes:
        smoothing: above 0; 1 draws segmentations by their probability, less makes rare ones likelier (0.1 to 0.5 are usual).
        share: of the sentences of an epoch, each side by itself, that are cut anew; the others keep the likeliest segmentation,
            which is what is served.
    """

    smoothing: float = Field(default=0.3, gt=0, le=1)
    share: float = Field(default=0.5, gt=0, le=1)


class TranslationConfig(ProblemConfig):
    """The `problem` section of a translation recipe.

    Attributes:
        subword_sampling: None, the default, keeps the likeliest segmentation of every sentence.
        tokenizer_sentences: how many pairs of each corpus, spread over it, the tokenizers are trained on; None: all.
    """

    kind: Literal["translation"]
    task: ClassVar[Task] = "translation"
    needs_data: ClassVar[bool] = True
    tokenizer_files: ClassVar[tuple[str, ...]] = ("source.model", "target.model")
    training: tuple[Corpus, ...] = Field(min_length=1)
    validation: Corpus
    source_vocabulary_size: int = Field(default=6000, ge=8)
    target_vocabulary_size: int = Field(default=6000, ge=8)
    tokenizer_sentences: int | None = Field(default=None, ge=1)
    batch: BatchLimits = BatchLimits()
    subword_sampling: SubwordSampling | None = None

    def build(self, data: Path | None, run: Path, seed: int) -> "TranslationProblem":
        """Read the corpora under `data`; train the tokenizers that `run` has not."""
        if data is None:
            return TranslationProblem(load_tokenizers(run), None, self.batch, seed)
        corpora = [corpus.read(data) for corpus in self.training]
        if not has_tokenizers(run):
            text = [pair for pairs in corpora for pair in spread(pairs, self.tokenizer_sentences)]
            source, target = (run / name for name in self.tokenizer_files)
            if not source.is_file():
                sentences = (pair.source for pair in text)
                train_tokenizer(sentences, self.source_vocabulary_size, source, plain_punctuation=True)
            if not target.is_file():
                train_tokenizer((pair.target for pair in text), self.target_vocabulary_size, target)
        tokenizers = load_tokenizers(run)
        sizes = [corpus.sentences_per_epoch for corpus in self.training]
        training = [
            Sampled(fit_for_training(tokenizers.encode(pairs), self.batch.max_length), size)
            for pairs, size in zip(corpora, sizes, strict=True)
        ]
        if not any(corpus.pairs for corpus in training):
            raise RecipeError(
                f"problem.batch.max_length: given {self.batch.max_length}, which leaves no training pair; "
                "allowed: more than the shortest pair's longer side has ids"
            )
        validation = self.validation.read(data)
        pairs = TextPairs(training, tokenizers.encode(validation), validation)
        return TranslationProblem(tokenizers, pairs, self.batch, seed, self.subword_sampling)


class Tokenizers(NamedTuple):
    """The source side's and the target side's."""

    source: Tokenizer
    target: Tokenizer

    def encode(self, pairs: Sequence[TextPair]) -> list[EncodedPair]:
        """Return the pairs as ids."""
        sources = self.source.encode_all([pair.source for pair in pairs])
        targets = self.target.encode_all([pair.target for pair in pairs])
        return [EncodedPair([*s, EOS], [*t, EOS]) for s, t in zip(sources, targets, strict=True)]


def fit_for_training(pairs: Sequence[EncodedPair], max_length: int) -> list[EncodedPair]:
    """Return the pairs with no side longer than `max_length`, `eos` counted, and no `unk` in the target, lest it be learnt."""
    return [pair for pair in pairs if max(len(pair.source), len(pair.target)) <= max_length and UNK not in pair.target]


@dataclass(frozen=True)
class Sampled:
    """A corpus, and how many of its pairs an epoch takes at random (None: all)."""

    pairs: list[EncodedPair]
    size: int | None

    def draw(self, random: np.random.Generator) -> list[EncodedPair]:
        """Return one epoch's pairs."""
        if self.size is None or self.size >= len(self.pairs):
            return self.pairs
        return [self.pairs[index] for index in random.choice(len(self.pairs), self.size, replace=False)]


@dataclass(frozen=True)
class TextPairs:
    """All data of a problem of text to text; `validation_text` is `validation` as people wrote it, in the same order."""

    training: list[Sampled]
    validation: list[EncodedPair]
    validation_text: list[TextPair]


class TranslationProblem:
    """Batches of sentence pairs; also the problem of any toy that maps text to text."""

    def __init__(
        self,
        tokenizers: Tokenizers,
        pairs: TextPairs | None,
        limits: BatchLimits,
        seed: int,
        sampling: SubwordSampling | None = None,
    ) -> None:
        self.tokenizers = tokenizers
        self._sampling = sampling
        self._pairs = pairs
        self._limits = limits
        self._seed = seed

    @property
    def pairs(self) -> TextPairs:
        """The data; RecipeError where the problem was made without."""
        if self._pairs is None:
            raise RecipeError("data: none given, and batches of this problem need it; allowed: the data folder")
        return self._pairs

    def training_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield one epoch: all or a fresh sample of each corpus, sorted within pools, the batches shuffled."""
        random = np.random.default_rng([self._seed, epoch])
        drawn = [pair for corpus in self.pairs.training for pair in corpus.draw(random)]
        order = random.permutation(len(drawn))
        shuffled = self._cut_anew([drawn[index] for index in order], random)
        groups = list(group_by_length(shuffled, self._limits.tokens))
        for index in random.permutation(len(groups)):
            yield make_batch(groups[index])

    def _cut_anew(self, pairs: list[EncodedPair], random: np.random.Generator) -> list[EncodedPair]:
        """Return the pairs of an epoch with some of their sides in other pieces; those that become too long stay as they are."""
        if self._sampling is None:
            return pairs
        seed_sampling(int(random.integers(2**31)))
        smoothing, share = self._sampling.smoothing, self._sampling.share
        cut = []
        for pair, (source, target) in zip(pairs, random.random((len(pairs), 2)) < share, strict=True):
            other = EncodedPair(
                [*self.tokenizers.source.sample(pair.source, smoothing), EOS] if source else pair.source,
                [*self.tokenizers.target.sample(pair.target, smoothing), EOS] if target else pair.target,
            )
            cut += fit_for_training([other], self._limits.max_length) or [pair]
        return cut

    def validation_batches(self) -> Iterator[Batch]:
        """Yield the held-back pairs in their own order, 64 a batch."""
        pairs = self.pairs.validation
        for start in range(0, len(pairs), 64):
            yield make_batch(pairs[start : start + 64])

    @property
    def metrics(self) -> tuple[str, ...]:
        """See ScoredProblem."""
        return ("bleu",)

    def longest_answer(self, inputs: Mapping[str, Tensor]) -> int:
        """See ScoredProblem."""
        return 2 * inputs["source_tokens"].shape[1] + 10

    def score(self, answers: Sequence[Sequence[int]]) -> dict[str, float]:
        """Return BLEU in percent without case (Papineni et al. 2002; sacrebleu's own tokens), of the held-back sentences."""
        translations = [self.tokenizers.target.decode(answer) for answer in answers]
        references = [pair.target for pair in self.pairs.validation_text]
        return {"bleu": float(BLEU(lowercase=True).corpus_score(translations, [references]).score)}

    def words(self, targets: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """See TextProblem; in lower case, as they are scored."""
        return [tuple(self.tokenizers.target.decode(target).lower().split()) for target in targets]

    def training_references(self) -> list[list[list[int]]]:
        """Return the target of each training pair."""
        return [[pair.target] for corpus in self.pairs.training for pair in corpus.pairs]


def group_by_length(pairs: Sequence[EncodedPair], tokens: int) -> Iterator[list[EncodedPair]]:
    """Cut pairs into groups of like lengths, each of at most `tokens` positions a side, padding counted.

    A pair longer than `tokens` makes a group of its own.
    """
    mean_length = sum(max(len(pair.source), len(pair.target)) for pair in pairs) / max(1, len(pairs))
    pool_size = max(1, int(POOL_BATCHES * tokens / max(1.0, mean_length)))
    for start in range(0, len(pairs), pool_size):
        group: list[EncodedPair] = []
        longest = 0
        for pair in sorted(pairs[start : start + pool_size], key=lambda pair: (len(pair.target), len(pair.source))):
            longest = max(longest, len(pair.source), len(pair.target))
            if group and longest * (len(group) + 1) > tokens:
                yield group
                group, longest = [], max(len(pair.source), len(pair.target))
            group.append(pair)
        if group:
            yield group


def make_batch(pairs: Sequence[EncodedPair]) -> Batch:
    """Pad pairs into a batch, one source a target."""
    lengths = torch.tensor([len(pair.source) for pair in pairs])
    inputs = {"source_tokens": pad([pair.source for pair in pairs]), "source_lengths": lengths}
    return Batch(inputs, torch.arange(len(pairs)), pad([pair.target for pair in pairs]))


def pad(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return (B, longest) int64, each sequence followed by `pad`."""
    padded = torch.full((len(sequences), max(map(len, sequences))), PAD)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.tensor(sequence)
    return padded


def spread(pairs: Sequence[TextPair], count: int | None) -> Sequence[TextPair]:
    """Return `count` or somewhat more pairs at even distances; all where `count` is None."""
    return pairs if count is None else pairs[:: max(1, len(pairs) // count)]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file, plain or gzip by its name, without line ends; RecipeError where it is none."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:  # EOFError: a gzip file cut short
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    return text.removesuffix("\n").split("\n") if text else []


def has_tokenizers(run: Path) -> bool:
    """Tell whether both tokenizers are in the run folder."""
    return all((run / name).is_file() for name in TranslationConfig.tokenizer_files)


def load_tokenizers(run: Path) -> Tokenizers:
    """Load both sides' tokenizers of a run; RecipeError where they are missing."""
    if not has_tokenizers(run):
        raise RecipeError(f"{run}: has no source.model and target.model; allowed: a run that was begun with its data")
    return Tokenizers(Tokenizer(run / "source.model"), Tokenizer(run / "target.model"))
