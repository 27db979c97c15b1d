"""Checks of training: seeds, gradients, the budget, weights on disk, other people's state."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from zoo.colorizer import Colorizer
from zoo.testing.global_state import changed_since, read_global_state
from zoo.testing.kit import Finding, Skipped, attempt, check
from zoo.testing.subject import Subject
from zoo.training.checkpoint import Checkpoint
from zoo.training.feed import Feed
from zoo.training.flops import count_flops
from zoo.weights.file import open_weights

_STEPS = 4


@check
def repeatable(subject: Subject) -> None:
    """The same seed and a budget in steps give the same weights, whatever was trained before."""
    _skip_unless_deterministic(subject)
    colorizer = subject.new()
    options = dataclasses.replace(colorizer.options)
    torch.manual_seed(123)
    colorizer.fit(subject.photographs, budget="1steps", size=subject.side, seed=5)
    returned = colorizer.fit(subject.photographs, budget="2steps", size=subject.side)
    if returned is not colorizer:
        raise Finding("fit gave back something else than the colorizer.", "end it in return self.")
    if colorizer.options != options:
        raise Finding(
            f"fit changed the options from {options} to {colorizer.options}.",
            "keep what is found out in training somewhere else.",
        )
    if different := _different(subject.fitted, colorizer):
        raise Finding(
            f"two trainings of 2 steps with seed 0 differ in {_some(different)}.",
            "draw random numbers from torch alone, which fit seeds; start from a new network in "
            "every build; or say deterministic=False in info.",
        )
    learns = colorizer.info.learns
    if not learns and (different := _different(subject.fitted, subject.new().ready())):
        raise Finding(
            f"info says learns=False, but training changed {_some(different)}.",
            "leave learns out of info.",
        )


def _skip_unless_deterministic(subject: Subject) -> None:
    if not subject.new().info.deterministic:
        raise Skipped("its info says that it is not deterministic")
    if subject.device.type != "cpu":
        raise Skipped("it is promised on one CPU; GPUs add in any order")


@check
def resumable(subject: Subject) -> None:
    """A training that is stopped and resumed gives the weights of one that was never stopped."""
    _skip_unless_deterministic(subject)
    if not subject.takes_steps:
        raise Skipped("it takes no training steps")
    straight = subject.fit(budget=f"{_STEPS}steps")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        stopping = Checkpoint(path)

        def stop(feed: Feed) -> None:
            if feed.cost.steps == _STEPS // 2:
                stopping.stop()

        with suppress(KeyboardInterrupt):
            subject.fit(budget=f"{_STEPS}steps", checkpoint=stopping, on_step=stop)
        with attempt(subject, "resuming"):
            resumed = subject.fit(budget=f"{_STEPS}steps", checkpoint=Checkpoint(path))
    if different := _different(straight, resumed):
        raise Finding(
            f"stopped after {_STEPS // 2} of {_STEPS} steps and resumed, {_some(different)} end as "
            "other values.",
            "train with zoo.training.loop.Optimizer, or hand optimizers of your own to feed.keep "
            "before the first step; keep all else in the network, or make it anew in prepare.",
        )


@check
def gradients(subject: Subject) -> None:
    """A gradient reaches every trainable parameter."""
    if not subject.takes_steps:
        raise Skipped("it takes no training steps")
    own_loop = subject.cls.train is not Colorizer.train
    missed = _never_changed(subject) if own_loop else _without_gradient(subject)
    if missed:
        raise Finding(
            f"training leaves {_some(missed)} as they are.",
            "use them in the loss, without no_grad, detach or argmax on the way; or set "
            "requires_grad_(False) where they are meant to stay.",
        )


def _without_gradient(subject: Subject) -> list[str]:
    colorizer = subject.fit()
    colorizer.net.train().zero_grad()
    L, ab = (plane.to(colorizer.device) for plane in subject.lab(subject.photographs))
    crop = (..., slice(subject.side), slice(subject.side))
    with attempt(subject, "the loss on a batch of photographs"):
        colorizer.loss(L[crop], ab[crop]).backward()  # type: ignore[no-untyped-call]
    return [
        name
        for name, parameter in colorizer.net.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not bool((parameter.grad != 0).any()))
    ]


def _never_changed(subject: Subject) -> list[str]:
    """The parameters that a plugin's own loop leaves as they were after its first step."""
    colorizer = subject.new()
    first: dict[str, Tensor] = {}

    def keep(_: object) -> None:
        for name, parameter in colorizer.net.named_parameters():
            if parameter.requires_grad and name not in first:
                first[name] = parameter.detach().clone()

    colorizer.fit(subject.photographs, budget=f"{_STEPS}steps", size=subject.side, on_step=keep)
    now = dict(colorizer.net.named_parameters())
    return [name for name, before in first.items() if torch.equal(before, now[name])]


