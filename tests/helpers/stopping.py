"""Trainings that are stopped, as Ctrl-C stops them."""

from collections.abc import Callable

from zoo.training.checkpoint import Checkpoint
from zoo.training.feed import Feed


def stop_after(checkpoint: Checkpoint, steps: int) -> Callable[[Feed], None]:
    """An `on_step` that stops training, as Ctrl-C does, after so many steps in all."""

    def on_step(feed: Feed) -> None:
        if feed.cost.steps == steps:
            checkpoint.stop()

    return on_step
