"""The record of a training that has ended, for its weights."""

from __future__ import annotations

from zoo.data.dataset import ImageSet
from zoo.training.feed import Feed
from zoo.weights.record import TrainingRecord


def record_training(
    feed: Feed,
    images: ImageSet,
    *,
    seed: int,
    precision: str,
    search_steps: int,
    initial: str,
) -> TrainingRecord:
    """The record of a feed over these images that has been closed."""
    return TrainingRecord(
        budget=str(feed.budget),
        seed=seed,
        stop_reason=feed.stop_reason,
        cost=feed.cost,
        images_available=feed.image_count,
        images_seen=feed.images_seen,
        size=feed.size,
        batch_size=feed.batch_size,
        device=str(feed.device),
        precision=precision,
        curve=feed.curve.points,
        budget_amount=feed.budget.amount,
        budget_unit=feed.budget.unit,
        overshoot=feed.overshoot,
        longest_step_seconds=feed.longest_step_seconds,
        evaluation_seconds=feed.evaluation_seconds,
        learning_rate=feed.learning_rate,
        learning_rate_found=bool(search_steps),
        search_steps=search_steps,
        manifest=images.manifest_hash(),
        data=images.source,
        data_license=images.license,
        initial=initial,
    )
