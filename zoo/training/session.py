"""One training from its arguments to its record: what `Colorizer.fit` goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data import containers
from zoo.device import set_random_state
from zoo.errors import InputError, OptionError
from zoo.training.budget import Budget
from zoo.training.checkpoint import Checkpoint
from zoo.training.feed import Feed
from zoo.training.rate_search import search_in_budget
from zoo.training.variety import UNVARIED, Variety
from zoo.weights.file import Origin, StoredWeights, find_weights, load_state
from zoo.weights.record import TrainingRecord

if TYPE_CHECKING:
    from zoo.colorizer import Colorizer


class Session:
    """A training that was asked for: budget, images and weights to start from, read once.

    Arguments and errors are those of `Colorizer.fit`. Where the checkpoint holds an unfinished
    training, it is read at once: what cannot be resumed is told before anything is built.

    Attributes:
        seed: decides the weights and whatever else the method draws.
        initial: the weights to start from; None for fresh ones.
        search_steps: how many steps the search for a learning rate took.
    """

    def __init__(
        self,
        colorizer: Colorizer,
        data: Any,
        budget: str | Budget,
        *,
        seed: int = 0,
        data_seed: int | None = None,
        size: int | None = None,
        variety: Variety = UNVARIED,
        find_learning_rate: bool = False,
        initial: str | Path | None = None,
        checkpoint: Checkpoint | None = None,
        on_step: Callable[[Feed], None] | None = None,
    ) -> None:
        self._colorizer, self._checkpoint, self._on_step = colorizer, checkpoint, on_step
        rate = colorizer.training_options.pretrained_rate
        if rate != 1 and not colorizer.pretrained:
            raise OptionError(
                f"{colorizer.info.name}: pretrained_rate={rate:g} would change nothing, since no "
                "part of the network starts from published weights; leave it at 1"
            )
        self._budget = Budget.parse(budget)
        self._variety = variety
        if variety.stored_size is not None:
            if size is None:
                raise InputError(
                    f"stored_size {variety.stored_size} goes with the size of the crops; "
                    "give both, such as size=64, stored_size=128"
                )
            variety.stored(size)
        self._given = containers.training_set(
            data, size, colorizer.multiple, colorizer.minimum_size, variety.stored_size
        )
        self.initial = None if initial is None else find_weights(initial, type(colorizer))
        self.seed, self._data_seed = seed, data_seed
        self._find_learning_rate = find_learning_rate
        self.search_steps = 0
        self._saved = checkpoint.resume(self._identity) if checkpoint is not None else None

    @cached_property
    def _identity(self) -> Mapping[str, object]:
        """What this training must share with a checkpoint to go on from it."""
        return training_identity(
            self._colorizer,
            self._budget,
            seed=self.seed,
            data_seed=self._data_seed,
            variety=self._variety,
            find_learning_rate=self._find_learning_rate,
            initial=self.initial,
        ) | {
            "the size of the crops": self._given.size,
            "the manifest of the training images": self._given.images.manifest_hash(),
        }

    def new_feed(self) -> Feed:
        """The batches of this training, for its budget."""
        return Feed(
            self._given.images.images,
            self._budget,
            batch_size=self._colorizer.training_options.batch_size,
            size=self._given.size,
            device=self._colorizer.device,
            seed=self.seed if self._data_seed is None else self._data_seed,
            variety=self._variety,
            on_step=self._after_step,
        )

    def run(self, feed: Feed) -> None:
        """Trains the colorizer's network until the feed is spent, anew or from the checkpoint."""
        colorizer, checkpoint, saved = self._colorizer, self._checkpoint, self._saved
        if checkpoint is not None:
            checkpoint.check_room(colorizer.net)
        if saved is not None and checkpoint is not None:
            self.search_steps = saved["search_steps"]
            load_state(colorizer.net, saved["net"], checkpoint.path)
            feed.restore(saved["feed"])
            set_random_state(saved["random"], colorizer.device)
        elif self._find_learning_rate:
            self.search_steps = search_in_budget(colorizer, feed)
        colorizer.train(feed)
        feed.close()
        if checkpoint is not None and feed.can_be_kept:
            # Until the weights are saved, this is all there is of a finished training.
            checkpoint.write(self._identity, colorizer.net, feed, self.search_steps)

    def record(self, feed: Feed) -> TrainingRecord:
        """The record of the training, once its feed has been closed."""
        images = self._given.images
        return TrainingRecord(
            budget=str(feed.budget),
            seed=self.seed,
            stop_reason=feed.stop_reason,
            cost=feed.cost,
            images_available=feed.image_count,
            images_seen=feed.images_seen,
            size=feed.size,
            batch_size=feed.batch_size,
            device=str(feed.device),
            precision=self._colorizer.precision,
            curve=feed.curve.points,
            budget_amount=feed.budget.amount,
            budget_unit=feed.budget.unit,
            overshoot=feed.overshoot,
            longest_step_seconds=feed.longest_step_seconds,
            evaluation_seconds=feed.evaluation_seconds,
            learning_rate=feed.learning_rate,
            learning_rate_found=bool(self.search_steps),
            search_steps=self.search_steps,
            manifest=images.manifest_hash(),
            data=images.source,
            data_license=images.license,
            initial="" if self.initial is None else self.initial.label,
            input_variety=feed.variety.input,
            crop_scale=list(feed.variety.crop_scale),
            stored_size=feed.variety.stored(feed.size),
        )

    def origin(self, record: TrainingRecord) -> Origin:
        """The origin of the weights of this training: one's own, under the initial ones' license.

        Its record tells of its own images alone, so of fine-tuned weights the origin names both.
        """
        if self.initial is None:
            return Origin(self._colorizer.info.license)
        images = f"{self.initial.taught}; then {record.images}"
        return Origin(self.initial.origin.license, trained_on=images)

    def _after_step(self, feed: Feed) -> None:
        if self._on_step is not None:
            self._on_step(feed)
        if self._checkpoint is not None:
            self._checkpoint.step(self._identity, self._colorizer.net, feed, self.search_steps)


def training_identity(
    colorizer: Colorizer,
    budget: Budget,
    *,
    seed: int,
    data_seed: int | None,
    variety: Variety,
    find_learning_rate: bool,
    initial: StoredWeights | None,
) -> dict[str, object]:
    """What a training must share with a checkpoint to go on from it, but for its images."""
    return {
        "model": colorizer.info.name,
        **{f"option {name}": value for name, value in asdict(colorizer.options).items()},
        "budget": f"{budget.amount:g} {budget.unit}",
        "seed": seed,
        "data seed": data_seed,
        "input variety": variety.input,
        "crop scale": list(variety.crop_scale),
        "stored size": variety.stored_size,
        "learning-rate search": find_learning_rate,
        "initial weights": initial.label if initial is not None else "none",
        "device": colorizer.device.type,
        "precision": colorizer.precision,
    }
