"""Which models to run, with which options: reading `--models` and `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zoo import registry
from zoo.errors import OptionError, UnknownNameError

ALL = "all"


@dataclass(frozen=True)
class ModelRequest:
    """One requested row: a colorizer's name, changed options as text, and the row's label."""

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    label: str = ""


def parse_models(text: str, settings: Sequence[str] = ()) -> list[ModelRequest]:
    """Reads `all` or `NAME[:opt=value][,opt=value][,NAME…]`, and `NAME.opt=value` settings.

    A comma part with `=` but no `:` belongs to the model before it. A model asked for more
    than once is labelled `name:opt=value`.

    Raises:
        UnknownNameError: a name that no installed colorizer has.
        OptionError: text that cannot be read, or the same row twice.
    """
    known = registry.list_colorizers()
    wanted: list[tuple[str, dict[str, str]]] = []
    for part in (p.strip() for p in text.split(",")):
        if not part:
            raise OptionError(f"there is an empty part in --models {text!r}; type NAME,NAME")
        if "=" in part and ":" not in part:
            if not wanted:
                raise OptionError(f"--models {text!r} starts with an option; type NAME:{part}")
            option, value = _assignment(part, text)
            wanted[-1][1][option] = value
            continue
        name, _, option_text = part.partition(":")
        if name == ALL:
            wanted += [(each, {}) for each in known]
        elif name in known:
            wanted.append((name, {}))
        else:
            raise UnknownNameError("colorizer", name, known, "See zoo list.")
        if option_text:
            option, value = _assignment(option_text, text)
            wanted[-1][1][option] = value

    for setting in settings:
        target, _, assignment = setting.partition(".")
        option, value = _assignment(assignment, setting)
        matching = [changes for name, changes in wanted if name == target]
        if not matching:
            raise UnknownNameError("model in --set", target, {name for name, _ in wanted})
        for changes in matching:
            changes.setdefault(option, value)
    return _label(wanted)


def _label(wanted: list[tuple[str, dict[str, str]]]) -> list[ModelRequest]:
    counts: dict[str, int] = {}
    for name, _ in wanted:
        counts[name] = counts.get(name, 0) + 1
    requests = []
    for name, changes in wanted:
        suffix = ",".join(f"{option}={value}" for option, value in changes.items())
        repeated = counts[name] > 1 and suffix
        requests.append(ModelRequest(name, changes, f"{name}:{suffix}" if repeated else name))
    labels = [request.label for request in requests]
    for label in labels:
        if labels.count(label) > 1:
            raise OptionError(f"{label!r} is asked for twice; name it once or change an option")
    return requests


def _assignment(text: str, whole: str) -> tuple[str, str]:
    option, equals, value = text.partition("=")
    if not (option and equals and value):
        raise OptionError(f"cannot read {text!r} in {whole!r}; type NAME:option=value")
    return option.strip(), value.strip()
