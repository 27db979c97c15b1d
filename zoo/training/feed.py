"""The feed: batches on the device until the budget is spent.

The harness owns the budget, plugins own the step. `for L, ab in feed:` yields the same
images in the same order with the same crops and flips for every model that is given the same
seed, whatever its batch size: the stream depends on the position in it alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from zoo.arrays import UInt8Array
from zoo.color.lab import rgb_to_lab
from zoo.cost import Cost
from zoo.device import synchronize
from zoo.errors import BudgetError, InputError, PluginError, TrainingError, WeightsError
from zoo.training.budget import Budget
from zoo.training.clock import Clock
from zoo.training.crops import CropStream, ImageStore
from zoo.training.flops import count_flops
from zoo.training.varied_input import VariedInput
from zoo.training.variety import UNVARIED, Variety

# Curve points are logged this far apart, so that a long run keeps about a thousand of them.
_CURVE_SPACING = 1.01
# What a checkpoint keeps of a phase; its end is the budget's.
_PHASE_STATE = ("start", "learning_rate", "steps")
_OTHER_METHOD = "the training to be resumed was of another version of the method"


class Stateful(Protocol):
    """An optimizer, or whatever else has a state that training must go on with."""

    def state_dict(self) -> Any:
        """Numbers and tensors in dictionaries and lists."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Takes what `state_dict` gave."""


@dataclass
class Phase:
    """A stretch of the budget with a schedule of its own: a search, or the training proper.

    Attributes:
        start: what had been spent when it began, in the budget's unit.
        end: where it ends.
        most_steps: it ends after so many steps as well.
        batches: how many it goes round among; None for ever new ones.
        rate_factor: what learning rates are multiplied by at its progress; None for the
            schedule of the options.
        on_loss: takes (step, loss) instead of the feed's own checks and curve.
        learning_rate: the highest of its first optimizer; None where there is none.
        steps: how many were made in it.
        over: set to end it early.
    """

    start: float
    end: float
    most_steps: float = float("inf")
    batches: int | None = None
    rate_factor: Callable[[float], float] | None = None
    on_loss: Callable[[int, float], None] | None = None
    learning_rate: float | None = None
    steps: int = 0
    over: bool = False

    def progress(self, spent: float) -> float:
        """The share of the phase that is done, in [0, 1]."""
        length = self.end - self.start
        share = (spent - self.start) / length if length > 0 else 1.0
        return float(min(1.0, max(share, self.steps / self.most_steps)))

    def is_over(self, spent: float) -> bool:
        """Whether no further step of the phase may begin."""
        return self.over or spent >= self.end or self.steps >= self.most_steps


