"""The folder of a finished (or interrupted) comparison, ready to be looked at.

```
RUN/run.json          what was asked for, under which protocol, and which cells answer it
RUN/cells/KEY/        one folder per finished cell (with --out; else RUN/../.cells/KEY)
RUN/attempts/KEY/     what failed, with its log: never taken for a result
RUN/external/NAME/    pictures of other programs, scored by `zoo score --add-to RUN`
RUN/truth.npz         the truth of the pictures that cells keep in predictions.npz
RUN/references.csv    the ceilings' scores, in the columns of scores.csv; a value of the whole
                      set has no image
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.data.dataset import ImageSet
from zoo.errors import InputError
from zoo_benchmark.conditions import CLEAN
from zoo_benchmark.protocol import NO_BUDGET
from zoo_benchmark.run.pictures import read_pictures
from zoo_benchmark.run.trial_spec import (
    ATTEMPTS,
    CURVE,
    EXTERNAL,
    FAILED,
    LEARNING,
    LOG,
    NOT_RUN,
    OK,
    PREDICTIONS,
    REFERENCES,
    RESULT,
    RUN,
    SCORES,
    TRUTH,
    read_json,
)

FORMAT = 1
"""The version of `run.json`; raised when an older zoo could not read it."""

CONDITION_FOLDER = "conditions"
"""The folder in an external row's, with one for each condition that it was scored under."""

SCORE_COLUMNS = ["model", "seed", "image", "metric", "value"]


