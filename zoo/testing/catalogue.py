"""All checks in their order, and the two ways to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from zoo.colorizer import Colorizer
from zoo.device import resolve_device
from zoo.errors import UnknownNameError
from zoo.registry import trainable_class
from zoo.testing import exporting, interface, learning, prediction, training
from zoo.testing.kit import Check, Outcome, outcome_of
from zoo.testing.subject import Subject

CHECKS: dict[str, Check] = {
    check.id: check
    for check in (
        interface.info,
        interface.entry_point,
        interface.options,
        interface.not_fitted,
        prediction.sizes,
        prediction.containers,
        prediction.wrong_input,
        prediction.input_untouched,
        prediction.batch_mates,
        prediction.devices,
        training.repeatable,
        training.resumable,
        training.gradients,
        training.budget,
        training.save_and_load,
        training.global_state,
        exporting.exports,
        learning.one_image,
        learning.beats_grey,
    )
}


def checks(
    target: str | type[Colorizer], *, device: str | torch.device = "cpu"
) -> list[tuple[str, Callable[[], None]]]:
    """(id, function) of every check of a colorizer, for `pytest.mark.parametrize`.

    A function returns, or raises `CheckFailed`, or `Skipped` (`KnownFailure` is one), which
    pytest and unittest show as skipped with the reason. They share trained instances, and can be
    called in any order and alone.

    Args:
        target: a name as `zoo list` shows it, or a class that need not be registered.
        device: `cpu`, `cuda` or `mps`, or one of PyTorch's.

    Raises:
        UnknownNameError: nothing of that name is installed.
        DeviceError: a device that is not there.
        PluginError: it is installed but broken.
    """
    subject = _subject(target, device)
    return [(check.id, partial(check.run, subject)) for check in CHECKS.values()]


def run(
    target: str | type[Colorizer], only: Sequence[str] = (), *, device: str | torch.device = "cpu"
) -> Iterator[Outcome]:
    """Runs the checks one after the other and tells how each went; never raises for a plugin.

    Args:
        target: as for `checks`.
        only: ids; all where empty.
        device: as for `checks`.

    Raises:
        UnknownNameError: no such colorizer or check; near names are offered.
        DeviceError: a device that is not there.
        PluginError: it is installed but broken.
    """
    for identifier in only:
        if identifier not in CHECKS:
            raise UnknownNameError("check", identifier, CHECKS)
    subject = _subject(target, device)
    chosen = [check for check in CHECKS.values() if not only or check.id in only]
    return (outcome_of(check, subject) for check in chosen)


def _subject(target: str | type[Colorizer], device: str | torch.device) -> Subject:
    cls = trainable_class(target) if isinstance(target, str) else target
    return Subject(cls, resolve_device(device), frozenset(CHECKS))
