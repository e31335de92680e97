"""A text that is printed while it is still being decided: what a terminal shows of it, and what a file gets."""

import io
import re

import pytest
from rich.console import Console

from beamstep.live_text import print_parts
from beamstep.v1.translation_pb2 import StreamTranslateTextResponse

Part = StreamTranslateTextResponse
PARTS = [
    Part(tentative_text="Ein Hand", revision=1),
    Part(committed_text="Ein ", tentative_text="Hund", revision=2),
    Part(committed_text="Hund läuft", revision=3),
]
CODE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n])")
DIM = "2"


class Terminal(io.StringIO):
    """Understands as much of a terminal's language as Rich speaks here: colours, line feeds, and erasing lines upwards."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = [""]
        self.row = 0
        self.style = ""
        self.pictures = []

    def write(self, text):
        for argument, code, home, feed, letter in CODE.findall(text):
            if code == "A":
                self.row -= int(argument)
                assert self.row >= 0, "what has scrolled away cannot be rewritten"
            elif code == "K":
                self.rows[self.row] = ""
            elif code == "m":
                self.style = argument
            elif feed:
                self.row += 1
                self.rows += [""] * (self.row == len(self.rows))
            elif letter:
                self.rows[self.row] += letter.upper() if self.style == DIM else letter
            assert home or code in {"", "A", "K", "m", "h", "l"}
        return len(text)

    def flush(self):
        self.pictures.append("\n".join(self.rows).rstrip("\n"))


def console_of(terminal, width=40, height=10) -> Console:
    return Console(file=terminal, force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"})


def shown(parts, **size) -> list[str]:
    """Return the different pictures on a terminal, one after the other, what is dim in capitals."""
    terminal = Terminal()
    print_parts(console_of(terminal, **size), parts)
    pictures = [picture for picture in terminal.pictures if picture]
    return [picture for n, picture in enumerate(pictures) if n == 0 or pictures[n - 1] != picture]


def test_a_terminal_shows_what_is_certain_and_dim_behind_it_what_is_tentative():
    assert shown(PARTS) == ["EIN HAND", "Ein HUND", "Ein Hund läuft"]


def test_the_last_part_is_returned():
    assert print_parts(Console(file=io.StringIO()), PARTS) == PARTS[-1]
    assert print_parts(console_of(Terminal()), PARTS) == PARTS[-1]
    assert print_parts(Console(file=io.StringIO()), []) is None


def test_a_long_text_ends_as_one_line_for_the_terminal_to_wrap():
    words = [Part(committed_text=f"Wort{n} ", tentative_text="und so weiter") for n in range(12)]
    text = "".join(word.committed_text for word in words)
    assert shown([*words, Part(committed_text="Ende")], width=20)[-1] == text + "Ende"


def test_a_text_taller_than_the_terminal_shows_its_end_while_it_grows():
    words = [Part(committed_text=f"Wort{n:02} ") for n in range(30)]
    pictures = shown(words, width=14, height=4)
    assert pictures[-2].split() == ["Wort24", "Wort25", "Wort26", "Wort27", "Wort28", "Wort29"]
    assert pictures[-1].split() == [f"Wort{n:02}" for n in range(30)]


def test_markup_in_a_text_is_text():
    assert shown([Part(committed_text="[b]", tentative_text="[/x]"), Part(committed_text="[i]")])[-1] == "[b][i]"


def test_a_file_gets_what_is_certain_as_it_comes():
    file, written = io.StringIO(), []

    def parts():
        for part in PARTS:
            yield part
            written.append(file.getvalue())

    print_parts(Console(file=file), parts())
    assert written == ["", "Ein ", "Ein Hund läuft"]
    assert file.getvalue() == "Ein Hund läuft\n"


def test_a_terminal_that_cannot_go_back_gets_what_a_file_gets():
    file = io.StringIO()
    print_parts(Console(file=file, force_terminal=True, _environ={"TERM": "dumb"}), PARTS)
    assert file.getvalue() == "Ein Hund läuft\n"


def test_a_stream_that_fails_leaves_what_was_certain():
    def parts():
        yield from PARTS[:2]
        raise RuntimeError

    terminal, file = Terminal(), io.StringIO()
    for console in (console_of(terminal), Console(file=file)):
        with pytest.raises(RuntimeError):
            print_parts(console, parts())
    assert terminal.pictures[-1] == "Ein "
    assert file.getvalue() == "Ein "
