"""What a request says of the words of its answer, cut into the target's pieces: prefixes, phrases to suppress and to require."""

from collections.abc import Sequence
from typing import Final

from serving.decoding.bans import SuppressedPhrases
from serving.decoding.phrases import RequiredPhrases
from serving.errors import InvalidRequest
from serving.tasks.options import check_count
from serving.tasks.text import CHARACTER_LIMIT, Tokenizer

PHRASE_CHARACTERS: Final = 200


def target_tokens(field: str, text: str, tokenizer: Tokenizer, unk: int | None) -> tuple[int, ...]:
    """Cut a text of the target side into tokens.

    Args:
        field: its name, for errors.
        text: any; "" gives no tokens.
        tokenizer: the target side's.
        unk: the id of what the vocabulary lacks, which no answer may be asked to hold.

    Raises:
        InvalidRequest: it is too long, or has characters that the model cannot write.
    """
    if not text:
        return ()
    if len(text) > CHARACTER_LIMIT:
        raise InvalidRequest(field, f"{len(text):,} characters", f"up to {CHARACTER_LIMIT:,} characters")
    tokens = tuple(tokenizer.encode(text))
    if unk in tokens:
        unknown = tokenizer.surfaces(text)[tokens.index(unk)]
        raise InvalidRequest(field, f"{unknown[:20]!r}, which the model's vocabulary lacks", "text that it can write")
    return tokens


def suppressed_phrases(phrases: Sequence[str], tokenizer: Tokenizer, pad: int) -> SuppressedPhrases:
    """Return what keeps phrases out of an answer."""
    _check_phrases("suppressed_phrases", phrases)
    written = ["".join(tokenizer.surfaces(phrase)) for phrase in phrases]
    _check_written("suppressed_phrases", written)
    return SuppressedPhrases.of(written, tokenizer.ids, tokenizer.vocabulary, pad)


def required_phrases(phrases: Sequence[str], tokenizer: Tokenizer, unk: int | None) -> RequiredPhrases:
    """Return what an answer must hold; of equal phrases one."""
    _check_phrases("required_phrases", phrases)
    cut = [
        target_tokens(f"options.required_phrases[{place}]", phrase, tokenizer, unk)
        for place, phrase in enumerate(phrases)
    ]
    _check_written("required_phrases", cut)
    return RequiredPhrases(tuple(dict.fromkeys(cut)), tokenizer.continuing)


def _check_phrases(name: str, phrases: Sequence[str]) -> None:
    check_count(name, len(phrases))
    for place, phrase in enumerate(phrases):
        field = f"options.{name}[{place}]"
        if len(phrase) > PHRASE_CHARACTERS:
            raise InvalidRequest(field, f"{len(phrase)} characters", f"up to {PHRASE_CHARACTERS} characters")
        if not phrase.strip():
            raise InvalidRequest(field, "empty" if not phrase else "white space", "at least one other character")


def _check_written(name: str, written: Sequence[Sequence[object]]) -> None:
    """Refuse phrases of which the tokenizer's normalisation leaves nothing."""
    for place, pieces in enumerate(written):
        if not pieces:
            field, allowed = f"options.{name}[{place}]", "at least one that it writes"
            raise InvalidRequest(field, "only characters that the model drops", allowed)
