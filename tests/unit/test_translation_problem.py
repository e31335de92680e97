"""Corpora to batches: every pair once an epoch, like lengths together, the same batches for the same seed and epoch."""

import gzip
from collections import Counter
from pathlib import Path

import pytest
import torch

from training.config import RecipeError
from training.problems.base import Batch, ScoredProblem, TextProblem
from training.problems.reverse import ReverseConfig
from training.problems.translation import (
    EncodedPair,
    SubwordSampling,
    TranslationConfig,
    TranslationProblem,
    fit_for_training,
    group_by_length,
    read_lines,
)
from training.vocabulary import EOS, PAD, UNK

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
TRANSLATED = ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht")


def sentence(words: tuple[str, ...], number: int) -> str:
    return " ".join(words[(number * factor) % 8] for factor in range(1, 2 + number % 6))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 60 aligned pairs, 40 tab-separated ones and 5 held-back ones."""
    folder = tmp_path_factory.mktemp("data")
    for name, words in (("train.en", WORDS), ("train.de", TRANSLATED)):
        text = "".join(f"{sentence(words, number)}\n" for number in range(60))
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    pairs = [f"{sentence(WORDS, n)}\t{sentence(TRANSLATED, n)}\tsource" for n in range(100, 140)]
    (folder / "more.tsv").write_text("\n".join(pairs), encoding="utf-8")
    for name, words in (("val.en", WORDS), ("val.de", TRANSLATED)):
        (folder / name).write_text("".join(f"{sentence(words, n)}\n" for n in range(200, 205)), encoding="utf-8")
    return folder


CONFIG = TranslationConfig.model_validate(
    {
        "kind": "translation",
        "training": [
            {"source": "train.en.gz", "target": "train.de.gz"},
            {"tab_separated": "more.tsv", "sentences_per_epoch": 15},
        ],
        "validation": {"source": "val.en", "target": "val.de"},
        "source_vocabulary_size": 130,
        "target_vocabulary_size": 130,
        "batch": {"tokens": 120, "max_length": 60},
    }
)


@pytest.fixture(scope="module")
def problem(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TranslationProblem:
    return CONFIG.build(data, tmp_path_factory.mktemp("run"), seed=1)


def texts_of(problem: TranslationProblem, batch: Batch) -> list[tuple[str, str]]:
    source, target = problem.tokenizers
    rows = zip(batch.inputs["source_tokens"].tolist(), batch.target.tolist(), strict=True)
    return [(source.decode(s), target.decode(t)) for s, t in rows]


def test_an_epoch_is_all_of_one_corpus_and_a_sample_of_the_other(problem: TranslationProblem) -> None:
    seen = Counter(pair for batch in problem.training_batches(0) for pair in texts_of(problem, batch))
    whole = Counter((sentence(WORDS, n), sentence(TRANSLATED, n)) for n in range(60))
    sampled = Counter((sentence(WORDS, n), sentence(TRANSLATED, n)) for n in range(100, 140))
    assert whole <= seen
    assert (seen - whole).total() == 15
    assert seen - whole <= sampled


def test_an_epoch_is_the_same_whenever_it_is_asked_for_and_differs_from_the_next(problem: TranslationProblem) -> None:
    def tokens(epoch: int) -> list[list[list[int]]]:
        return [batch.target.tolist() for batch in problem.training_batches(epoch)]

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)


def test_a_batch_is_padded_ends_in_eos_and_keeps_to_its_limit(problem: TranslationProblem) -> None:
    for batch in problem.training_batches(0):
        tokens, lengths = batch.inputs["source_tokens"], batch.inputs["source_lengths"]
        assert max(tokens.numel(), batch.target.numel()) <= 120
        assert torch.equal((tokens != PAD).sum(1), lengths)
        assert torch.equal(tokens.gather(1, lengths.unsqueeze(1) - 1), torch.full((len(tokens), 1), EOS))
        assert torch.equal((batch.target == EOS).sum(1), torch.ones(len(tokens), dtype=torch.int64))
        assert torch.equal(batch.source, torch.arange(len(tokens)))


def test_held_back_pairs_come_in_their_own_order(problem: TranslationProblem) -> None:
    got = [pair for batch in problem.validation_batches() for pair in texts_of(problem, batch)]
    assert got == [tuple(pair) for pair in problem.pairs.validation_text]
    assert len(got) == 5


def test_groups_hold_every_pair_and_pad_little() -> None:
    pairs = [EncodedPair([4] * (1 + n % 9), [5] * (1 + n % 7)) for n in range(500)]
    groups = list(group_by_length(pairs, tokens=64))
    assert Counter(str(pair) for group in groups for pair in group) == Counter(map(str, pairs))
    padded = sum(len(group) * max(len(pair.target) for pair in group) for group in groups)
    assert padded <= 1.05 * sum(len(pair.target) for pair in pairs)


def test_a_pair_over_the_limit_makes_a_group_of_its_own() -> None:
    pairs = [EncodedPair([4], [5]), EncodedPair([4] * 50, [5])]
    assert sorted(map(len, group_by_length(pairs, tokens=10))) == [1, 1]


def test_training_leaves_out_long_pairs_and_unknown_targets() -> None:
    good, long, unknown = EncodedPair([UNK, EOS], [4, EOS]), EncodedPair([4] * 9, [4]), EncodedPair([4], [UNK, EOS])
    assert fit_for_training([good, long, unknown], max_length=8) == [good]


def test_rare_digits_and_signs_are_part_of_every_vocabulary(problem: TranslationProblem) -> None:
    text = "7 & Q?"
    for tokenizer in problem.tokenizers:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_source_s_curly_signs_are_read_as_plain_ones(problem: TranslationProblem) -> None:
    source, target = problem.tokenizers
    assert source.encode("“six” – it’s") == source.encode('"six" - it\'s')
    assert UNK in target.encode("’")


def test_the_other_side_s_tokenizer_is_made_where_one_came_from_an_earlier_run(data: Path, tmp_path: Path) -> None:
    earlier, new = tmp_path / "earlier", tmp_path / "new"
    earlier.mkdir()
    new.mkdir()
    CONFIG.build(data, earlier, seed=1)
    (new / "source.model").write_bytes((earlier / "source.model").read_bytes())
    smaller = CONFIG.model_copy(update={"source_vocabulary_size": 104, "target_vocabulary_size": 104})
    source, target = smaller.build(data, new, seed=1).tokenizers
    assert (new / "source.model").read_bytes() == (earlier / "source.model").read_bytes()
    assert source.size > 104 >= target.size


def test_a_run_s_tokenizers_are_made_once_and_suffice_without_the_data(data: Path, tmp_path: Path) -> None:
    CONFIG.build(data, tmp_path, seed=1)
    before = (tmp_path / "source.model").read_bytes()
    CONFIG.build(data, tmp_path, seed=2)
    assert (tmp_path / "source.model").read_bytes() == before
    without = CONFIG.build(None, tmp_path, seed=1)
    assert without.tokenizers.target.size > UNK
    with pytest.raises(RecipeError, match="data: none given"):
        next(without.training_batches(0))


def test_neither_data_nor_tokenizers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no source\.model"):
        CONFIG.build(None, tmp_path, seed=1)


def test_corpora_that_do_not_fit_their_description_are_refused(data: Path, tmp_path: Path) -> None:
    uneven = CONFIG.model_validate({**CONFIG.model_dump(), "validation": {"source": "val.en", "target": "train.de.gz"}})
    with pytest.raises(RecipeError, match=r"val\.en has 5 lines and train\.de\.gz 60"):
        uneven.build(data, tmp_path, seed=1)
    narrow = {"tab_separated": "more.tsv", "target_column": 3}
    with pytest.raises(RecipeError, match=r"more\.tsv, line 1: 3 columns"):
        CONFIG.model_validate({**CONFIG.model_dump(), "validation": narrow}).build(data, tmp_path, seed=1)
    with pytest.raises(RecipeError, match=r"absent\.txt: cannot be read"):
        read_lines(data / "absent.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.gz", gzip.compress(b"one two three\n")[:-9]),
        ("damaged.gz", gzip.compress(b"one two three\n")[:10] + b"\xff" * 20),
        ("plain.gz", b"one two three\n"),
        ("latin", "fünf\n".encode("latin-1")),
    ],
)
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=rf"{name}: cannot be read"):
        read_lines(tmp_path / name)


def test_corpora_that_give_no_pair_to_train_on_are_refused(data: Path, tmp_path: Path) -> None:
    (data / "empty").touch()
    (data / "long").write_text("one two three four\n", encoding="utf-8")
    only_long = {"training": [{"source": "long", "target": "long"}], "batch": {"max_length": 2}}
    changes: list[tuple[dict[str, object], str]] = [
        ({"training": [{"source": "empty", "target": "empty"}]}, "empty: has no lines"),
        ({"validation": {"tab_separated": "empty"}}, "empty: has no lines"),
        (only_long, r"problem\.batch\.max_length: given 2, which leaves no training pair"),
    ]
    for change, said in changes:
        with pytest.raises(RecipeError, match=said):
            CONFIG.model_validate({**CONFIG.model_dump(), **change}).build(data, tmp_path, seed=1)


def test_a_vocabulary_too_small_for_the_required_characters_is_refused(data: Path, tmp_path: Path) -> None:
    small = CONFIG.model_validate({**CONFIG.model_dump(), "source_vocabulary_size": 8})
    with pytest.raises(RecipeError, match=r"source\.model: a tokenizer of 8 ids cannot be trained.*8 vs"):
        small.build(data, tmp_path, seed=1)
    assert not list(tmp_path.iterdir())


def test_a_line_keeps_characters_that_only_look_like_line_ends(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("one\u2028still one\ntwo\n".encode())
    assert read_lines(tmp_path / "text") == ["one\u2028still one", "two"]


def test_reverse_makes_pairs_of_letters_and_their_reverse(tmp_path: Path) -> None:
    config = ReverseConfig(kind="reverse", letters="abc", max_length=4, training_pairs=50, validation_pairs=20)
    problem = config.build(None, tmp_path, seed=1)
    pairs = problem.pairs.validation_text
    assert len(pairs) == 20
    for source, target in pairs:
        assert target.split() == source.split()[::-1]
        assert 1 <= len(source.split()) <= 4
    # A letter is one token on either side.
    assert problem.tokenizers.source.size == problem.tokenizers.target.size
    assert all(len(pair.source) == len(pair.target) for pair in problem.pairs.validation)


def test_answers_are_scored_against_the_held_back_sentences(problem: TranslationProblem) -> None:
    right = [pair.target[:-1] for pair in problem.pairs.validation]
    assert problem.score(right)["bleu"] == pytest.approx(100)
    assert problem.score([right[-1]] * len(right))["bleu"] < 100
    assert set(problem.score(right)) == set(problem.metrics)
    assert isinstance(problem, ScoredProblem)
    assert isinstance(problem, TextProblem)
    assert problem.words([[*right[0], EOS]]) == [tuple(problem.pairs.validation_text[0].target.split())]
    assert len(problem.training_references()) == sum(len(corpus.pairs) for corpus in problem.pairs.training)


def test_sampled_subwords_say_the_same_in_other_pieces(data, problem, tmp_path) -> None:
    sampled = CONFIG.model_copy(update={"subword_sampling": SubwordSampling(smoothing=0.1, share=0.5)})
    other = sampled.build(data, tmp_path, seed=1)

    def rows(of: TranslationProblem, epoch: int) -> list[list[int]]:
        return sorted(row for batch in of.training_batches(epoch) for row in batch.target.tolist())

    def said(of: TranslationProblem) -> Counter[tuple[str, str]]:
        return Counter(pair for batch in of.training_batches(0) for pair in texts_of(of, batch) if pair[0])

    assert said(other) == said(problem), "the same sentences"
    assert rows(other, 0) == rows(other, 0), "for the same epoch, the same pieces"
    whole = {tuple(token for token in row if token != PAD) for row in rows(problem, 0)}
    cut = [tuple(token for token in row if token != PAD) for row in rows(other, 0)]
    kept = sum(row in whole for row in cut)
    assert 0 < kept < len(cut), "some sentences are cut anew, others are not"
    assert all(row[-1] == EOS for row in cut)
