"""Options of plugins: frozen dataclasses, read from keywords or from text, typos refused.

A field says its meaning and its range once, and everyone reads them there:

    @dataclass(frozen=True)
    class WideOptions(TrainingOptions):
        width: float = option(1.0, "factor on every channel count", above=0, most=8)

A field without `option` takes any value of its type. A subclass that changes a default writes
`width: float = 0.5`; meaning and range stay.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from zoo.errors import OptionError, UnknownNameError

_T = TypeVar("_T")
_DECLARATION = "zoo.option"


@dataclasses.dataclass(frozen=True)
class Declaration:
    """The meaning and range of an option's field.

    Attributes:
        meaning: a phrase, with the unit or the equation.
        above: the value is larger than this.
        least: the value is this or larger.
        below: the value is smaller than this.
        most: the value is this or smaller.
        whole: whether the value is a whole number.
    """

    meaning: str
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    whole: bool = False

    @property
    def range(self) -> str:
        """The values it may have, such as `(0, 8]`, `1 … 313` or `at least 1`; empty for any."""
        low = self.above if self.least is None else self.least
        high = self.below if self.most is None else self.most
        if low is not None and high is not None:
            left, right = "(" if self.least is None else "[", ")" if self.most is None else "]"
            whole = self.whole and (left, right) == ("[", "]")
            return f"{low:g} … {high:g}" if whole else f"{left}{low:g}, {high:g}{right}"
        if low is not None and self.least is None:
            return "positive" if low == 0 else f"above {low:g}"
        if low is not None:
            return f"at least {low:g}"
        if high is not None:
            return f"below {high:g}" if self.most is None else f"at most {high:g}"
        return ""

    def check(self, name: str, value: Any) -> None:
        """Raises `ValueError` where the field of this name must not have this value."""
        if value is None:
            return
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
        if (
            (self.above is not None and not value > self.above)
            or (self.least is not None and not value >= self.least)
            or (self.below is not None and not value < self.below)
            or (self.most is not None and not value <= self.most)
        ):
            lie = "be" if self.range[0].isalpha() else "lie in"
            raise ValueError(f"{name} must {lie} {self.range}, got {value}")


def option(
    default: _T,
    meaning: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> _T:
    """The default of a field of `Options`, with its meaning and the finite values it may have.

    Args:
        default: where nothing else is said.
        meaning: what `zoo info` shows: a phrase, with the unit or the equation.
        above: the value must be larger than this.
        least: the value must be this or larger.
        below: the value must be smaller than this.
        most: the value must be this or smaller.
    """
    declaration = Declaration(meaning, above, least, below, most, type(default) is int)
    return dataclasses.field(default=default, metadata={_DECLARATION: declaration})


def declaration_of(options_class: type, name: str) -> Declaration | None:
    """The declaration of a field, there or in a base class; None where it has none."""
    for cls in options_class.__mro__:
        field = getattr(cls, "__dataclass_fields__", {}).get(name)
        if field is not None and _DECLARATION in field.metadata:
            declaration: Declaration = field.metadata[_DECLARATION]
            return declaration
    return None


@dataclasses.dataclass(frozen=True)
class Options:
    """The base of all options: ranges are checked whenever some are made."""

    def __post_init__(self) -> None:
        for name in option_names(type(self)):
            if declaration := declaration_of(type(self), name):
                declaration.check(name, getattr(self, name))
        self.check()

    def check(self) -> None:
        """Raises `ValueError` where values do not go together; by default all do."""


@dataclasses.dataclass(frozen=True)
class NoOptions(Options):
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
    """Reads the texts of `--set option=value`: names to values, both still text.

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


class Description(NamedTuple):
    """An option for people; texts are empty where nothing was said."""

    name: str
    type: str
    default: object
    range: str
    meaning: str


def describe_options(options_class: type) -> list[Description]:
    """Every option, in the order of definition."""
    hints = typing.get_type_hints(options_class)
    defaults = options_class()
    described = []
    for name in option_names(options_class):
        said = declaration_of(options_class, name) or Declaration(meaning="")
        kind, default = _type_name(hints[name]), getattr(defaults, name)
        described.append(Description(name, kind, default, said.range, said.meaning))
    return described


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
    elif kind in (int, float):
        # A whole number will do for a float, but not the other way round; NumPy's are numbers, too.
        number = numbers.Integral if kind is int else numbers.Real
        if isinstance(value, str | number) and not isinstance(value, bool):
            with contextlib.suppress(ValueError, OverflowError):
                return kind(value)
    elif kind is str:
        if isinstance(value, str):
            return value
    else:
        raise OptionError(
            f"{where} has the type {_type_name(kind)}; options are int, float, bool, str, "
            "Literal[…] or one of these or None"
        )
    raise OptionError(f"{where} must be {_type_name(kind)}, got {value!r}")
