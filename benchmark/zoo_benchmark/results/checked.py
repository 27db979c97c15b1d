"""Values out of a folder that may be a stranger's: each is of its kind, or the file is damaged.

A check takes a value and its place, and gives the value back, text made safe to show.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.text import one_line, parse_json, read_text, visible

Check = Callable[[Any, str], Any]

_LARGEST = 2**53
_DEEPEST = 20
_SHOWN = 40


class DamagedError(ValueError):
    """A file that is not what it must be; the message names the place and the value."""


def read_object(file: Path, check: Check) -> dict[str, Any]:
    """A JSON object of a file, checked.

    Raises:
        DamagedError: it cannot be read, or a value in it is not of its kind.
    """
    try:
        loaded = parse_json(read_text(file))
    except OSError as error:
        raise DamagedError(f"{file.name}: {error.strerror or error}") from error
    except ValueError as error:
        raise DamagedError(f"{file.name} is no JSON: {error}") from error
    try:
        found: dict[str, Any] = check(loaded, "")
    except DamagedError as error:
        raise DamagedError(f"{file.name}: {error}") from None
    return found


def read_table(file: Path, texts: Collection[str], numbers: Collection[str]) -> pd.DataFrame:
    """A CSV file whose columns hold text or numbers as they must.

    Raises:
        DamagedError: it cannot be read, lacks a column, or has text where a number must be.
    """
    try:
        # A name may be "NA" or "007".
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                file,
                dtype=dict.fromkeys(texts, str),
                keep_default_na=False,
                na_values={column: ["", "nan", "NaN"] for column in numbers},
                index_col=False,
            )
    except (OSError, ValueError, OverflowError, pd.errors.ParserWarning) as error:
        raise DamagedError(f"{file.name} is no table: {one_line(str(error))}") from error
    if missing := [name for name in (*texts, *numbers) if name not in frame]:
        raise DamagedError(f"{file.name} lacks the column {missing[0]}")
    for name in numbers:
        if len(frame) and frame[name].dtype.kind not in "iuf":
            raise DamagedError(f"{file.name}: the column {name} holds what is no number")
    return frame


def text(value: Any, where: str) -> str:
    """Text of any length."""
    if not isinstance(value, str):
        raise _wrong(where, "text", value)
    return visible(value).encode("utf-8", "replace").decode()


def line(value: Any, where: str) -> str:
    """Text in one line."""
    return one_line(text(value, where))


def as_it_is(value: Any, where: str) -> str:
    """Text to open something with, every byte of a file's name kept; not to be shown so."""
    if not isinstance(value, str):
        raise _wrong(where, "text", value)
    return value


def name(value: Any, where: str) -> str:
    """The plain name of a file or folder, with nothing in it that leads elsewhere."""
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w=,.%~-]{0,254}", value, re.ASCII):
        raise _wrong(where, "a plain name", value)
    return value


def whole(value: Any, where: str) -> int:
    """A whole number, not negative."""
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise _wrong(where, "a whole number", value)
    return value


def number(value: Any, where: str) -> float:
    """A finite number."""
    if type(value) not in (int, float) or abs(value) > _LARGEST**3 or not math.isfinite(value):
        raise _wrong(where, "a number", value)
    return value  # type: ignore[no-any-return]


def positive(value: Any, where: str) -> float:
    """A finite number above 0."""
    if number(value, where) <= 0:
        raise _wrong(where, "a number above 0", value)
    return value  # type: ignore[no-any-return]


def score(value: Any, where: str) -> float:
    """A number, or what a metric can make of identical or empty pictures."""
    if type(value) is float and not math.isfinite(value):
        return value
    return number(value, where)


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)
    return value


def anything(value: Any, where: str) -> Any:
    """Any value of JSON that is not nested deeper than people write it."""

    def clean(inner: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise DamagedError(f"{where} is nested too deep")
        if isinstance(inner, dict):
            return {line(key, where): clean(each, depth + 1) for key, each in inner.items()}
        if isinstance(inner, list):
            return [clean(each, depth + 1) for each in inner]
        return text(inner, where) if isinstance(inner, str) else inner

    return clean(value, 0)


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _wrong(where, " or ".join(choices), value)
        return value

    return check


def maybe(check: Check) -> Check:
    """What passes `check`, or null."""
    return lambda value, where: None if value is None else check(value, where)


def list_of(check: Check) -> Check:
    """A list whose entries pass `check`."""

    def check_list(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        return [check(each, f"{where}[{place}]") for place, each in enumerate(value)]

    return check_list


def table_of(check: Check, key: Check = line) -> Check:
    """An object whose keys are free, and whose values pass `check`."""

    def check_table(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        return {
            key(k, f"a key of {where}"): check(each, _inside(where, k)) for k, each in value.items()
        }

    return check_table


def table(needed: Mapping[str, Check], known: Mapping[str, Check] | None = None) -> Check:
    """An object with the keys of `needed`; those of `known` may be there, and others are kept."""
    checks = {**(known or {}), **needed}

    def check_table(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        if missing := [k for k in needed if k not in value]:
            raise DamagedError(f"{_inside(where, missing[0])} is missing")
        return {
            line(k, where): checks.get(k, anything)(each, _inside(where, k))
            for k, each in value.items()
        }

    return check_table


def _inside(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _wrong(where: str, wanted: str, value: Any) -> DamagedError:
    shown = one_line(repr(value))
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return DamagedError(one_line(f"{where or 'it'} must be {wanted}, got {shown}"))
