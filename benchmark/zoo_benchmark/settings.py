"""What `zoo bench` was asked for, and all that can be wrong with it, before any work."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo import registry
from zoo.budget import Budget
from zoo.dataset import Dataset
from zoo.errors import DeviceError, InputError, OptionError, PluginError, UnknownNameError
from zoo_benchmark.protocol import QUICK, Protocol
from zoo_benchmark.requests import ModelRequest
from zoo_benchmark.runner import default_timeout

SMALLEST_SIZE = 32


@dataclass(frozen=True)
class BenchSettings:
    """What `zoo bench` was asked for; None means what the protocol says.

    Attributes are the command's options; `seed` is the base of all seeds, `timeout` the
    seconds after which a trial counts as hanging.
    """

    models: str
    dataset: str | None = None
    budget: str | None = None
    size: int | None = None
    preset: Literal["paper", "small"] | None = None
    seeds: int | None = None
    device: str = "auto"
    precision: str = "auto"
    out: Path | None = None
    settings: Sequence[str] = ()
    metrics: str | None = None
    lpips_weights: Path | None = None
    timeout: float | None = None
    seed: int = 0
    throughput: bool = True


def choose_protocol(settings: BenchSettings, dataset: Dataset) -> Protocol:
    """The default protocol with what was asked for in its place.

    Raises:
        InputError: a size or a number of seeds that cannot be.
    """
    asked = {
        name: getattr(settings, name)
        for name in ("dataset", "budget", "size", "preset", "seeds")
        if getattr(settings, name) is not None
    }
    asked.setdefault("size", dataset.info.native_size)
    if asked["size"] < SMALLEST_SIZE:
        raise InputError(
            f"--size {asked['size']} is too small: LPIPS needs 31 px; type --size {SMALLEST_SIZE}"
        )
    if asked.get("seeds", 1) < 1:
        raise InputError(f"--seeds must be at least 1, got {asked['seeds']}")
    protocol = dataclasses.replace(QUICK, **asked)
    # The note speaks of the embedded photographs alone.
    return protocol if protocol.dataset == QUICK.dataset else dataclasses.replace(protocol, note="")


def choose_metrics(text: str | None) -> list[str]:
    """The metrics named in `text`, or all that are shown by default.

    Raises:
        UnknownNameError: a metric that is not installed.
    """
    known = registry.names(registry.METRICS)
    if text is not None:
        names = list(dict.fromkeys(name.strip() for name in text.split(",")))
        for name in names:
            if name not in known:
                raise UnknownNameError("metric", name, known)
        return names
    chosen = []
    for name in known:
        try:
            if registry.metric_class(name).info.default:
                chosen.append(name)
        except PluginError:
            chosen.append(name)  # its column will say why it is empty
    return chosen


def check_models(
    requests: Sequence[ModelRequest], protocol: Protocol, settings: BenchSettings
) -> list[str]:
    """Constructs every model once, so that a wrong option is an error before any work."""
    floors = []
    rows: dict[tuple[str, Any], str] = {}
    for request in requests:
        try:
            # What a plugin prints when it is imported is no part of this command's output.
            with contextlib.redirect_stdout(sys.stderr):
                cls = registry.colorizer_class(request.name)
                colorizer = cls(
                    cls.preset(protocol.preset),
                    device=settings.device,
                    precision=settings.precision,
                    **request.changes,
                )
        except (OptionError, UnknownNameError, DeviceError):
            raise
        except Exception:  # noqa: S112 - a broken plugin is a row, with the reason it gives there
            continue
        twin = rows.setdefault((request.name, colorizer.options), request.label)
        if twin != request.label:
            raise OptionError(
                f"{twin!r} and {request.label!r} are the same row; name it once or change an option"
            )
        # A size that nobody asked for stops the one model that it does not suit.
        if settings.size is not None and protocol.size % colorizer.info.multiple:
            raise OptionError(
                f"--size {protocol.size} does not suit {request.label}: "
                f"its sides must be multiples of {colorizer.info.multiple}"
            )
        if cls.info.floor:
            floors.append(request.label)
    return floors


def choose_timeout(asked: float | None, budget: Budget) -> float:
    """Seconds after which a trial counts as hanging.

    Raises:
        InputError: not a positive number.
    """
    if asked is None:
        return default_timeout(budget)
    if not (asked > 0 and math.isfinite(asked)):
        raise InputError(f"--timeout must be a positive number of seconds, got {asked:g}")
    return asked


def free_folder(wanted: Path | None) -> Path:
    """Where the results can go; nothing is made yet."""
    out = wanted or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is there already and not an empty folder; name another")
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"cannot write to --out {out}: {above} is a file; name another")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to --out {out}: no permission in {above}; name another")
    return out


def make_folder(folder: Path) -> None:
    """Makes a folder of the results.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write to --out {folder.parent}: {error.strerror}") from error
