"""The models of `zoo colorize --models`: which have weights here, and their colorizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.cli.console import say
from zoo.errors import PluginError, WeightsError

if TYPE_CHECKING:
    from zoo.colorizer import Colorizer


def load_models(text: str, *, device: str, precision: str) -> dict[str, Colorizer]:
    """The colorizers of a text as `zoo bench --models` reads it, by the labels of their rows.

    A name alone takes the weights that came along. `all` stands for all published weights that
    are on this computer; a note says which models have none, and what to do about it.

    Raises:
        ZooError: nothing to show, or a model or weights that cannot be had.
    """
    from zoo.registry import load
    from zoo.weights.published import weights_for
    from zoo_benchmark.requests import ALL, parse_models

    parts = [part.strip() for part in text.split(",")]
    if ALL in parts:
        parts = [each for p in parts for each in (_weights_here() if p == ALL else [p])]
    whole = []
    for request in parse_models(",".join(parts)):
        changes = ",".join(f"{option}={value}" for option, value in request.changes.items())
        named = f"{request.name}:{changes}" if changes else request.name
        whole.append(f"{named}@{request.weights or weights_for(request.name)}")
    return {
        each.label: load(
            each.name, each.weights, device=device, precision=precision, **each.changes
        )
        for each in parse_models(",".join(whole))
    }


def _weights_here() -> list[str]:
    """The labels of published weights that are on this computer; says what the others need."""
    from zoo.registry import colorizer_class, list_colorizers
    from zoo.weights.published import cached_file, published

    here, fetchable, trainable, broken = [], [], [], []
    for name in list_colorizers():
        known = published(name)
        try:
            floor = colorizer_class(name).info.floor
        except PluginError:
            broken.append(name)
            continue
        if present := [weights.label for weights in known if cached_file(weights) is not None]:
            here += present
        elif known:
            fetchable.append(known[0].label)
        elif not floor:
            trainable.append(name)
    told = [
        f"{', '.join(names)} ({advice})"
        for names, advice in (
            (fetchable, f"type zoo weights fetch {' '.join(fetchable)}"),
            (trainable, "train with zoo fit, and name NAME@FILE.safetensors"),
            (broken, "broken; type zoo list --verbose"),
        )
        if names
    ]
    if not here:
        raise WeightsError(f"no model has weights on this computer: {'; '.join(told)}")
    if told:
        say(f"note: not shown, for want of weights: {'; '.join(told)}", err=True)
    return here