@check
def budget(subject: Subject) -> None:
    """Work is done inside of `for L, ab in feed` alone, and ends with the budget."""
    colorizer = subject.new()
    optimizer_steps = 0

    def count(*_: object) -> None:
        nonlocal optimizer_steps
        optimizer_steps += 1

    hook = register_optimizer_step_post_hook(count)
    try:
        with count_flops() as counter:
            # Varying the input is the feed's own work, and no plugin's.
            colorizer.fit(
                subject.photographs,
                budget=f"{_STEPS}steps",
                size=subject.side,
                input_variety=False,
            )
    finally:
        hook.remove()
    change = (
        "train on what `for L, ab in feed` yields, one update of the network for each turn, and "
        "stop where the loop stops."
    )
    record = colorizer.record
    if record is None:
        raise Finding("fit left no record of what was spent.", "leave fit to Colorizer.")
    cost = record.cost
    if record.stop_reason == "no steps":
        if optimizer_steps:
            raise Finding(
                f"{optimizer_steps} steps of an optimizer were made without the feed.", change
            )
        raise Skipped("it takes no training steps")
    if cost.steps > _STEPS:
        raise Finding(f"{cost.steps} steps were made of a budget of {_STEPS}.", change)
    spent, one = float(counter.get_total_flops()), cost.flops / max(cost.steps, 1)
    if spent > cost.flops + one:
        raise Finding(
            f"training took {spent / 1e9:.4g} GFLOP, but its {cost.steps} steps are charged with "
            f"{cost.flops / 1e9:.4g}.",
            change,
        )


@check
def save_and_load(subject: Subject) -> None:
    """Saved weights, loaded again, are the same bits and predict the same bits."""
    change = (
        "keep all that forward needs in parameters and buffers of the network "
        "(register_buffer), or in the options."
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        with attempt(subject, "saving"):
            subject.fitted.save(path)
        with attempt(subject, "loading"):
            stored = open_weights(path, subject.cls)
            loaded = subject.cls(device=subject.device, precision="fp32", **stored.options)
            loaded.restore(stored)
    if different := _different(subject.fitted, loaded):
        raise Finding(f"{_some(different)} came back as other values.", change)
    L = subject.lightness
    try:
        again = loaded.predict_ab(L)
    except Exception as error:
        text = f"loaded weights do not predict: {type(error).__name__}: {error}."
        raise Finding(text, change) from error
    largest = float((again - subject.fitted.predict_ab(L)).abs().max())
    if largest:
        raise Finding(f"predictions of loaded weights differ by up to {largest:.3g} in ab.", change)


@check
def global_state(subject: Subject) -> None:
    """Random state, threads, gradient mode and other global switches are left as they were."""
    for grad in (True, False):
        torch.set_grad_enabled(grad)
        before = read_global_state()
        colorizer = subject.fit()
        _look(before, "fit")
        colorizer.predict(subject.greys)
        _look(before, "predict")


def _look(before: dict[str, object], what: str) -> None:
    changes = changed_since(before)
    if changes:
        raise Finding(
            f"{what} changed {', '.join(changes)}.",
            "draw from a generator of your own (numpy.random.default_rng, torch.Generator), "
            "inside fit from torch, and leave global switches alone or put them back.",
        )


def _different(one: Colorizer, other: Colorizer) -> list[str]:
    """The names of the tensors of `one` that are not the same in `other`."""
    expected, found = one.net.state_dict(), other.net.state_dict()
    return [n for n in expected if n not in found or not torch.equal(expected[n], found[n])]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
