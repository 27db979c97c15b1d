"""Text from elsewhere: with marks in front, nested without end, full of orders to a terminal."""

import codecs
import io
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from zoo.color.prior import read_prior, write_prior
from zoo.console import PlainConsole
from zoo.text import one_line, parse_json, parse_toml, read_text, visible

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J [bold]x[/bold] :smile: \u202egpj.exe\r\x08"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_editor_may_have_written_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "file").write_bytes("name = 'ä'\r\nnext = 1\n".encode(encoding))
    assert parse_toml(read_text(tmp_path / "file")) == {"name": "ä", "next": 1}


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff\xfe\x00", codecs.BOM_UTF8 + b"\xff"])
def test_what_is_no_text_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_text(tmp_path / "file")


@pytest.mark.parametrize("parse", [parse_json, parse_toml])
def test_endless_nesting_is_an_error_like_others(parse) -> None:
    for text in ("[" * 100_000, "x = " + "[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(ValueError, match=r"."):
            parse(text)


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    every = "".join(map(chr, range(0x3000)))
    left = {c for c in visible(every) if unicodedata.category(c) == "Cc"}
    assert left == {"\t", "\n"}
    bidirectional = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    assert not any(unicodedata.bidirectional(c) in bidirectional for c in visible(every))
    assert visible("Ä中🙂\u200d🎨") == "Ä中🙂\u200d🎨"
    assert one_line("a\n\tb\x1b") == "a b\ufffd"


def test_the_console_shows_what_it_is_told_and_keeps_its_own_colours() -> None:
    stream = io.StringIO()
    console = PlainConsole(file=stream, force_terminal=True, width=120, color_system="standard")
    table = Table(EVIL)
    table.add_row(EVIL)
    console.print(EVIL, style="red")
    console.print(table)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bars:
        bars.add_task(EVIL)
    shown = stream.getvalue()
    assert "\x1b[31m" in shown  # red, by the console itself
    assert "\x1b]0" not in shown
    assert not set(shown) & {"\x07", "\x9b", "\x08", "\u202e"}
    assert shown.count("[bold]x[/bold] :smile:") >= 3


def test_a_pipe_is_never_wrapped_even_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    PlainConsole(file=stream).print("x" * 500)
    assert "x" * 500 in stream.getvalue()


def test_a_spreadsheet_may_have_saved_the_prior(tmp_path: Path) -> None:
    import torch

    prior = torch.full((313,), 1 / 313, dtype=torch.float64)
    write_prior(tmp_path / "p.csv", prior)
    (tmp_path / "p.csv").write_bytes(codecs.BOM_UTF8 + (tmp_path / "p.csv").read_bytes())
    assert torch.equal(read_prior(tmp_path / "p.csv"), prior)


@pytest.mark.long
def test_help_and_promises_need_no_docstrings() -> None:
    def said(*flags: str) -> list[str]:
        commands = (["--help"], ["weights", "list", "--help"], ["check", "--list"])
        return [
            subprocess.run(
                [sys.executable, *flags, "-m", "zoo", *words],
                capture_output=True,
                check=True,
                encoding="utf-8",
            ).stdout
            for words in commands
        ]

    assert said("-OO") == said()
