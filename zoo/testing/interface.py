"""Checks of what a colorizer says of itself, before anything is trained."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo import registry
from zoo.colorizer import INTERFACE
from zoo.errors import NotFittedError, ZooError
from zoo.info import Info, Preset
from zoo.options import replace_options
from zoo.testing.kit import Finding, Skipped, attempt, check
from zoo.testing.subject import Subject


@check
def info(subject: Subject) -> None:
    """The info is complete: texts and declared failures are what they should be, sides too."""
    info = getattr(subject.cls, "info", None)
    if not isinstance(info, Info):
        raise Finding(
            f"the class attribute info is {info!r}.",
            "write info = Info(name=…, title=…, paper=…, license=…) in the class.",
        )
    problems = [
        f"{field} is {getattr(info, field)!r} and should be a text that is not empty"
        for field in ("name", "title", "paper", "license")
        if not _is_text(getattr(info, field))
    ]
    with attempt(subject, "making one to ask for its sides"):
        colorizer = subject.new()
    sides = {name: getattr(colorizer, name) for name in ("multiple", "minimum_size")}
    problems += [
        f"{name} is {side!r} and should be a whole number from 1 on"
        for name, side in sides.items()
        if not _is_count(side)
    ]
    if not (info.working_size is None or _is_count(info.working_size)):
        problems.append(
            f"working_size is {info.working_size!r} and should be a whole number from 1 on, or None"
        )
    if info.output not in ("ab", "rgb"):
        problems.append(f"output is {info.output!r} and should be 'ab' or 'rgb'")
    if not isinstance(info.differs, tuple) or not all(map(_is_text, info.differs)):
        problems.append(f"differs is {info.differs!r} and should be a tuple of sentences")
    if info.interface not in (None, INTERFACE):
        problems.append(f"interface is {info.interface!r}, and this zoo has {INTERFACE}")
    problems += _wrong_declarations(info.known_failures, subject.check_ids)
    if problems:
        raise Finding(
            f"{'; '.join(problems)}.", "correct these fields of info and sides of the class."
        )


def _wrong_declarations(declared: object, ids: frozenset[str]) -> list[str]:
    if not isinstance(declared, Mapping):
        return [f"known_failures is {declared!r} and should be {{check: reason}}"]
    return [
        f"known_failures names {key!r}, and there is no such check (zoo check NAME --list)"
        for key in declared
        if key not in ids
    ] + [
        f"known_failures[{key!r}] is {reason!r} and should say why"
        for key, reason in declared.items()
        if not _is_text(reason)
    ]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


@check
def entry_point(subject: Subject) -> None:
    """The entry point of the name in the info leads to this class."""
    name, cls = subject.name, subject.cls
    if name not in registry.list_colorizers():
        raise Skipped(f"no entry point is named {name!r}: the class was given, not installed")
    try:
        found = registry.colorizer_class(name)
    except ZooError as error:
        raise Finding(f"{error}.", "see zoo list --verbose.") from error
    if found is not cls:
        raise Finding(
            f"the name {name!r} in the info of {cls.__module__}:{cls.__qualname__} belongs to "
            f"{found.__module__}:{found.__qualname__}.",
            "give the class an info of its own, with the name of its own entry point.",
        )


@check
def options(subject: Subject) -> None:
    """The options of both presets survive JSON, and being typed as text."""
    kind: Any = subject.cls.Options
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise Finding(
            f"Options is {kind!r}, no frozen dataclass.",
            "write @dataclass(frozen=True) above the class of the options.",
        )
    presets: tuple[Preset, ...] = ("paper", "small")
    for preset in presets:
        with attempt(subject, f"making the {preset} preset"):
            made = subject.cls.preset(preset)
        if type(made) is not kind:
            raise Finding(f"the {preset} preset is {made!r}.", "let small() return cls(…).")
        _survives(subject, f"the {preset} preset through JSON", made, _through_json)
        _survives(subject, f"the {preset} preset typed as text", made, str)


def _through_json(value: object) -> object:
    read: object = json.loads(json.dumps(value))
    return read


def _survives(subject: Subject, what: str, made: Any, way: Callable[[object], object]) -> None:
    change = "keep to int, float, bool, str, Literal[…], or one of these or None."
    values = {f.name: getattr(made, f.name) for f in dataclasses.fields(made) if f.init}
    try:
        changes = {name: way(value) for name, value in values.items()}
        again = replace_options(subject.cls.Options(), changes, subject.name)
    except (ZooError, TypeError, ValueError) as error:
        raise Finding(f"{what} raised {type(error).__name__}: {error}.", change) from error
    lost = [
        f"{name} was {value!r} and became {getattr(again, name)!r}"
        for name, value in values.items()
        if getattr(again, name) != value
    ]
    if lost:
        raise Finding(f"{what}: {'; '.join(lost)}.", change)


@check
def not_fitted(subject: Subject) -> None:
    """Without weights nothing is predicted or saved: `NotFittedError` says how to get some."""
    colorizer = subject.new()
    change = "leave predict, save and is_fitted to Colorizer; set the network up in build."
    if colorizer.is_fitted:
        raise Finding("is_fitted is True before fit.", change)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        doors: dict[str, Callable[[], object]] = {
            "predict": lambda: colorizer.predict(subject.greys),
            "predict_ab": lambda: colorizer.predict_ab(subject.lightness),
            "predict_rgb": lambda: colorizer.predict_rgb(subject.lightness),
            "save": lambda: colorizer.save(path),
        }
        for name, door in doors.items():
            try:
                door()
            except NotFittedError:
                continue
            except Exception as error:
                text = f"{name} raised {type(error).__name__}: {error}."
                raise Finding(text, change) from error
            raise Finding(f"{name} worked before fit, with random weights.", change)
        if any(Path(folder).iterdir()):
            raise Finding("save left a file behind.", change)
