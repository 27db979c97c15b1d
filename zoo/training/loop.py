"""The training loop shared by plugins, and its parts for those that write their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from zoo.device import autocast
from zoo.options import Options, option
from zoo.training.feed import Feed


@dataclass(frozen=True)
class TrainingOptions(Options):
    """The options of the shared loop; a plugin's `Options` derive from them to change a default."""

    learning_rate: float = option(5e-4, "AdamW's step size at its highest", above=0)
    batch_size: int = option(32, "images per step", least=1)
    weight_decay: float = option(1e-4, "AdamW's decoupled weight decay", least=0)
    warm_up: float = option(
        0.03, "share of the budget over which the learning rate rises linearly", least=0, most=1
    )
    decay: float = option(
        0.5,
        "share of the budget, at its end, over which the learning rate falls linearly to zero",
        least=0,
        most=1,
    )
    clip: float = option(1.0, "largest norm of the gradient", above=0)
    pretrained_rate: float = option(
        1.0,
        "factor on the learning rate of layers that start from published weights, such as a trunk "
        "with those of ImageNet; 0 leaves them as they are",
        least=0,
        most=1,
    )
    averaging: float = option(
        0.0,
        "decay per step of the exponential moving average of the weights that training ends with, "
        "such as 0.999; 0 ends with the last step's weights",
        least=0,
        below=1,
    )


def schedule(progress: float, options: TrainingOptions) -> float:
    """The learning rate's factor at `progress`: linear warm-up, plateau, linear decay to 0."""
    rise = (progress + 1e-3) / options.warm_up if options.warm_up else 1.0
    fall = (1 - progress) / options.decay if options.decay else 1.0
    return max(0.0, min(1.0, rise, fall))


class Optimizer:
    """AdamW with the shared schedule, gradient clipping and the feed's NaN detection.

    Args:
        parameters: those to train.
        feed: the batches, which know the progress and how the learning rate scales.
        options: the learning rate, its schedule, weight decay and clipping.
        learning_rate: in the place of the options'.
        betas: AdamW's.
        pretrained: those of the parameters that learn at the options' `pretrained_rate`.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        feed: Feed,
        options: TrainingOptions,
        *,
        learning_rate: float | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        pretrained: Iterable[nn.Parameter] = (),
    ) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._feed, self._options = feed, options
        self._learning_rate = feed.scaled_rate(
            options.learning_rate if learning_rate is None else learning_rate
        )
        slower = set(pretrained)

        def kind(parameter: nn.Parameter) -> tuple[bool, bool]:
            return parameter in slower, parameter.ndim <= 1

        groups: list[dict[str, Any]] = []
        self._factors: list[float] = []
        for (is_slower, is_vector), members in groupby(sorted(self._parameters, key=kind), kind):
            # Norms, biases and other vectors are not decayed, as is usual.
            decay = 0.0 if is_vector else options.weight_decay
            groups.append({"params": list(members), "weight_decay": decay})
            self._factors.append(options.pretrained_rate if is_slower else 1.0)
        self._adamw = torch.optim.AdamW(
            groups,
            lr=self._learning_rate,
            betas=betas,
            fused=feed.device.type in ("cpu", "cuda"),
        )
        feed.keep(self)

    def state_dict(self) -> dict[str, Any]:
        """AdamW's state: moments and step counts."""
        return self._adamw.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the state of an optimizer of the same parameters."""
        self._adamw.load_state_dict(state)
        # The fused kernels take moments for laid out like their parameters, unchecked.
        for parameter, values in self._adamw.state.items():
            for name, value in values.items():
                if value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter).copy_(value)

    def step(self, loss: Tensor) -> None:
        """Updates the parameters once, against the gradient of `loss`."""
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, self._options.clip)
        progress = self._feed.progress
        swept = self._feed.rate_factor
        factor = swept(progress) if swept else schedule(progress, self._options)
        for group, mine in zip(self._adamw.param_groups, self._factors, strict=True):
            group["lr"] = self._learning_rate * factor * mine
        self._adamw.step()


class WeightAverage:
    """The exponential moving average of a network's weights and buffers over its steps.

    At first it forgets faster, so that a short training does not end with its fresh weights.
    """

    def __init__(self, net: nn.Module, decay: float, feed: Feed) -> None:
        self._decay = decay
        self._steps = 0
        self._weights = [t for t in net.state_dict().values() if t.is_floating_point()]
        self._averages = [t.clone() for t in self._weights]
        feed.keep(self)

    def update(self) -> None:
        """Takes in the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    def apply(self) -> None:
        """Puts the average into the network."""
        torch._foreach_copy_(self._weights, self._averages)

    def state_dict(self) -> dict[str, Any]:
        """The averages, in the order of the network's state dict, and how many steps they hold."""
        return {"averages": self._averages, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave of a network of the same shapes."""
        for mine, theirs in zip(self._averages, state["averages"], strict=True):
            mine.copy_(theirs)
        self._steps = state["steps"]


def train(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    feed: Feed,
    options: TrainingOptions,
    precision: str,
    pretrained: Sequence[str] = (),
) -> None:
    """Minimises `loss(L, ab)` over `net`'s parameters until the feed's budget is spent.

    The parameters of the submodules `pretrained` learn at the options' `pretrained_rate`.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    parts = [net.get_submodule(name) for name in pretrained]
    slower = [parameter for part in parts for parameter in part.parameters()]
    optimizer = Optimizer(net.parameters(), feed, options, pretrained=slower)
    average = WeightAverage(net, options.averaging, feed) if options.averaging else None
    for L, ab in feed:
        with autocast(feed.device, precision):
            value = loss(L, ab)
        optimizer.step(value)
        if average is not None:
            average.update()
        feed.log(value)
    if average is not None:
        average.apply()