@dataclass(frozen=True)
class Cell:
    """A cell of a run (a model with options, one repetition), finished or not.

    Attributes:
        label: the row it belongs to.
        model: the colorizer's name.
        repetition: 0, 1, …
        key: the cell's name in the store.
        folder: where its files are; it may hold nothing but a log.
        result: its `result.json`; `status` is `ok`, `failed` or `not run`.
        timing: its throughput, one entry per device, each with its `hardware`; empty where
            it was not timed.
        timing_error: why its timing failed; empty where it did not.
        under: the cell as it was scored under conditions, by their names.
        given: the weights that were scored as they are, as `GivenWeights.to_dict` has them; None
            where the cell was trained.
    """

    label: str
    model: str
    repetition: int
    key: str
    folder: Path
    result: dict[str, Any]
    timing: Sequence[dict[str, Any]] = ()
    timing_error: str = ""
    under: Mapping[str, Cell] = field(default_factory=dict)
    given: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the cell was scored, and trained where it was to be."""
        return bool(self.result["status"] == OK)

    @property
    def trained(self) -> bool:
        """Whether the cell was trained and scored."""
        return self.ok and "training" in self.result

    @property
    def set_scores(self) -> dict[str, float]:
        """Values of the whole test set, by column, for metrics that have none per image."""
        return dict(self.result.get("set_scores", {}))

    @property
    def set_halves(self) -> dict[str, float]:
        """Half the 95 % intervals of those values, where the metric knows them."""
        return dict(self.result.get("set_halves", {}))

    @property
    def images_scored(self) -> int | None:
        """The number of images that were scored; None where it was not recorded."""
        return self.result.get("images_scored")

    def scores(self) -> pd.DataFrame:
        """The cell's scores, one row per image and metric (`SCORE_COLUMNS`); empty where not ok."""
        return self._labelled(SCORES) if self.ok else pd.DataFrame(columns=SCORE_COLUMNS)

    def learning(self) -> pd.DataFrame:
        """The learning curve: model, seed, share, seconds, steps, images, flops, metric, value.

        `share` is of the budget, in (0, 1]; `value` the mean over the fixed subset of test
        images. Empty where not ok, or not trained.
        """
        return self._labelled(LEARNING) if self.trained else pd.DataFrame()

    def losses(self) -> pd.DataFrame:
        """The loss along the way: model, seed, seconds, steps, images, flops, loss."""
        return self._labelled(CURVE) if self.trained else pd.DataFrame()

    def predictions(self) -> ImageSet | None:
        """The predictions of the run's kept pictures: N×S×S×3 uint8 with ids; None where none."""
        return read_pictures(self.folder / PREDICTIONS) if self.ok else None

    def log(self) -> str:
        """The output of the cell's process, tracebacks included; empty where there is no log."""
        try:
            return (self.folder / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _labelled(self, file: str) -> pd.DataFrame:
        return _labelled(self.folder / file, self.label, self.repetition)


@dataclass(frozen=True)
class External:
    """Pictures that another program coloured, scored with the run's metrics.

    Attributes:
        name: its row.
        folder: `RUN/external/NAME`, with `scores.csv` and `predictions.npz` in a cell's form.
        facts: its `external.json`: where the pictures came from, metric versions, counts.
    """

    name: str
    folder: Path
    facts: dict[str, Any]

    @property
    def set_scores(self) -> dict[str, float]:
        """Values of the whole set, by column, for metrics that have none per image."""
        return dict(self.facts.get("set_scores", {}))

    @property
    def set_halves(self) -> dict[str, float]:
        """Half the 95 % intervals of those values, where the metric knows them."""
        return dict(self.facts.get("set_halves", {}))

    @property
    def images_scored(self) -> int | None:
        """The number of pictures that were scored."""
        return self.facts.get("count")

    @property
    def under(self) -> dict[str, External]:
        """The row under conditions, by their names."""
        found = self.facts.get("conditions", {})
        folder = self.folder / CONDITION_FOLDER
        return {name: External(self.name, folder / name, facts) for name, facts in found.items()}

    def scores(self) -> pd.DataFrame:
        """The scores, in the columns of `SCORE_COLUMNS`, the seed always 0."""
        return _labelled(self.folder / SCORES, self.name, 0)

    def predictions(self) -> ImageSet | None:
        """The pictures of those images that the run's cells keep, too; None where none."""
        return read_pictures(self.folder / PREDICTIONS)


@dataclass(frozen=True)
class Run:
    """A run's folder, read.

    Attributes:
        folder: where it is.
        manifest: `run.json`: `format`, `command` (list of words), `started`, `finished`
            (ISO times, or null), `title`, `notes`, `protocol` (the protocol in force, as
            `Protocol.to_dict` gives it), `departures` (texts), `floors` (labels), `metrics`
            (name to version), `data` (`dataset`, and of each split its count and manifest
            hash), `directions` (metric name to higher, lower or match), `conditions` (name to
            version), `store`, `cells`.
        cells: in the order of the request, repetitions of a model together.
        externals: rows of `zoo score --add-to`.
    """

    folder: Path
    manifest: dict[str, Any]
    cells: Sequence[Cell]
    externals: Sequence[External] = field(default=())

    @property
    def labels(self) -> list[str]:
        """The rows of its table, in the order of the request, external ones last."""
        rows = [cell.label for cell in self.cells] + [e.name for e in self.externals]
        return list(dict.fromkeys(rows))

    @property
    def trains(self) -> bool:
        """Whether its models were trained, but for given weights."""
        return bool(self.manifest.get("protocol", {}).get("budget") != NO_BUDGET)

    @property
    def given(self) -> dict[str, dict[str, Any]]:
        """The given weights of each row that has them, by its label."""
        return {cell.label: cell.given for cell in self.cells if cell.given}

    @property
    def protocol_id(self) -> str:
        """The protocol's name and version, `NAME@VERSION`."""
        protocol = self.manifest["protocol"]
        return f"{protocol['name']}@{protocol['version']}"

    @property
    def conditions(self) -> list[str]:
        """The conditions that it was scored under, the clean one first; none if that alone."""
        return list(self.manifest.get("conditions", {}))

    def under(self, condition: str) -> Run:
        """The run as it was scored under a condition: the rows that were, and nothing else.

        Under the clean one, too, pictures that were painted as RGB have the truth's lightness.
        """
        cells = [c.under.get(condition, c if condition == CLEAN else None) for c in self.cells]
        rows = [e.under.get(condition, e if condition == CLEAN else None) for e in self.externals]
        return replace(
            self,
            cells=[cell for cell in cells if cell is not None],
            externals=[row for row in rows if row is not None],
        )

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of all finished cells and external rows, in long form."""
        return _stack([*(c.scores() for c in self.cells), *(e.scores() for e in self.externals)])

    @cached_property
    def references(self) -> pd.DataFrame:
        """Scores of the ceilings, in long form; empty where they were not computed."""
        file = self.folder / REFERENCES
        return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=SCORE_COLUMNS)

    @cached_property
    def ceilings(self) -> pd.DataFrame:
        """The ceilings, a row each: `model`, and the means of the metrics."""
        means = self.references.pivot_table(
            index="model", columns="metric", values="value", sort=False
        )
        return means.reset_index().rename_axis(columns=None)

    @cached_property
    def learning(self) -> pd.DataFrame:
        """The learning curves of all finished cells."""
        return _stack([cell.learning() for cell in self.cells])

    @cached_property
    def truth(self) -> ImageSet | None:
        """The truth of the kept pictures; None where the run kept none."""
        return read_pictures(self.folder / TRUTH)


def open_run(folder: Path) -> Run:
    """Reads a run's folder.

    Raises:
        InputError: there is no run in it, or one that this version cannot read.
    """
    file = folder / RUN
    if not file.is_file():
        raise InputError(f"{folder} is not the folder of a run: it holds no {RUN}")
    manifest = read_json(file)
    if manifest is None or manifest.get("format") != FORMAT:
        raise InputError(f"{file} cannot be read by this version of the zoo; run the bench again")
    store = (folder / manifest["store"]).resolve()
    cells = [_cell(entry, store, folder) for entry in manifest["cells"]]
    externals = [
        External(facts["name"], path.parent, facts)
        for path in sorted((folder / EXTERNAL).glob("*/external.json"))
        if (facts := read_json(path)) is not None
    ]
    return Run(folder, manifest, cells, externals)


def environment_facts(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Each fact of the environment with the value that all cells share, or the different ones."""
    environments = [cell.result["environment"] for cell in cells if "environment" in cell.result]
    names = dict.fromkeys(name for each in environments for name in each)
    return {
        name: list(dict.fromkeys(str(each.get(name, "–")) for each in environments))
        for name in names
    }


def _cell(entry: dict[str, Any], store: Path, run: Path) -> Cell:
    folder, result = _find(entry["key"], store, run)
    timing = _find(entry["timing"], store, run)[1] if entry.get("timing") else {}
    return Cell(
        entry["label"],
        entry["model"],
        entry["repetition"],
        entry["key"],
        folder,
        result,
        timing.get("throughput", ()),
        timing["error"] if timing.get("status") == FAILED else "",
        under={
            name: Cell(entry["label"], entry["model"], entry["repetition"], key, *found)
            for name, key in entry.get("conditions", {}).items()
            for found in [_find(key, store, run)]
        },
        given=entry.get("given"),
    )


def _find(key: str, store: Path, run: Path) -> tuple[Path, dict[str, Any]]:
    """A cell's folder and result: the finished one, else that of the last attempt."""
    for folder in (store / key, run / ATTEMPTS / key):
        result = read_json(folder / RESULT)
        if result is not None:
            return folder, result
    return run / ATTEMPTS / key, {"status": NOT_RUN, "error": NOT_RUN}


def _labelled(file: Path, model: str, seed: int) -> pd.DataFrame:
    # A picture may be called "NA" or "007", which are no gap and no number.
    frame = pd.read_csv(file, dtype={"image": str}, keep_default_na=False, na_values=[""])
    frame.insert(0, "model", model)
    frame.insert(1, "seed", seed)
    return frame


def _stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    return pd.concat(filled, ignore_index=True)
