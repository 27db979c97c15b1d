"""Which models to run, with which options: reading `--models` and `--set`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from zoo import registry
from zoo.errors import OptionError, UnknownNameError
from zoo.files import name_text
from zoo.weights.published import short_names, split_weights

ALL = "all"
_FORM = "NAME:option=value"
_HOW_TO_SET = "type --set NAME.option=value for one model"


@dataclass(frozen=True)
class ModelRequest:
    """One requested row.

    Attributes:
        name: the colorizer's.
        changes: options changed, as text.
        label: the row's name.
        weights: the file or published name of weights that it is scored with as it is; empty
            where it is trained.
        asked: whether it was asked for; else it is a reference row of the protocol.
    """

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    label: str = ""
    weights: str = ""
    asked: bool = True


def parse_models(text: str, settings: Sequence[str] = ()) -> list[ModelRequest]:
    """Reads `all` or `NAME[:opt=value][,opt=value][@WEIGHTS][,NAME…]`, and `NAME.opt=value`.

    A comma part with `=` but no `:` belongs to the model before it. Weights reach from the `@` to
    the next comma. A model asked for more than once is labelled `name:opt=value`.

    Raises:
        UnknownNameError: a name that no installed colorizer has.
        OptionError: text that cannot be read, or the same row twice.
        WeightsError: an `@` with nothing behind it, or none where a file is needed.
    """
    known, files = registry.list_colorizers(), registry.list_file_colorizers()
    if not known:
        raise OptionError("no colorizer is installed; reinstall colorizer-zoo")
    wanted: list[ModelRequest] = []
    previous = ""
    for part in (p.strip() for p in text.split(",")):
        if not part:
            raise OptionError(f"there is an empty part in --models {text!r}; type NAME,NAME")
        target, weights = split_weights(part)
        name, colon, assignment = (p.strip() for p in target.partition(":"))
        if "=" in name:  # an option; a colon behind it is part of its value
            if not wanted:
                raise OptionError(f"--models {text!r} starts with an option; type NAME:{part}")
            if previous == ALL:
                raise OptionError(f"{part!r} follows {ALL!r} in --models; {_HOW_TO_SET}")
            last = wanted[-1]
            if last.weights:
                raise OptionError(
                    f"{part!r} follows the weights {last.weights!r} in --models; options come "
                    f"first: type {last.name}:{target}@{last.weights}"
                )
            _add(last.changes, target, text, _FORM)
            wanted[-1] = replace(last, weights=weights or "")
            continue
        previous = name
        if name == ALL:
            if colon:
                raise OptionError(f"{ALL!r} takes no options in --models; {_HOW_TO_SET}")
            if weights:
                raise OptionError(f"{ALL!r} takes no weights in --models; type NAME@{weights}")
            wanted += [ModelRequest(each) for each in known]
        elif name in (*known, *files):
            wanted.append(ModelRequest(name, weights=weights or ""))
            if colon:
                _add(wanted[-1].changes, assignment, text, _FORM)
        else:
            raise UnknownNameError("colorizer", name, known, "See zoo list.")
    for each in wanted:
        if each.name in files and not each.weights:
            registry.trainable_class(each.name)
    settings_of = _read_settings(settings, {each.name for each in wanted})
    # What --models says of a row goes before what --set says of all rows of that name.
    return _label([replace(w, changes=settings_of.get(w.name, {}) | w.changes) for w in wanted])


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


def _label(wanted: list[ModelRequest]) -> list[ModelRequest]:
    names = _names(wanted)
    requests = []
    for request, name in zip(wanted, names, strict=True):
        # The names of files may be any bytes; a label is text.
        changes = (f"{option}={value}" for option, value in request.changes.items())
        suffix, text = name_text(",".join(changes)), name_text(name)
        model, at, weights = text.partition("@")
        repeated = names.count(name) > 1 and suffix
        label = f"{model}:{suffix}{at}{weights}" if repeated else text
        requests.append(replace(request, label=label))
    labels = [request.label for request in requests]
    for label in labels:
        if labels.count(label) > 1:
            raise OptionError(f"{label!r} is asked for twice; name it once or change an option")
    return requests


def _names(wanted: Sequence[ModelRequest]) -> list[str]:
    """`NAME` or `NAME@WEIGHTS`, as short as tells them apart."""
    short = short_names(each.weights for each in wanted if each.weights)
    return [f"{each.name}@{short[each.weights]}" if each.weights else each.name for each in wanted]


def _add(changes: dict[str, str], text: str, whole: str, form: str) -> None:
    option, equals, value = (p.strip() for p in text.partition("="))
    if not (option and equals and value):
        raise OptionError(f"cannot read {text!r} in {whole!r}; type {form}")
    if option in changes:
        raise OptionError(f"{option!r} is set twice in {whole!r}; set it once")
    changes[option] = value
