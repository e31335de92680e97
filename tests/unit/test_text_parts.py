"""What of a running search is shown as text, worked out by hand; at random in tests/properties/test_streaming.py."""

import pytest

from serving.decoding.request import Progress
from serving.tasks.text import Tokenizer
from serving.tasks.text_parts import TextPart, TextParts
from tests.fakes.bundles import train_tokenizer


@pytest.fixture
def tokenizer_of(tmp_path):
    def train(sentences, **settings):
        train_tokenizer(tmp_path / "target.model", sentences, **settings)
        return Tokenizer(tmp_path / "target.model")

    return train


@pytest.fixture
def german(tokenizer_of):
    return tokenizer_of(["ein hund läuft", "ein hund steht", "ein mann läuft"], byte_fallback=True)


def stream(tokenizer, text, steps):
    """Tell of the tokens of a text: so many are there, so many of them certain; return what is shown."""
    ids = tokenizer.encode(text)
    parts = TextParts(tokenizer)
    return [parts.next(Progress(tuple(ids[:count]), certain)) for count, certain in steps]


def test_a_word_is_committed_once_the_next_one_has_begun(german):
    ids = german.encode("ein hund läuft")
    second = next(place for place in range(1, len(ids)) if german.begins_word(ids[place]))
    shown = stream(german, "ein hund läuft", [(second, second), (second + 1, second + 1)])
    assert shown[0] == TextPart("", "ein", 1)
    assert shown[1].committed_text == "ein"


def test_what_is_not_certain_is_shown_as_tentative(german):
    ids = german.encode("ein hund läuft")
    (shown,) = stream(german, "ein hund läuft", [(len(ids), 0)])
    assert shown == TextPart("", "ein hund läuft", 1)


def test_nothing_is_said_twice(german):
    assert stream(german, "ein hund läuft", [(3, 2), (3, 2)])[1] is None


def test_the_last_part_commits_the_rest(german):
    ids = german.encode("ein hund läuft")
    parts = TextParts(german)
    first = parts.next(Progress(tuple(ids), len(ids)))
    assert first == TextPart("ein hund", " läuft", 1)
    assert parts.last("ein hund läuft") == TextPart(" läuft", "", 2)


def test_an_empty_answer_is_one_empty_part(german):
    assert TextParts(german).last("") == TextPart("", "", 1)


def test_half_of_a_character_is_not_shown(german):
    ids = german.encode("ein ☃")
    assert len(ids) >= 4, "the snowman is three bytes"
    shown = stream(german, "ein ☃", [(count, 0) for count in range(1, len(ids))])
    assert not any("\ufffd" in part.tentative_text for part in shown if part is not None)


def test_scripts_without_spaces_are_committed_character_by_character(tokenizer_of):
    japanese = tokenizer_of(["東京に行く", "京都に行く", "東京で会う"])
    ids = japanese.encode("東京に行く")
    (shown,) = stream(japanese, "東京に行く", [(len(ids), len(ids))])
    assert shown.committed_text == japanese.decode(ids[:-1])


def test_a_word_of_syllable_blocks_is_committed_whole(tokenizer_of):
    """Korean is written with spaces, though its blocks are as wide as Chinese characters."""
    korean = tokenizer_of(["한국어를 배우는 사람", "한국말을 배우는 친구", "영어를 가르치는 사람"])
    ids = korean.encode("한국어를 배우는 사람")
    parts, committed = TextParts(korean), ""
    for count in range(1, len(ids) + 1):
        part = parts.next(Progress(tuple(ids[:count]), count))
        committed += "" if part is None else part.committed_text
        assert committed in {"", "한국어를", "한국어를 배우는"}
    assert committed == "한국어를 배우는"
