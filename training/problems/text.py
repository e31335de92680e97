"""Text to subword ids: sentencepiece models trained on a run's own data. Kudo 2018, arXiv:1804.10959."""

import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from training.config import RecipeError
from training.vocabulary import BOS, EOS, PAD, UNK

REQUIRED_CHARACTERS = string.digits + string.ascii_letters + string.punctuation
"""Part of every vocabulary, however rare: in captions a 7 is rarer than coverage alone would keep."""

PLAIN_PUNCTUATION = {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-"}
"""Signs that phones and word processors write, and how corpora do."""


class Tokenizer:
    """A trained sentencepiece model."""

    def __init__(self, path: Path) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    @property
    def size(self) -> int:
        """Number of ids, the four special ones included."""
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without `bos` and `eos`."""
        return list(self._processor.encode(text))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [list(ids) for ids in self._processor.encode(list(texts))]

    def sample(self, ids: Sequence[int], smoothing: float) -> list[int]:
        """Return other ids of the same text, drawn from all ways to cut it, each by its probability to the power `smoothing`.

        Subword regularisation, Kudo 2018 (arXiv:1804.10959, section 3); the draw is sentencepiece's, see `seed_sampling`.
        """
        text = self.decode(ids)
        return list(self._processor.encode(text, enable_sampling=True, alpha=smoothing, nbest_size=-1))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; special ids leave no trace, but for `unk`."""
        return str(self._processor.decode([int(token) for token in ids]))


def seed_sampling(seed: int) -> None:
    """Seed the draws of `Tokenizer.sample`, of all tokenizers of this process."""
    sentencepiece.set_random_generator_seed(seed)


def train_tokenizer(
    sentences: Iterable[str],
    vocabulary_size: int,
    path: Path,
    *,
    model_type: Literal["unigram", "bpe"] = "unigram",
    required: str = REQUIRED_CHARACTERS,
    plain_punctuation: bool = False,
) -> Tokenizer:
    """Train a model and write it to `path`, whole or not at all.

    Args:
        sentences: the training text, case and punctuation as users write them.
        vocabulary_size: most ids, special ones included; text too small for it gets fewer.
        path: where the `.model` file goes.
        model_type: `bpe` keeps the frequent words of a small corpus whole, where `unigram` takes some apart.
        required: characters that are part of the vocabulary, however rare.
        plain_punctuation: whether the tokenizer reads curly quotes and long dashes as plain ones; for sources, whose signs are
            read, but not for targets, whose signs are written.

    Raises:
        RecipeError: no such model can be trained, such as one with fewer ids than required characters.
    """
    beside = path.with_suffix(".partial")
    try:
        with beside.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=file,
                model_type=model_type,
                vocab_size=vocabulary_size,
                hard_vocab_limit=False,
                character_coverage=0.99997,
                required_chars=required,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                num_threads=1,
                minloglevel=2,
                normalizer=_plain_normalizer() if plain_punctuation else None,
            )
    except RuntimeError as error:
        beside.unlink()
        raise RecipeError(f"{path.name}: a tokenizer of {vocabulary_size} ids cannot be trained: {error}") from error
    beside.replace(path)
    return Tokenizer(path)


def _plain_normalizer() -> sentencepiece.SentencePieceNormalizer:
    """Return sentencepiece's usual normalizer with PLAIN_PUNCTUATION added."""
    usual = dict(sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc").decompile())
    return sentencepiece.SentencePieceNormalizer(norm_map=list({**usual, **PLAIN_PUNCTUATION}.items()))
