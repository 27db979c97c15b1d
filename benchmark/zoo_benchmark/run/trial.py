"""The trial of a cell, and its scores under a condition, as processes of their own do them.

What a trial leaves in OUT: `result.json`, `scores.csv`, `predictions.npz`, `showcase/`, and of a
training `curve.csv` (the loss), `learning.csv` (the metrics along the way) and
`weights.safetensors`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from zoo import registry
from zoo.arrays import UInt8Array
from zoo.colorizer import Colorizer
from zoo.data.dataset import Dataset, ImageSet, Split
from zoo.errors import DataError, OutputError
from zoo.files import atomic_path, check_room
from zoo.metric import Metric, MetricContext, Pictures
from zoo.training.feed import Feed
from zoo.weights.file import stored_bytes
from zoo.weights.rescue import save_somewhere
from zoo_benchmark.conditions import check_condition
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.protocol import NO_BUDGET
from zoo_benchmark.run import scoring
from zoo_benchmark.run.control import measure_control
from zoo_benchmark.run.environment import describe_environment
from zoo_benchmark.run.given import load_given
from zoo_benchmark.run.learning_curve import CURVE_IMAGES, LearningCurve, write_losses
from zoo_benchmark.run.memory import PeakMemory
from zoo_benchmark.run.pictures import write_pictures
from zoo_benchmark.run.process import Progress
from zoo_benchmark.run.trial_spec import (
    CURVE,
    LEARNING,
    PREDICTIONS,
    SCORES,
    SHOWCASE,
    WEIGHTS,
    ConditionSpec,
    ScoringSpec,
    TrialSpec,
)

CONDITION_PICTURES = 3
"""How many pictures of the grid are coloured under every condition, too."""

KEPT_IMAGES = 192
"""How many predictions are kept for the report's browser: the same images for every model."""


def train_and_score(spec: TrialSpec, out: Path, result: dict[str, Any], progress: Progress) -> None:
    """Trains and scores one model, or scores the weights that it was given.

    The files go to `out`, the facts to `result`.

    Raises:
        ZooError: whatever a user can have caused; anything else a plugin may have.
    """
    progress.stage("loading")
    colorizer = _open(spec)
    result["options"] = dataclasses.asdict(colorizer.options)
    result["environment"] = describe_environment(colorizer.device)
    progress.stage("timing")
    result["control"] = measure_control(colorizer.device)
    progress.stage("loading")
    dataset = registry.open_dataset(spec.dataset)
    train = None if spec.budget == NO_BUDGET else _load(dataset, "train", spec)
    test = _load(dataset, "test", spec)
    metrics = _open_metrics(spec, colorizer, test, result)
    curve = None
    if train is not None:
        curve = _train(spec, colorizer, train, test, metrics, out, result, progress)
    result["params"] = colorizer.parameter_count
    if not spec.weights:
        saved, problem = save_somewhere(colorizer.save, out / WEIGHTS)
        if problem:
            raise OutputError(f"{problem}; what was trained is in {saved}")

    progress.stage("scoring")
    _record_scores(scoring.score(colorizer, test, metrics), metrics, out, result)
    if curve is not None:
        assert colorizer.record is not None
        curve.finish(colorizer.record.cost)
        curve.write(out / LEARNING)
    _keep_predictions(colorizer, test.spread(KEPT_IMAGES), out)
    _paint_showcase(colorizer, dataset, spec, out)


def _open(spec: TrialSpec) -> Colorizer:
    """The colorizer: to be trained, of the weights that were given, or one that learns nothing."""
    if spec.weights:
        return load_given(spec, spec.device)
    cls = registry.colorizer_class(spec.model)
    options = cls.preset(spec.preset)
    colorizer = cls(options, device=spec.device, precision=spec.precision, **spec.changes)
    return colorizer.ready() if spec.budget == NO_BUDGET else colorizer


def _train(
    spec: TrialSpec,
    colorizer: Colorizer,
    train: ImageSet,
    test: ImageSet,
    metrics: Sequence[Metric],
    out: Path,
    result: dict[str, Any],
    progress: Progress,
) -> LearningCurve:
    """Trains the model within the budget; the curve lacks its last point yet."""
    progress.stage("training")
    memory = PeakMemory(colorizer.device)
    curve = LearningCurve(colorizer, metrics, test.spread(CURVE_IMAGES), _pause(colorizer, memory))
    memory.resume()
    colorizer.fit(
        train,
        budget=spec.budget,
        seed=spec.model_seed,
        data_seed=spec.data_seed,
        size=spec.size,
        input_variety=spec.input_variety,
        crop_scale=spec.crop_scale,
        stored_size=spec.stored_size,
        find_learning_rate=spec.learning_rate == "find",
        on_step=_in_turn(progress.step, curve.step, _room_for(colorizer, out / WEIGHTS)),
    )
    result["peak_memory_mb"] = memory.pause()
    _record_training(colorizer, out, result)
    return curve


