"""Options of plugins: frozen dataclasses, read from keywords or from text, typos refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.errors import OptionError, UnknownNameError


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a plugin that has none."""


def replace_options(options: Any, changes: Mapping[str, object], owner: str) -> Any:
    """A copy of the frozen dataclass `options` with `changes`, each checked or read from text.

    Args:
        options: the instance to start from.
        changes: field names to values; text is read as the field's type.
        owner: the plugin's name, for messages.

    Raises:
        UnknownNameError: a name that is no field; near ones are offered.
        OptionError: a value that the field, or the dataclass' own check, refuses.
    """
    hints = typing.get_type_hints(type(options))
    fields = set(option_names(type(options)))
    values = {}
    for name, value in changes.items():
        if name not in fields:
            raise UnknownNameError(f"option of {owner}", name, fields)
        values[name] = _convert(value, hints[name], f"{owner}.{name}")
    try:
        return dataclasses.replace(options, **values)
    except (ValueError, TypeError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{owner}: {error}") from error


def read_settings(settings: Sequence[str]) -> dict[str, object]:
    """What `--set option=value` said, may be repeated: names to values, both still text.

    Raises:
        OptionError: one that cannot be read, or an option that is set twice.
    """
    changes: dict[str, object] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals):
            raise OptionError(f"cannot read --set {setting!r}; type --set option=value")
        if name in changes:
            raise OptionError(f"--set sets {name!r} twice; set it once")
        changes[name] = value
    return changes


def option_names(options_class: type) -> list[str]:
    """The names of the options of a class, in the order of definition."""
    return [f.name for f in dataclasses.fields(options_class) if f.init]


def describe_options(options_class: type) -> list[tuple[str, str, object]]:
    """(name, type, default) of every option, in the order of definition."""
    hints = typing.get_type_hints(options_class)
    defaults = options_class()
    return [
        (name, _type_name(hints[name]), getattr(defaults, name))
        for name in option_names(options_class)
    ]


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _convert(value: object, kind: Any, where: str) -> object:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        for choice in choices:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise OptionError(f"{where} must be one of {', '.join(map(str, choices))}, got {value!r}")
    if origin in (typing.Union, types.UnionType):
        members = typing.get_args(kind)
        if type(None) in members and (value is None or value in ("none", "None")):
            return None
        for member in members:
            if member is not type(None):
                try:
                    return _convert(value, member, where)
                except OptionError:
                    continue
    elif kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str):
            try:
                return int(value)
            except ValueError:
                pass
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                pass
    elif kind is str:
        if isinstance(value, str):
            return value
    else:
        raise OptionError(
            f"{where} has the type {_type_name(kind)}; options are int, float, bool, str, "
            "Literal[…] or one of these or None"
        )
    raise OptionError(f"{where} must be {_type_name(kind)}, got {value!r}")
