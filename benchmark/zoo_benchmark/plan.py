"""The plan of a comparison: the cells to be trained and timed, each with its key."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from zoo.sources import sources_digest
from zoo.training.budget import Budget
from zoo_benchmark.conditions import CLEAN
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.protocol import NO_BUDGET, Protocol, seeds_of
from zoo_benchmark.run.given import GivenWeights
from zoo_benchmark.run.trial_spec import (
    WEIGHTS,
    ConditionSpec,
    ScoringSpec,
    TimingSpec,
    TrialSpec,
)
from zoo_benchmark.settings import BenchSettings, CheckedModel
from zoo_benchmark.store import Store, key_of

SHOWCASE_COUNT = 8

# What of this package decides how a model is trained and scored; metrics and images have entries of
# their own in the key.
_TRAINING_CODE = [
    Path(__file__).parent / "run" / name
    for name in ("given.py", "trial.py", "scoring.py", "learning_curve.py")
]


@dataclass(frozen=True)
class PlannedCell:
    """A cell of the comparison, before it is run.

    Attributes:
        spec: the trial that makes it.
        key: its name in the store.
        timing: the timing of its model, and the name of that in the store; None where speed
            is not asked for.
        conditions: its scoring under each condition that needs one, and their names in the store.
        floor: whether its row is a reference.
        forced: whether it is made again although it is finished.
        given: the weights that are scored as they are; None where they are trained.
    """

    spec: TrialSpec
    key: str
    timing: tuple[TimingSpec, str] | None
    conditions: Mapping[str, tuple[ConditionSpec, str]]
    floor: bool
    forced: bool
    given: GivenWeights | None = None

    def to_dict(self) -> dict[str, Any]:
        """The cell's entry in `run.json`."""
        return {
            "label": self.spec.label,
            "model": self.spec.model,
            "repetition": self.spec.repetition,
            "key": self.key,
            "timing": self.timing[1] if self.timing else None,
            "conditions": {name: key for name, (_, key) in self.conditions.items()},
            "floor": self.floor,
            **({"given": self.given.to_dict()} if self.given else {}),
        }


def plan_cells(
    models: Sequence[CheckedModel],
    protocol: Protocol,
    settings: BenchSettings,
    store: Store,
    manifests: Mapping[str, str],
    files: MetricFiles,
    hardware_names: tuple[str, str],
) -> list[PlannedCell]:
    """All cells, the first repetition of every model first; one alone of what is not trained.

    Args:
        models: the rows.
        protocol: the protocol in force.
        settings: what else was asked for.
        store: where finished cells are.
        manifests: the manifest hash of each split's images.
        files: what was found of the files that the metrics need.
        hardware_names: the hardware that cells are trained on, and that they are timed on.
            Part of a trial's key where the budget is in seconds, as other hardware does other
            work in that time, and of every timing's.
    """
    cells = []
    for repetition in range(protocol.seeds):
        for model in models:
            if repetition and (model.given or not protocol.trains):
                continue
            spec = _trial_spec(model, repetition, protocol, settings, manifests, files)
            key = _key(model, spec, protocol, hardware_names[0])
            request = model.request
            timing = None
            if settings.throughput:
                timing = _timing(spec, key, settings, store, hardware_names[1])
            conditions = _conditions(model, spec, key, protocol, store)
            forced = bool({request.name, request.label} & set(settings.force))
            cells.append(
                PlannedCell(spec, key, timing, conditions, model.floor, forced, model.given)
            )
    return cells


