"""Which models to run, with which options: reading `--models` and `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zoo import registry
from zoo.errors import OptionError, UnknownNameError
from zoo.files import name_text

ALL = "all"
_FORM = "NAME:option=value"
_HOW_TO_SET = "type --set NAME.option=value for one model"


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
    if not known:
        raise OptionError("no colorizer is installed; reinstall colorizer-zoo")
    wanted: list[tuple[str, dict[str, str]]] = []
    previous = ""
    for part in (p.strip() for p in text.split(",")):
        if not part:
            raise OptionError(f"there is an empty part in --models {text!r}; type NAME,NAME")
        name, colon, assignment = (p.strip() for p in part.partition(":"))
        if "=" in name:  # an option; a colon behind it is part of its value
            if not wanted:
                raise OptionError(f"--models {text!r} starts with an option; type NAME:{part}")
            if previous == ALL:
                raise OptionError(f"{part!r} follows {ALL!r} in --models; {_HOW_TO_SET}")
            _add(wanted[-1][1], part, text, _FORM)
            continue
        previous = name
        if name == ALL:
            if colon:
                raise OptionError(f"{ALL!r} takes no options in --models; {_HOW_TO_SET}")
            wanted += [(each, {}) for each in known]
        elif name in known:
            wanted.append((name, {}))
            if colon:
                _add(wanted[-1][1], assignment, text, _FORM)
        else:
            raise UnknownNameError("colorizer", name, known, "See zoo list.")
    settings_of = _read_settings(settings, {name for name, _ in wanted})
    # What --models says of a row goes before what --set says of all rows of that name.
    return _label([(name, settings_of.get(name, {}) | changes) for name, changes in wanted])


def _read_settings(settings: Sequence[str], wanted: set[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for setting in settings:
        # A colorizer's name may hold dots, an option's cannot.
        left, equals, value = setting.partition("=")
        target, _, option = (p.strip() for p in left.rpartition("."))
        if not (target and equals):
            raise OptionError(f"cannot read --set {setting!r}; type --set NAME.option=value")
        if target not in wanted:
            raise UnknownNameError("model in --set", target, wanted)
        _add(found.setdefault(target, {}), f"{option}={value}", setting, "NAME.option=value")
    return found


def _label(wanted: list[tuple[str, dict[str, str]]]) -> list[ModelRequest]:
    counts: dict[str, int] = {}
    for name, _ in wanted:
        counts[name] = counts.get(name, 0) + 1
    requests = []
    for name, changes in wanted:
        # The names of files among the values may be any bytes; a label is text.
        suffix = name_text(",".join(f"{option}={value}" for option, value in changes.items()))
        repeated = counts[name] > 1 and suffix
        requests.append(ModelRequest(name, changes, f"{name}:{suffix}" if repeated else name))
    labels = [request.label for request in requests]
    for label in labels:
        if labels.count(label) > 1:
            raise OptionError(f"{label!r} is asked for twice; name it once or change an option")
    return requests


def _add(changes: dict[str, str], text: str, whole: str, form: str) -> None:
    option, equals, value = (p.strip() for p in text.partition("="))
    if not (option and equals and value):
        raise OptionError(f"cannot read {text!r} in {whole!r}; type {form}")
    if option in changes:
        raise OptionError(f"{option!r} is set twice in {whole!r}; set it once")
    changes[option] = value
