"""The folder of a cell, read: nothing in it leads outside, was changed, or is of a wrong kind."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd

from zoo.data.dataset import ImageSet
from zoo_benchmark.results import checked
from zoo_benchmark.results.checked import DamagedError
from zoo_benchmark.results.columns import FACTS
from zoo_benchmark.run.learning_curve import COLUMNS, COSTS
from zoo_benchmark.run.pictures import pictures_flaw
from zoo_benchmark.run.trial_spec import (
    CURVE,
    FAILED,
    LEARNING,
    LOG,
    OK,
    PREDICTIONS,
    RESULT,
    SCORES,
    SPEC,
    WEIGHTS,
)

CHECKSUMS = "files.json"
"""SHA-256 of every file of a finished cell, by its path in the folder."""

Kind = Literal["trial", "given", "condition", "timing"]
"""The work of a cell: training and scoring, scoring given weights or a condition, or timing."""

_SEALED = (SPEC, LOG, RESULT, SCORES, CURVE, LEARNING, PREDICTIONS, WEIGHTS)
_TAKEN = {column.name for column in FACTS}


def metric_name(value: Any, where: str) -> str:
    """The name of a metric's value: a column of its own, which is none of the other facts'."""
    found = checked.line(value, where)
    if not re.fullmatch(r"[\w.-]{1,100}", found) or found in _TAKEN:
        raise DamagedError(f"{where} is no name of a metric: {found[:40]!r}")
    return found


SET_FACTS: Mapping[str, checked.Check] = {
    "set_scores": checked.table_of(checked.score, metric_name),
    "set_halves": checked.table_of(checked.score, metric_name),
}
"""The checks of values of whole sets of images, and of half their intervals."""

_control = checked.table(
    {"version": checked.whole, "images_per_s": checked.positive}, {"spread": checked.number}
)
_speed = checked.table(
    {
        "device": checked.name,
        "hardware": checked.line,
        "images_per_s": checked.positive,
        "latency_ms": checked.number,
        "control": _control,
    }
)
_training = checked.table(
    {
        "cost": checked.table(
            {
                "seconds": checked.number,
                "steps": checked.whole,
                "images": checked.whole,
                "flops": checked.number,
            }
        ),
        "stop_reason": checked.line,
        "budget": checked.line,
        "images_seen": checked.whole,
        "images_available": checked.whole,
        "device": checked.line,
        "precision": checked.line,
    },
    {
        "overshoot": checked.number,
        "longest_step_seconds": checked.number,
        "evaluation_seconds": checked.number,
        "learning_rate": checked.maybe(checked.number),
        "search_steps": checked.whole,
        "budget_unit": checked.maybe(checked.line),
        "clock": checked.line,
    },
)
_spec = checked.table({}, {"budget": checked.line, "preset": checked.line})
_failed = checked.table(
    {"status": checked.one_of(OK, FAILED), "error": checked.line},
    {
        "spec": _spec,
        "traceback": checked.text,
        "options": checked.table({}),
        "environment": checked.table_of(checked.anything),
        "metrics_broken": checked.table_of(checked.line),
        "metrics_unavailable": checked.table_of(checked.line),
        **SET_FACTS,
        "images_scored": checked.whole,
        "seconds": checked.table_of(checked.number),
        "control": _control,
        "training": _training,
        "params": checked.whole,
        "peak_memory_mb": checked.number,
        "train_images_per_s": checked.maybe(checked.number),
        "throughput": checked.list_of(_speed),
    },
)
_NEEDED: Mapping[Kind, checked.Check] = {
    "trial": checked.table(
        dict.fromkeys(("spec", "options", "environment", "training", "params"), checked.anything)
        | {"peak_memory_mb": checked.number}
    ),
    "given": checked.table(
        dict.fromkeys(("spec", "options", "environment", "params"), checked.anything)
    ),
    "condition": checked.table(
        dict.fromkeys(("spec", "set_scores", "images_scored"), checked.anything)
    ),
    "timing": checked.table({"throughput": checked.anything}),
}


@dataclass(frozen=True)
class CellFiles:
    """The content of a cell's folder.

    Attributes:
        result: its `result.json`.
        scores: image, metric, value; empty for a timing, or where it failed.
        learning: the learning curve, as `learning.csv` has it; a trial's alone.
        losses: the loss along the way, as `curve.csv` has it; a trial's alone.
    """

    result: dict[str, Any]
    scores: pd.DataFrame
    learning: pd.DataFrame
    losses: pd.DataFrame


def read_cell(
    folder: Path, *, sealed: bool, kind: Kind | None = None, truth: ImageSet | None = None
) -> CellFiles | None:
    """Reads a cell's folder; None where it has no result.

    Args:
        folder: the cell's.
        sealed: whether it is finished, and the checksums in it must be right.
        kind: the work that it must be of; None where its result tells.
        truth: the run's kept pictures, whose like the predictions must be.

    Raises:
        DamagedError: a file was changed, is a link, or is not what it must be.
    """
    if not os.path.lexists(folder):
        return None
    check_kinds(folder)
    if not sealed and not (folder / RESULT).is_file():
        return None
    if sealed:
        _check_sums(folder)
    result = checked.read_object(folder / RESULT, _failed)
    nothing = pd.DataFrame()
    if result["status"] != OK:
        return CellFiles(result, nothing, nothing, nothing)
    kind = kind or _kind_of(result)
    result = checked.read_object(folder / RESULT, _NEEDED[kind]) | result
    if kind == "timing":
        return CellFiles(result, nothing, nothing, nothing)
    scores = read_scores(folder / SCORES)
    if kind == "condition":
        return CellFiles(result, scores, nothing, nothing)
    if flaw := pictures_flaw(folder / PREDICTIONS, truth):
        raise DamagedError(f"{PREDICTIONS} {flaw}")
    if kind == "given":
        return CellFiles(result, scores, nothing, nothing)
    learning = checked.read_table(
        folder / LEARNING, ["metric"], [c for c in COLUMNS if c != "metric"]
    )
    _check_metrics(learning, LEARNING)
    losses = checked.read_table(folder / CURVE, [], [*COSTS, "loss"])
    return CellFiles(result, scores, learning, losses)


def _kind_of(result: Mapping[str, Any]) -> Kind:
    if "throughput" in result:
        return "timing"
    if "condition" in result.get("spec", {}):
        return "condition"
    return "trial" if "training" in result else "given"


def read_scores(file: Path, *texts: str) -> pd.DataFrame:
    """A table of scores: image, metric and value, and columns of text beside.

    Raises:
        DamagedError: it is not one.
    """
    scores = checked.read_table(file, ["image", "metric", *texts], ["value"])
    _check_metrics(scores, file.name)
    return scores


def is_link(path: Path) -> bool:
    """Whether a path is a link, or neither a file nor a folder, such as a pipe."""
    kind = path.lstat().st_mode
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def _check_metrics(frame: pd.DataFrame, file: str) -> None:
    for each in frame["metric"].unique():
        metric_name(each, file)


def check_kinds(folder: Path) -> None:
    """Checks that a folder holds plain files and folders alone.

    Raises:
        DamagedError: something in it is a link, or such as a pipe.
    """
    for path in (folder, *folder.rglob("*")):
        if is_link(path):
            raise DamagedError(f"{path.name} is a link, or no plain file")


def _check_sums(folder: Path) -> None:
    recorded = checked.read_object(folder / CHECKSUMS, checked.table_of(checked.line))
    for place, checksum in recorded.items():
        parts = PurePosixPath(place)
        if parts.is_absolute() or ".." in parts.parts:
            raise DamagedError(f"{CHECKSUMS} names {place}, which is not in the folder")
        if not (folder / place).is_file():
            raise DamagedError(f"{place} is missing")
        if file_checksum(folder / place) != checksum:
            raise DamagedError(f"{place} was changed")
    for file in _SEALED:
        if file not in recorded and (folder / file).exists():
            raise DamagedError(f"{file} was added")


def file_checksum(file: Path) -> str:
    """SHA-256 of a file; computed anew where its size or time is another than before."""
    found = file.stat()
    return _checksum(file, found.st_size, found.st_mtime_ns, found.st_ino)


@functools.lru_cache(maxsize=1 << 16)
def _checksum(file: Path, _size: int, _time: int, _inode: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
