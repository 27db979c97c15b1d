"""Training records: what was allowed, what was spent, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from zoo.cost import Cost, Unit

CLOCK_RULES = (
    "The clock runs through looking at the training set, compilation, warm-up, the "
    "learning-rate search and every training step; it stands still for evaluation, loading "
    "and saving. The rules are the same for every model."
)


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a training: how a colorizer came by its weights.

    Attributes:
        budget: as it was asked for.
        seed: decides the weights and what the method draws.
        stop_reason: `budget`, `plugin` where it left by itself, `no steps` where it needs none.
        cost: all that was spent, a search included.
        images_available: different images there were.
        images_seen: different images that were in a batch.
        size: side of the crops in pixels.
        batch_size: images per step.
        device: where it ran.
        precision: `fp32` or `bf16`.
        curve: the loss along the way, with all four costs.
        budget_amount: in the base unit of `budget_unit`.
        budget_unit: seconds, steps, images or flops.
        overshoot: what was spent beyond the budget, in its unit; at most one step.
        longest_step_seconds: the longest turn of the loop: what an overshoot in seconds
            cannot exceed.
        evaluation_seconds: how long the clock stood still for evaluations.
        learning_rate: the highest step size of the training; None where the method has none.
        learning_rate_found: whether a search inside the budget chose it.
        search_steps: steps that the search took of the budget.
        manifest: `ImageSet.manifest_hash` of the training images.
        data: the dataset's name; empty where images were given as such.
        data_license: the dataset's; empty where it is not known.
        initial: the weights that training started from; empty for fresh ones.
        input_variety: whether the lightness that the network saw was changed at random.
        crop_scale: the smallest and the largest share of the stored side that a crop covered.
        stored_size: the side that the images were stored at; None where it was not recorded.
        clock: what counted and what did not.
    """

    budget: str
    seed: int
    stop_reason: str
    cost: Cost
    images_available: int
    images_seen: int
    size: int
    batch_size: int
    device: str
    precision: str
    curve: list[dict[str, float]] = field(default_factory=list)
    budget_amount: float | None = None
    budget_unit: Unit | None = None
    overshoot: float = 0.0
    longest_step_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    learning_rate: float | None = None
    learning_rate_found: bool = False
    search_steps: int = 0
    manifest: str = ""
    data: str = ""
    data_license: str = ""
    initial: str = ""
    input_variety: bool = False
    crop_scale: list[float] = field(default_factory=lambda: [1.0, 1.0])
    stored_size: int | None = None
    clock: str = CLOCK_RULES

    @property
    def images(self) -> str:
        """The images that the weights learnt from, in words."""
        count = self.images_seen or self.images_available  # one may count, and not step
        return f"{count:,} images of {self.data}" if self.data else f"{count:,} images"


def read_record(stored: Any) -> TrainingRecord | None:
    """The record as it lies in weights, without its curve; None where there is none to be read."""
    try:
        record = TrainingRecord(**{**stored, "cost": Cost(**stored["cost"])})
    except (TypeError, KeyError):
        return None
    return record if _is_typed(record) and _is_typed(record.cost) else None


def _is_typed(record: Any) -> bool:
    """Whether every plain field holds what its annotation says; an int will do for a float."""
    for name, kind in get_type_hints(type(record)).items():
        kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
        plain = tuple(k for k in kinds if k in (int, float, str, bool, NoneType))
        value = getattr(record, name)
        if float in plain:
            plain = (*plain, int)
        if len(plain) >= len(kinds) and not isinstance(value, plain):
            return False
        if isinstance(value, bool) and plain and bool not in plain:
            return False
    return True