def score_condition(
    spec: ConditionSpec, out: Path, result: dict[str, Any], progress: Progress
) -> None:
    """Scores the finished model of a cell on inputs under a condition.

    It leaves `scores.csv` and `showcase/`: the first few pictures, as they are scored.
    """
    progress.stage("loading")
    condition = check_condition(spec.condition)
    colorizer = load_given(spec, spec.device)
    dataset = registry.open_dataset(spec.dataset)
    test = _load(dataset, "test", spec)
    metrics = _open_metrics(spec, colorizer, test, result)
    progress.stage("scoring")
    scores = scoring.score(colorizer, test, metrics, condition)
    _record_scores(scores, metrics, out, result)
    pictures = dataset.showcase(spec.showcase, spec.size)
    source = Pictures.from_array(pictures.images[:CONDITION_PICTURES], colorizer.device)
    painted = scoring.paint_under(condition, colorizer, source)
    _write_showcase(painted.rgb8.permute(0, 2, 3, 1).cpu().numpy(), out)


def _record_scores(
    scores: scoring.Scores, metrics: Sequence[Metric], out: Path, result: dict[str, Any]
) -> None:
    worked = [m.info for m in metrics if m.info.name not in scores.broken]
    result["metrics"] = {info.name: info.version for info in worked}
    result["metrics_broken"] = scores.broken
    result["set_scores"] = scores.sets
    result["set_halves"], result["images_scored"] = scores.halves, scores.count
    with atomic_path(out / SCORES) as partial:
        scores.images.to_csv(partial, index=False)


def _load(dataset: Dataset, split: Split, spec: ScoringSpec) -> ImageSet:
    """The images of a split, which must be those that the comparison was planned with."""
    side = spec.size
    if split == "train" and isinstance(spec, TrialSpec):
        side = spec.variety.stored(spec.size)
    images = dataset.open(split, side)
    wanted = spec.manifests.get(split)
    if wanted and (found := images.manifest_hash()) != wanted:
        raise DataError(
            f"the {split} images of {spec.dataset} have changed since the start of this run: "
            f"manifest {found[:12]}…, expected {wanted[:12]}…; start it again"
        )
    return images


def _open_metrics(
    spec: ScoringSpec, colorizer: Colorizer, test: ImageSet, result: dict[str, Any]
) -> list[Metric]:
    # The search for files was made once, when the comparison was planned.
    files = {
        metric: {name: Path(path) for name, path in paths.items()}
        for metric, paths in spec.metric_files.items()
    }
    context = MetricContext(device=colorizer.device, truth=test.images)
    metrics, unavailable = scoring.open_metrics(
        spec.metrics, context, spec.size, MetricFiles(files, spec.metrics_missing)
    )
    result["metrics_unavailable"] = unavailable
    return metrics


def _pause(colorizer: Colorizer, memory: PeakMemory) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def pause() -> Iterator[None]:
        memory.pause()
        with colorizer.evaluating():
            yield
        memory.resume()

    return pause


def _in_turn(*callbacks: Callable[[Feed], None]) -> Callable[[Feed], None]:
    def call(feed: Feed) -> None:
        for callback in callbacks:
            callback(feed)

    return call


def _room_for(colorizer: Colorizer, file: Path) -> Callable[[Feed], None]:
    """Looks after the first step whether what is trained can be kept, not after the last."""

    def step(feed: Feed) -> None:
        if feed.cost.steps == 1:
            needed = stored_bytes(colorizer.net.state_dict().values())
            check_room(file, needed, "what is trained", "--out")

    return step


def _record_training(colorizer: Colorizer, out: Path, result: dict[str, Any]) -> None:
    record = colorizer.record
    assert record is not None
    result["training"] = dataclasses.asdict(record)
    write_losses(out / CURVE, result["training"].pop("curve"))
    cost = record.cost
    result["train_images_per_s"] = cost.images / cost.seconds if cost.images else None


def _keep_predictions(colorizer: Colorizer, test: ImageSet, out: Path) -> None:
    painted = scoring.paint_images(colorizer, test.images)
    write_pictures(out / PREDICTIONS, ImageSet(painted, test.ids))


def _paint_showcase(colorizer: Colorizer, dataset: Dataset, spec: TrialSpec, out: Path) -> None:
    pictures = dataset.showcase(spec.showcase, spec.size)
    _write_showcase(scoring.paint_images(colorizer, pictures.images), out)


def _write_showcase(images: UInt8Array, out: Path) -> None:
    for index, image in enumerate(images):
        with atomic_path(out / SHOWCASE / f"{index:02d}.png") as partial:
            Image.fromarray(image).save(partial)
