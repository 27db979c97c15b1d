"""The JSON that describes one trial, and the names of the files in its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from zoo.files import write_text

# What the parent writes, and what the trial does.
SPEC, LOG = "spec.json", "log.txt"
RESULT, SCORES, CURVE = "result.json", "scores.csv", "curve.csv"
WEIGHTS, SHOWCASE, PROGRESS = "weights.safetensors", "showcase", "progress.json"
OK = "ok"
# The showcase is coloured at this size where the dataset has it that large.
SHOWCASE_SIZE = 128

_LONGEST_SLUG = 100


def cell_folder(out: Path, label: str, repetition: int) -> Path:
    """Where the trial of a row and a repetition lies in the folder of a run."""
    return out / "cells" / f"{slug(label)}-{repetition}"


def slug(label: str) -> str:
    """A file name that stays inside its folder, different for different labels."""
    safe = re.sub(r"[^A-Za-z0-9=,._-]", lambda m: f"%{ord(m[0]):x}", label)
    if len(safe) <= _LONGEST_SLUG:
        return safe
    return f"{safe[:_LONGEST_SLUG]}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class TrialSpec:
    """One cell of a comparison: a model with options, on a dataset, under a budget, once.

    Attributes:
        model: the colorizer's name.
        label: the row it belongs to.
        preset: the options it starts from.
        changes: options changed, as text.
        dataset: as `--dataset` takes it.
        size: side in pixels.
        budget: as `--budget` takes it.
        repetition: 0, 1, …
        data_seed: of images' order, crops and flips.
        model_seed: of weights and whatever the method draws.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto`, `fp32` or `bf16`.
        metrics: names of the metrics to score.
        lpips_weights: file with AlexNet's features, or None where none could be had.
        lpips_status: why there is none.
        showcase: how many pictures to colour for the grid.
        throughput: whether to time `predict`.
    """

    model: str
    label: str
    preset: Literal["paper", "small"]
    dataset: str
    size: int
    budget: str
    repetition: int
    data_seed: int
    model_seed: int
    changes: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    metrics: list[str] = field(default_factory=list)
    lpips_weights: str | None = None
    lpips_status: str = ""
    showcase: int = 8
    throughput: bool = True

    def write(self, path: Path) -> None:
        """Writes it as JSON, atomically."""
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> TrialSpec:
        """Reads what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
