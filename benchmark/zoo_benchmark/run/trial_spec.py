"""The JSON that describes one trial, and the names of the files in its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from zoo.files import write_text
from zoo.text import parse_json
from zoo.training.variety import WHOLE, Variety

# Files in a cell's folder: what the parent writes, and what the trial does.
SPEC, LOG = "spec.json", "log.txt"
RESULT, SCORES, CURVE, LEARNING = "result.json", "scores.csv", "curve.csv", "learning.csv"
WEIGHTS, SHOWCASE, PREDICTIONS = "weights.safetensors", "showcase", "predictions.npz"
PROGRESS = "progress.json"
# Files and folders in a run's folder.
RUN, CELLS, ATTEMPTS, EXTERNAL = "run.json", "cells", "attempts", "external"
WEIGHTS_FOLDER = "weights"
REFERENCES, TRUTH, SHOWCASE_TRUTH = "references.csv", "truth.npz", "showcase.npz"
INPUTS = "inputs.npz"
# The status of a cell.
OK, FAILED, NOT_RUN = "ok", "failed", "not run"

STAGES = ("training", "scoring", "timing")
"""The stages that a comparison's time is spent on."""

_LONGEST_SLUG = 100


def slug(label: str) -> str:
    """A file name that stays inside its folder, different for different labels."""
    safe = re.sub(r"[^A-Za-z0-9=,._-]", lambda m: f"%{ord(m[0]):x}", label)
    if len(safe) <= _LONGEST_SLUG:
        return safe
    return f"{safe[:_LONGEST_SLUG]}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a cell's process is told to do.

    Attributes:
        model: the colorizer's name.
        label: the row it belongs to.
        repetition: 0, 1, …
        dataset: as `--dataset` takes it.
        size: side of its images in pixels.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto`, `fp32` or `bf16`.
        changes: options changed, as text.
        option_files: the options among them that name files.
        weights: the file that it predicts with; empty where it is trained.
        weights_sha256: the hash of that file; another one is refused. Empty where any will do.
    """

    model: str
    label: str
    repetition: int
    dataset: str
    size: int
    device: str = "auto"
    precision: str = "auto"
    changes: dict[str, str] = field(default_factory=dict)
    option_files: list[str] = field(default_factory=list)
    weights: str = ""
    weights_sha256: str = ""

    work: ClassVar[str]
    """The function that does it."""

    def write(self, path: Path) -> None:
        """Writes it as JSON, atomically."""
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class ScoringSpec(Spec):
    """What is scored of a cell.

    Attributes:
        manifests: `ImageSet.manifest_hash` of each split; other images are refused.
        metrics: names of the metrics to score.
        metric_files: the paths by name, for each metric that needs files of weights and has them.
        metrics_missing: the reason, for each metric that lacks one.
        showcase: how many pictures to colour for the grid.
    """

    manifests: dict[str, str] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=list)
    metric_files: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics_missing: dict[str, str] = field(default_factory=dict)
    showcase: int = 8


@dataclass(frozen=True, kw_only=True)
class TrialSpec(ScoringSpec):
    """One cell of a comparison: a model with options, on a dataset, under a budget, once.

    Attributes:
        preset: the options it starts from.
        budget: as `--budget` takes it; `none` where nothing is trained.
        learning_rate: `options`, or `find` to search for one inside the budget.
        input_variety: whether the lightness that the network sees in training is changed.
        crop_scale: the smallest and the largest share of the stored side that a crop covers.
        stored_size: side that training images are stored at; None for that of the crops.
        data_seed: decides the images' order, crops, flips and variety.
        model_seed: decides the weights and whatever the method draws.
    """

    preset: Literal["paper", "small"]
    budget: str
    data_seed: int
    model_seed: int
    learning_rate: Literal["options", "find"] = "options"
    input_variety: bool = False
    crop_scale: tuple[float, ...] = WHOLE
    stored_size: int | None = None

    work: ClassVar[str] = "zoo_benchmark.run.trial:train_and_score"

    @property
    def variety(self) -> Variety:
        """How the training images are varied."""
        return Variety(self.input_variety, self.crop_scale, self.stored_size)


@dataclass(frozen=True, kw_only=True)
class TimingSpec(Spec):
    """The timing of one finished cell: how fast its model predicts the grey test images.

    Beside a GPU the CPU is timed, too.
    """

    work: ClassVar[str] = "zoo_benchmark.run.timing:time_prediction"


@dataclass(frozen=True, kw_only=True)
class ConditionSpec(ScoringSpec):
    """The scores of one finished cell under a condition of its input.

    Attributes:
        condition: its name.
    """

    condition: str

    work: ClassVar[str] = "zoo_benchmark.run.trial:score_condition"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None where there is none, or not a whole one."""
    try:
        loaded = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None
