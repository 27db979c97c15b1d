"""Text that others wrote: read as any editor saves it, parsed however deep, shown safely.

Files that people write by hand, metadata of weights, manifests of packages, run folders, a
server's reasons and file names all come from elsewhere.
"""

from __future__ import annotations

import ast
import codecs
import inspect
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
"""The largest file that is read as text."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Notepad's "Unicode", and what `>` writes in PowerShell.
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Orders to a terminal (C0 and C1 but for tab and newline) and changes of the direction of writing:
# all that can make a line read as what it is not.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def read_text(path: Path) -> str:
    """The text of a file that people write: UTF-8, or what the mark in front says it is.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, or too large for one.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    return text.replace("\r\n", "\n")


def parse_json(text: str) -> Any:
    """JSON; nesting that nobody needs is an error like any other.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    return _parsed(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """TOML; nesting that nobody needs is an error like any other.

    Raises:
        ValueError: it is no TOML, or nested too deep.
    """
    parsed: dict[str, Any] = _parsed(tomllib.loads, text)
    return parsed


def _parsed(loads: Callable[[str], Any], text: str) -> Any:
    try:
        return loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def first_line(error: BaseException) -> str:
    """The first line of what an error says; the name of its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """The class of an error and the first line of what it says: `ValueError: no such size`."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def docstring(documented: Callable[..., object]) -> str:
    """The docstring of a function, out of its source where `python -OO` has dropped it."""
    if documented.__doc__ is not None:
        return inspect.cleandoc(documented.__doc__)
    [definition] = ast.parse(inspect.getsource(documented)).body
    assert isinstance(definition, ast.FunctionDef)
    return ast.get_docstring(definition) or ""


def visible(text: str) -> str:
    """The text with a mark in place of whatever a terminal would obey and not show."""
    return _UNSAFE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The same in one line, each run of spaces, tabs and newlines a single space."""
    return visible(" ".join(text.split()))
