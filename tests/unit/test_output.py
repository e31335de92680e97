"""Tables in a file or a pipe, where no terminal says how wide they may be."""

from rich.table import Table

from beamstep.output import output_console

WIDE = [f"figure number {number}" for number in range(10)]


def printed(capsys) -> str:
    table = Table()
    for name in WIDE:
        table.add_column(name)
    output_console().print(table)
    return capsys.readouterr().out


def test_a_pipe_gets_every_column_whole(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    output = printed(capsys)
    assert all(name in output for name in WIDE)
    assert len(max(output.splitlines(), key=len)) < 240, "no wider than the table is"


def test_columns_say_how_wide_it_may_be(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "72")
    assert len(max(printed(capsys).splitlines(), key=len)) <= 72
