"""A photograph of a report under all conditions: what networks saw, and what each made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo_benchmark.report.pictures import lossless
from zoo_benchmark.report.samples import pictures_in
from zoo_benchmark.results.run_folder import Run
from zoo_benchmark.run.pictures import read_pictures
from zoo_benchmark.run.trial import CONDITION_PICTURES
from zoo_benchmark.run.trial_spec import INPUTS, SHOWCASE, SHOWCASE_TRUTH

_BYTES = 4 << 20
"""A report of many models shows fewer photographs; one at least."""


@dataclass(frozen=True)
class ConditionPictures:
    """One photograph under the conditions of a run.

    Attributes:
        truth: the photograph, as a data URI.
        rows: by the row's name, a picture for each condition, empty where there is none: first
            the inputs, then what each model made of them.
    """

    truth: str
    rows: dict[str, list[str]]


def condition_pictures(
    run: Run, labels: Sequence[str], flaws: list[str]
) -> list[ConditionPictures]:
    """The first few pictures of a run under its conditions, as many as fit; rows as in `labels`.

    Why one cannot be read is added to `flaws`.
    """
    truth, inputs = (read_pictures(run.folder / name) for name in (SHOWCASE_TRUTH, INPUTS))
    if truth is None or inputs is None:
        return []
    seen = dict(zip(inputs.ids, inputs.images, strict=True))
    found = []
    size = 0
    for number, (name, original) in enumerate(zip(truth.ids, truth.images, strict=True)):
        if number == CONDITION_PICTURES or size > _BYTES:
            break
        rows = {
            "input": [
                lossless(seen[key]) if (key := f"{condition}/{name}") in seen else ""
                for condition in run.conditions
            ]
        }
        for label in labels:
            painted = [
                _painted(run, label, condition, number, flaws) for condition in run.conditions
            ]
            if any(painted):
                rows[label] = painted
        found.append(ConditionPictures(lossless(np.asarray(original)), rows))
        size += sum(len(picture) for row in rows.values() for picture in row)
    return found


def _painted(run: Run, label: str, condition: str, number: int, flaws: list[str]) -> str:
    for cell in run.under(condition).cells:
        if cell.label == label and cell.ok:
            picture = pictures_in(cell.folder / SHOWCASE, number + 1, flaws)[number]
            return "" if picture is None else lossless(np.asarray(picture))
    return ""