@dataclass
class Curve:
    """The loss along the way, one point every 1 % of progress or so, with all four costs."""

    points: list[dict[str, float]] = field(default_factory=list)
    _sum: float = 0.0
    _count: int = 0
    _next: float = 1

    def add(self, cost: Cost, loss: float) -> None:
        """Adds one step's loss; a point is kept when enough steps have passed."""
        self._sum += loss
        self._count += 1
        if cost.steps >= self._next:
            self.flush(cost)
            self._next = max(cost.steps + 1, cost.steps * _CURVE_SPACING)

    def flush(self, cost: Cost) -> None:
        """Keeps the mean of the losses since the last point."""
        if self._count:
            self.points.append({**asdict(cost), "loss": self._sum / self._count})
            self._sum, self._count = 0.0, 0

    def state(self) -> dict[str, Any]:
        """The curve as plain values."""
        return {**vars(self), "points": list(self.points)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        vars(self).update({**state, "points": list(state["points"])})


class Feed:
    """Batches of (L, ab) on the device until the budget is spent.

    The clock starts with the first use and runs through everything a plugin does (looking at
    the training set, warm-up, compilation); it stands still inside `paused()`. On a GPU it
    waits for the previous step to finish before it is read. At most one step is overshot.

    Where the input is varied, L is what the network is to see, and ab the truth's. A search for a
    learning rate and `survey` see images as they are.

    Attributes:
        variety: how the images are varied.
        stop_reason: why the loop ended: `budget`, `plugin` where the plugin left by itself, or
            `no steps` where it needed none.
        curve: the logged losses.
        longest_step_seconds: the longest that one turn of the loop took, batch and step.
        evaluation_seconds: how long the clock stood still.
        rate_scale: what the learning rates of the options are multiplied by: other than 1
            after a search.
    """

    def __init__(
        self,
        images: UInt8Array,
        budget: Budget,
        *,
        batch_size: int,
        size: int,
        device: torch.device,
        seed: int = 0,
        variety: Variety = UNVARIED,
        on_step: Callable[[Feed], None] | None = None,
    ) -> None:
        if len(images) == 0:
            raise InputError("the training set is empty; give at least one image")
        self._stored = variety.stored(size)
        if self._stored > images.shape[1]:
            raise InputError(
                f"crops of {self._stored} px do not fit into images of {images.shape[1]} px"
            )
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        self.budget, self.batch_size, self.size = budget, batch_size, size
        self.device = device
        self.stop_reason = "no steps"
        self.curve = Curve()
        self._images = ImageStore(images, device)
        self._stream = CropStream(len(images), images.shape[1], size, seed, variety)
        self.variety = variety
        self._varied = VariedInput(size, device, seed) if variety.input else None
        # The lightness that was handed out last, and the truth's: of one step the same tensor.
        self._handed_out: tuple[Tensor, Tensor] | None = None
        self._seed = seed
        self._on_step = on_step
        self.longest_step_seconds = 0.0
        self.evaluation_seconds = 0.0
        self.rate_scale = 1.0
        self._clock = Clock()
        self._steps = 0
        # How many images were taken from the stream, and where the phase began in it.
        self._taken = self._phase_taken = 0
        self._phase = Phase(0.0, budget.amount)
        self._flops_per_step = 0.0
        self._loop: Iterator[tuple[Tensor, Tensor]] | None = None
        # Losses logged and not read yet, with their steps.
        self._losses: deque[tuple[int, Tensor]] = deque()
        self._kept: list[Stateful] = []
        self._kept_before: list[Any] = []

    @property
    def cost(self) -> Cost:
        """What has been spent so far."""
        return Cost(
            self._clock.seconds,
            self._steps,
            self._steps * self.batch_size,
            self._steps * self._flops_per_step,
        )

    @property
    def progress(self) -> float:
        """The share of the budget spent, in [0, 1]; drives schedules.

        After a search, which is part of the budget, it runs from 0 to 1 over what is left.
        """
        return self._phase.progress(self._spent)

    @property
    def rate_factor(self) -> Callable[[float], float] | None:
        """The factor on learning rates in place of a schedule, by progress; None for nothing."""
        return self._phase.rate_factor

    @property
    def learning_rate(self) -> float | None:
        """The highest step size that this phase's first optimizer goes up to; None without one."""
        return self._phase.learning_rate

    def scaled_rate(self, learning_rate: float) -> float:
        """The step size for an optimizer that asks for `learning_rate`: scaled after a search."""
        scaled = learning_rate * self.rate_scale
        if self._phase.learning_rate is None:
            self._phase.learning_rate = scaled
        return scaled

    @property
    def overshoot(self) -> float:
        """The amount spent beyond the budget, in its own unit; at most one step."""
        return max(0.0, self._spent - self.budget.amount)

    @property
    def _spent(self) -> float:
        return self.budget.spent(self.cost)

    @property
    def image_count(self) -> int:
        """How many different images there are."""
        return len(self._images)

    @property
    def images_seen(self) -> int:
        """How many different images have been in a batch so far."""
        return min(self._taken, self.image_count)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._loop is not None:
            raise TrainingError("a feed can be iterated once; its budget is one budget")
        self._loop = self._batches()
        return self._loop

    @contextmanager
    def search(
        self,
        share: float,
        most_steps: int,
        batches: int,
        rate_factor: Callable[[float], float],
        on_loss: Callable[[int, float], None],
    ) -> Iterator[Phase]:
        """A block in which the loop runs for a part of the budget, at other learning rates.

        Its steps are charged to the one budget. Afterwards the feed can be iterated anew, for
        the rest, and goes on in the stream of images where the search stopped.

        Args:
            share: the part of the whole budget that it may spend.
            most_steps: the number of steps at which it ends as well.
            batches: how many it goes round among: that one batch is harder than another would
                drown what a learning rate does.
            rate_factor: factor on learning rates, by the progress of the search.
            on_loss: called with each step of the search, from 1 on, and its loss.
        """
        self._clock.start()
        end = min(self.budget.amount, self._spent + share * self.budget.amount)
        self._phase = Phase(self._spent, end, most_steps, batches, rate_factor, on_loss)
        self._phase_taken = self._taken
        try:
            yield self._phase
        finally:
            if isinstance(self._loop, Generator):
                self._loop.close()
            self._loop = None
            self._read_all_losses()
            self._kept.clear()
            self.stop_reason = "no steps"
            self._phase = Phase(self._spent, self.budget.amount)
            self._phase_taken = self._taken

    def keep(self, part: Stateful) -> None:
        """Makes an optimizer (or what has a state like one) part of every checkpoint.

        A plugin that uses `zoo.training.loop.Optimizer` has nothing to do; one with parts
        of its own keeps each, always in the same order. In a training that is resumed the part gets
        here the state that it had.
        """
        number = len(self._kept)
        self._kept.append(part)
        if number < len(self._kept_before):
            try:
                part.load_state_dict(self._kept_before[number])
            except (ValueError, KeyError, RuntimeError) as error:
                raise WeightsError(f"{_OTHER_METHOD}: {error}") from error

    @property
    def can_be_kept(self) -> bool:
        """Whether training could go on from here: it is under way, and this is no search."""
        return self._phase.rate_factor is None and self._steps > 0

    def state(self) -> dict[str, Any]:
        """The state of the feed after a step, as plain values and the states of what it keeps."""
        self._read_all_losses()
        return {
            "seconds": self._clock.seconds,
            "steps": self._steps,
            "taken": self._taken,
            "phase_taken": self._phase_taken,
            "phase": {name: getattr(self._phase, name) for name in _PHASE_STATE},
            "flops_per_step": self._flops_per_step,
            "rate_scale": self.rate_scale,
            "longest_step_seconds": self.longest_step_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "curve": self.curve.state(),
            "kept": [part.state_dict() for part in self._kept],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken; to be called before the first batch.

        What was done in this process so far, such as looking at the training set, is not
        charged again.
        """
        self._clock.set(state["seconds"])
        self._steps, self._taken = state["steps"], state["taken"]
        self._phase_taken = state["phase_taken"]
        self._phase = Phase(end=self.budget.amount, **state["phase"])
        self._flops_per_step = state["flops_per_step"]
        self.rate_scale = state["rate_scale"]
        self.longest_step_seconds = state["longest_step_seconds"]
        self.evaluation_seconds = state["evaluation_seconds"]
        self.curve.restore(state["curve"])
        self._kept_before = list(state["kept"])

    def survey(self, limit: int = 4096) -> Iterator[tuple[Tensor, Tensor]]:
        """Up to `limit` training images once, centre-cropped, for statistics such as a prior.

        Which ones depends on the seed. The clock runs; steps and images are not charged.
        """
        self._clock.start()
        chosen = np.random.default_rng(self._seed % 2**63).permutation(len(self._images))[:limit]
        offset = (self._images.side - self._stored) // 2
        for start in range(0, len(chosen), 256):
            index = np.sort(chosen[start : start + 256])
            rows = np.stack(np.broadcast_arrays(index, offset, offset, 0, self._stored), axis=1)
            yield rgb_to_lab(self._images.crop(rows, self.size))

    def true_lightness(self, L: Tensor) -> Tensor:
        """The truth's lightness of the batch under way, whose L the network sees.

        Raises:
            PluginError: inputs are varied, and L is not the tensor that this feed handed out.
        """
        if self._varied is None:
            return L
        if self._handed_out is None or L is not self._handed_out[0]:
            raise PluginError(
                "the truth is known of the very tensor L that the feed handed out; pass that one on"
            )
        return self._handed_out[1]

    def log(self, loss: Tensor) -> None:
        """Records the loss of the step under way, a scalar.

        It is checked when the step is over, on a GPU one step later, so that reading it does
        not stall the queue: the loop then raises `TrainingError` if it is NaN or infinite.
        """
        loss = loss.detach()
        if loss.device.type == "cuda":
            # Reading a tensor on the GPU would wait for the steps queued behind it, too.
            kept = torch.empty_like(loss, device="cpu", pin_memory=True)
            kept.copy_(loss, non_blocking=True)
        else:
            kept = loss.clone()
        self._losses.append((self._steps + 1, kept))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock inside the block, for evaluation."""
        synchronize(self.device)
        self._clock.stop()
        start = time.perf_counter()
        try:
            yield
        finally:
            synchronize(self.device)
            self.evaluation_seconds += time.perf_counter() - start
            self._clock.start()

    def close(self) -> None:
        """Ends the loop, stops the clock and checks that at least one step was made.

        Raises:
            TrainingError: the last loss was NaN or infinite.
            BudgetError: the budget was spent before the first step.
            WeightsError: the training that was resumed had other optimizers.
        """
        self.abandon()
        self._read_all_losses()
        self.curve.flush(self.cost)
        if self._kept_before and len(self._kept) != len(self._kept_before):
            raise WeightsError(
                f"{_OTHER_METHOD}: it kept {len(self._kept_before)} optimizers, now there are "
                f"{len(self._kept)}"
            )
        if self.stop_reason == "budget" and self._phase.steps == 0:
            raise BudgetError(
                f"the budget {self.budget} was spent before the first step "
                f"({self.cost.seconds:.2f} s and {self._steps} steps went into what comes before); "
                "give a larger one"
            )

    def abandon(self) -> None:
        """Ends the loop and stops the clock, whatever state training is in."""
        if isinstance(self._loop, Generator):
            # A suspended generator would leave its FLOP counter switched on.
            self._loop.close()
        synchronize(self.device)
        self._clock.stop()

    def _batches(self) -> Generator[tuple[Tensor, Tensor]]:
        self._clock.start()
        previous_step: torch.cuda.Event | None = None
        turn_started: float | None = None
        try:
            while True:
                position = self._next_position()
                rows = self._stream.take(position, self.batch_size)
                L, ab = rgb_to_lab(self._images.crop(rows, self.size))
                seen = L
                if self._varied is not None and self._phase.rate_factor is None:
                    seen = self._varied(L, position)
                # The next batch is queued before the wait, so that the GPU stays busy.
                if previous_step is not None:
                    previous_step.synchronize()
                now = self._clock.seconds
                if turn_started is not None:
                    self.longest_step_seconds = max(self.longest_step_seconds, now - turn_started)
                turn_started = now
                if self._phase.is_over(self._spent):
                    self.stop_reason = "budget"
                    return
                counter = count_flops() if self._steps == 0 else None
                with counter or nullcontext():
                    self._handed_out = seen, L
                    yield seen, ab
                if counter is not None:
                    self._flops_per_step = float(counter.get_total_flops())
                if self.device.type == "cuda":
                    previous_step = torch.cuda.Event()  # type: ignore[no-untyped-call]
                    previous_step.record()
                self._taken = max(self._taken, self._next_position() + self.batch_size)
                self._steps += 1
                self._phase.steps += 1
                self._read_losses(self._steps - (self.device.type != "cpu"))
                if self._on_step is not None:
                    self._on_step(self)
        except GeneratorExit:
            self.stop_reason = "plugin"
            raise

    def _next_position(self) -> int:
        turn = self._phase.steps
        if self._phase.batches is not None:
            turn %= self._phase.batches
        return self._phase_taken + turn * self.batch_size

    def _read_all_losses(self) -> None:
        synchronize(self.device)
        self._read_losses(self._steps)

    def _read_losses(self, up_to_step: int) -> None:
        """Checks the losses of steps that are over: on a GPU, waited for."""
        while self._losses and self._losses[0][0] <= up_to_step:
            step, loss = self._losses.popleft()
            value = float(loss)
            if self._phase.on_loss is not None:
                self._phase.on_loss(step, value)
                continue
            if not np.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} in step {step}; lower the learning rate "
                    "(--set MODEL.learning_rate=…) or use --precision fp32"
                )
            self.curve.add(self.cost, value)