def _trial_spec(
    model: CheckedModel,
    repetition: int,
    protocol: Protocol,
    settings: BenchSettings,
    manifests: Mapping[str, str],
    files: MetricFiles,
) -> TrialSpec:
    request, trained = model.request, not model.request.weights and protocol.trains
    data_seed, model_seed = seeds_of(protocol.seed, protocol.id, repetition, request.name)
    return TrialSpec(
        model=request.name,
        label=request.label,
        preset=protocol.preset,
        changes=request.changes,
        option_files=[name for name in request.changes if name in model.option_files],
        dataset=protocol.dataset,
        size=protocol.size,
        manifests={s: m for s, m in manifests.items() if trained or s == "test"},
        budget=protocol.budget if trained else NO_BUDGET,
        learning_rate=protocol.learning_rate,
        input_variety=protocol.input_variety,
        crop_scale=protocol.crop_scale,
        stored_size=protocol.stored_size,
        repetition=repetition,
        data_seed=data_seed,
        model_seed=model_seed,
        device=settings.device,
        precision=settings.precision,
        weights=model.given.path if model.given else request.weights,
        weights_sha256=model.given.sha256 if model.given else "",
        metrics=list(protocol.metrics),
        metric_files={
            metric: {name: str(path.resolve()) for name, path in paths.items()}
            for metric, paths in files.paths.items()
        },
        metrics_missing=dict(files.missing),
        showcase=SHOWCASE_COUNT,
    )


def _key(model: CheckedModel, spec: TrialSpec, protocol: Protocol, hardware_text: str) -> str:
    name = f"{spec.model}-{spec.repetition}"
    if model.colorizer is None:
        # Nothing is known of a plugin that cannot be constructed; its cell is never taken again.
        return key_of(name, {"once": uuid.uuid4().hex})
    device = model.colorizer.device.type
    facts: dict[str, Any] = {
        "model": spec.model,
        "options": {**asdict(model.colorizer.options), **model.option_files},
        "protocol": protocol.id,
        "size": spec.size,
        "manifests": spec.manifests,
        "metrics": dict(protocol.metrics),
        "metric_files": sorted(spec.metric_files),
        "device": device,
        "precision": model.colorizer.precision,
        "torch": torch.__version__,
        "sources": sources_digest(model.colorizer, _TRAINING_CODE),
    }
    if spec.budget == NO_BUDGET:
        return key_of(name, facts | {"weights": spec.weights_sha256})
    budget = Budget.parse(spec.budget)
    facts |= {
        "budget": [budget.amount, budget.unit],
        "learning_rate": spec.learning_rate,
        "variety": asdict(spec.variety),
        "seeds": [spec.data_seed, spec.model_seed],
    }
    if budget.unit == "seconds":
        facts["hardware"] = hardware_text
    return key_of(name, facts)


def _conditions(
    model: CheckedModel, spec: TrialSpec, key: str, protocol: Protocol, store: Store
) -> dict[str, tuple[ConditionSpec, str]]:
    """The scorings of a finished cell, whose own key they do not touch."""
    paints_rgb = model.colorizer is not None and model.colorizer.paints_rgb
    found = {}
    for name, version in protocol.conditions.items():
        if name == CLEAN and not paints_rgb:
            continue  # the cell's own scores; painted pictures are compared with L copied
        shared = {f.name: getattr(spec, f.name) for f in fields(ScoringSpec)}
        scoring = ConditionSpec(**shared | _finished(spec, key, store), condition=name)
        facts = {"cell": key, "condition": [name, version]}
        found[name] = scoring, key_of(f"{spec.model}-{spec.repetition}-{name}", facts)
    return found


def _finished(spec: TrialSpec, key: str, store: Store) -> dict[str, Any]:
    """What a finished cell predicts with; the options of what it trained are in its weights."""
    if spec.weights:
        names = ("changes", "option_files", "weights", "weights_sha256")
        return {name: getattr(spec, name) for name in names}
    # But files may have been elsewhere where it was trained.
    changes = {name: spec.changes[name] for name in spec.option_files}
    weights = str(store.path(key).resolve() / WEIGHTS)
    return {"changes": changes, "option_files": spec.option_files, "weights": weights}


def _timing(
    spec: TrialSpec, key: str, settings: BenchSettings, store: Store, hardware_text: str
) -> tuple[TimingSpec, str]:
    timing = TimingSpec(
        model=spec.model,
        label=spec.label,
        repetition=spec.repetition,
        dataset=spec.dataset,
        size=spec.size,
        device=settings.device,
        precision=settings.precision,
        **_finished(spec, key, store),
    )
    facts = {"cell": key, "hardware": hardware_text, "torch": torch.__version__}
    return timing, key_of(f"{spec.model}-{spec.repetition}-timing", facts)
