"""The zoo by name: colorizers, datasets and metrics that are installed."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import OptionError, PluginError, UnknownNameError, WeightsError
from zoo.plugins import (
    COLORIZERS,
    DATASETS,
    FILES,
    KINDS,
    METRICS,
    OK,
    Plugin,
    find,
    load_class,
    names,
)

if TYPE_CHECKING:
    import torch

    from zoo.colorizer import Colorizer
    from zoo.data.dataset import Dataset
    from zoo.metric import Metric
    from zoo.weights.file import StoredWeights


def list_colorizers() -> list[str]:
    """The names of all installed colorizers, broken ones included; imports none.

    Those that are nothing without a file are not among them, see `list_file_colorizers`.
    """
    return names(COLORIZERS)


def list_file_colorizers() -> list[str]:
    """The names of those that are a file, `NAME@FILE`, and are never trained; imports none."""
    return names(FILES)


def load(
    name: str,
    weights: str | Path | None = None,
    *,
    device: str | torch.device = "auto",
    precision: str = "auto",
    **options: object,
) -> Colorizer:
    """A colorizer: untrained with the paper's options, or ready to predict with weights.

    Args:
        name: as in `list_colorizers()`; `NAME@WEIGHTS` names both.
        weights: a file written by `Colorizer.save`, one of another program in a format that the
            colorizer knows, or the name of published weights (`zoo weights list`), which are
            fetched at first use. Their options are taken over.
        device: `auto`, `cpu`, `cuda` or `mps`, or one of PyTorch's.
        precision: `auto`, `fp32` or `bf16`.
        **options: options of the colorizer, as `zoo info NAME` lists them.

    Raises:
        UnknownNameError: no such colorizer or option; near names are offered.
        DeviceError: a device that is not there.
        PluginError: it is installed but broken.
        WeightsError: the weights are missing, unreadable, of another model, named twice, or
            could not be fetched.
    """
    name, weights = name_and_weights(name, weights)
    if weights is None:
        cls = trainable_class(name)
        return cls(device=device, precision=precision, **options)
    from zoo.weights.file import find_weights

    cls = colorizer_class(name)
    stored = find_weights(weights, cls)
    return restored(cls, stored, device=device, precision=precision, **options)


def name_and_weights(text: str, weights: str | Path | None = None) -> tuple[str, str | Path | None]:
    """A colorizer's name and its weights, given as `NAME@WEIGHTS` or beside each other.

    Raises:
        WeightsError: one of them is missing, or there are weights in both places.
    """
    from zoo.weights.published import split_weights

    name, inside = split_weights(text)
    if inside is not None and weights is not None:
        raise WeightsError(f"weights are named twice, {text} and {weights}; name them once")
    return name, inside if weights is None else weights


def restored(
    cls: type[Colorizer],
    stored: StoredWeights,
    *,
    device: str | torch.device = "auto",
    precision: str = "auto",
    **options: object,
) -> Colorizer:
    """A colorizer of weights that were opened for it; their options are taken over.

    Raises:
        OptionError: an option that they cannot have.
        WeightsError: they do not fit the options.
    """
    try:
        colorizer = cls(device=device, precision=precision, **{**stored.options, **options})
    except OptionError as error:
        raise OptionError(f"{error}{stored.differing(options)}") from error
    return colorizer.restore(stored)


def colorizer_class(name: str) -> type[Colorizer]:
    """The class behind a colorizer's name, checked against the interface.

    Raises:
        UnknownNameError: nothing of that name is installed.
        PluginError: it cannot be imported or does not keep the interface.
        WeightsError: it is followed by weights.
    """
    from zoo.colorizer import Colorizer

    model, at, _ = name.partition("@")
    if at and model in (*list_colorizers(), *list_file_colorizers()):
        raise WeightsError(f"weights have no place here; type {model} instead of {name}")
    group = FILES if name in list_file_colorizers() else COLORIZERS
    return load_class(group, name, Colorizer)


def trainable_class(name: str) -> type[Colorizer]:
    """The class behind the name of a colorizer that exists without a file.

    Raises:
        WeightsError: it is nothing without one; else as `colorizer_class`.
    """
    if name in list_file_colorizers():
        raise WeightsError(f"{name} is not trained, and nothing without a file: type {name}@FILE")
    return colorizer_class(name)


def colorizers_with_option(option: str) -> list[str]:
    """Names of the installed colorizers that have an option of this name; broken ones have none."""
    from zoo.options import option_names

    found = []
    for name in list_colorizers():
        # A stranger's Options may be no dataclass, which is an error once it is constructed.
        with contextlib.suppress(PluginError, TypeError):
            if option in option_names(colorizer_class(name).Options):
                found.append(name)
    return found


def metric_class(name: str) -> type[Metric]:
    """The class behind a metric's name; raises like `colorizer_class`."""
    from zoo.metric import Metric

    return load_class(METRICS, name, Metric)


def dataset_class(name: str) -> type[Dataset]:
    """The class behind a dataset's name; raises like `colorizer_class`."""
    from zoo.data.dataset import Dataset

    return load_class(DATASETS, name, Dataset)


def open_dataset(spec: str) -> Dataset:
    """A dataset from `NAME` or `NAME:ARGUMENT`, such as `folder:holiday/`.

    Raises:
        UnknownNameError: no such dataset; near names are offered.
        DataError: the data is not there, or the argument is missing.
    """
    name, _, argument = spec.partition(":")
    known = names(DATASETS)
    if name not in known:
        hint = f"For a folder of images type folder:{spec}" if Path(spec).exists() else ""
        raise UnknownNameError("dataset", name, known, hint)
    return dataset_class(name)(argument)


def check(group: str, name: str) -> Plugin:
    """Imports a plugin in this process and reports how that went; never raises for it.

    Raises:
        UnknownNameError: nothing of that name is installed.
    """
    found = find(group, name)
    if not found:
        raise UnknownNameError(KINDS[group], name, names(group))
    # Not read back from the cache of statuses, which may be read-only or another process'.
    try:
        status, title = OK, load_class(group, name, base_class(group)).info.title
    except PluginError as error:
        reason = error.__cause__ if isinstance(error.__cause__, PluginError) else error
        status, title = str(reason), ""
    return replace(found[0], status=status, title=title)


def base_class(group: str) -> Any:
    """The class that plugins of a group derive from; importing it imports what they need."""
    # Each where it is needed: a dataset imports no torch.
    module, name = {
        COLORIZERS: ("zoo.colorizer", "Colorizer"),
        FILES: ("zoo.colorizer", "Colorizer"),
        DATASETS: ("zoo.data.dataset", "Dataset"),
        METRICS: ("zoo.metric", "Metric"),
    }[group]
    return getattr(import_module(module), name)
