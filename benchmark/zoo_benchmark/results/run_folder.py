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

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.data.dataset import ImageSet
from zoo.errors import InputError
from zoo.text import one_line, visible
from zoo_benchmark.conditions import CLEAN
from zoo_benchmark.protocol import NO_BUDGET
from zoo_benchmark.results import checked
from zoo_benchmark.results.cell_folder import (
    SET_FACTS,
    CellFiles,
    Kind,
    check_kinds,
    is_link,
    metric_name,
    read_cell,
    read_scores,
)
from zoo_benchmark.results.checked import DamagedError
from zoo_benchmark.run.pictures import pictures_flaw, read_pictures
from zoo_benchmark.run.trial_spec import (
    ATTEMPTS,
    CELLS,
    EXTERNAL,
    FAILED,
    INPUTS,
    LOG,
    NOT_RUN,
    OK,
    PREDICTIONS,
    REFERENCES,
    RUN,
    SCORES,
    SHOWCASE_TRUTH,
    STAGES,
    TRUTH,
    WEIGHTS_FOLDER,
    slug,
)

FORMAT = 1
"""The version of `run.json`; raised when an older zoo could not read it."""

CONDITION_FOLDER = "conditions"
"""The folder in an external row's, with one for each condition that it was scored under."""

SHARED_CELLS = ".cells"
"""The folder beside runs without `--out` that holds the finished cells of all of them."""

AT = "at"
"""The folder of tables as they stood earlier in the training."""

SCORE_COLUMNS = ["model", "seed", "image", "metric", "value"]

_LOG_BYTES = 1 << 20
_split = checked.table({"count": checked.whole, "manifest": checked.line}, {"grey": checked.whole})
_given = checked.table(
    dict.fromkeys(("path", "sha256", "trained_on", "license"), checked.line),
    {"source": checked.text},
)
_entry = checked.table(
    {
        "label": checked.line,
        "model": checked.line,
        "repetition": checked.whole,
        "key": checked.name,
        "timing": checked.maybe(checked.name),
    },
    {"conditions": checked.table_of(checked.name, checked.name), "given": _given},
)
_manifest = checked.table(
    {
        "command": checked.list_of(checked.line),
        "started": checked.line,
        "finished": checked.maybe(checked.line),
        "title": checked.line,
        "notes": checked.list_of(checked.line),
        "protocol": checked.table(
            {"name": checked.line, "version": checked.whole, "budget": checked.line},
            {"grey_chroma": checked.number, "note": checked.line},
        ),
        "departures": checked.list_of(checked.line),
        "floors": checked.list_of(checked.line),
        "metrics": checked.table_of(checked.whole, metric_name),
        "directions": checked.table_of(checked.one_of("higher", "lower", "match"), metric_name),
        "data": checked.table(
            {
                "dataset": checked.as_it_is,
                "size": checked.whole,
                "splits": checked.table({"test": _split}, {"train": _split}),
            }
        ),
        "store": checked.one_of(CELLS, f"../{SHARED_CELLS}"),
        "cells": checked.list_of(_entry),
    },
    {
        "conditions": checked.table_of(checked.whole, checked.name),
        "seconds": checked.table(
            {"whole": checked.positive}, dict.fromkeys(STAGES, checked.number)
        ),
    },
)
_counted = {**SET_FACTS, "count": checked.whole}
_external_facts = checked.table(
    {"name": checked.line},
    {
        **_counted,
        "conditions": checked.table_of(checked.table({}, _counted), checked.name),
        "notes": checked.list_of(checked.line),
    },
)


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
        tables: its scores and curves; None where it was not finished.
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
    tables: CellFiles | None = None
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
        if self.tables is None or not self.ok:
            return pd.DataFrame(columns=SCORE_COLUMNS)
        return self._labelled(self.tables.scores)

    def learning(self) -> pd.DataFrame:
        """The learning curve: model, seed, share, seconds, steps, images, flops, metric, value.

        `share` is of the budget, in (0, 1]; `value` the mean over the fixed subset of test
        images. Empty where not ok, or not trained.
        """
        return (
            self._labelled(self.tables.learning) if self.tables and self.trained else pd.DataFrame()
        )

    def losses(self) -> pd.DataFrame:
        """The loss along the way: model, seed, seconds, steps, images, flops, loss."""
        return (
            self._labelled(self.tables.losses) if self.tables and self.trained else pd.DataFrame()
        )

    def predictions(self) -> ImageSet | None:
        """The predictions of the run's kept pictures: N×S×S×3 uint8 with ids; None where none."""
        return read_pictures(self.folder / PREDICTIONS) if self.ok else None

    def log(self) -> str:
        """The end of the output of the cell's process; empty where there is no log."""
        file = self.folder / LOG
        if not os.path.lexists(file) or is_link(file):
            return ""
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _LOG_BYTES))
            return visible(opened.read(_LOG_BYTES).decode("utf-8", "replace"))

    def _labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        return _labelled(frame, self.label, self.repetition)


@dataclass(frozen=True)
class External:
    """Pictures that another program coloured, scored with the run's metrics.

    Attributes:
        name: its row.
        folder: `RUN/external/NAME`, with `scores.csv` and `predictions.npz` in a cell's form.
        facts: its `external.json`: where the pictures came from, metric versions, counts.
        table: image, metric and value.
        flaw: why it cannot be read; empty where it can.
        under: the row under conditions, by their names.
    """

    name: str
    folder: Path
    facts: dict[str, Any]
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    flaw: str = ""
    under: Mapping[str, External] = field(default_factory=dict)

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

    def scores(self) -> pd.DataFrame:
        """The scores, in the columns of `SCORE_COLUMNS`, the seed always 0."""
        return _labelled(self.table, self.name, 0) if len(self.table) else self.table

    def predictions(self) -> ImageSet | None:
        """The pictures of those images that the run's cells keep, too; None where none."""
        return None if self.flaw else read_pictures(self.folder / PREDICTIONS)


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
        if not file.is_file():
            return pd.DataFrame(columns=SCORE_COLUMNS)
        with _refusing(self.folder):
            return read_scores(file, "model")

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
    """Reads a run's folder, which may be a stranger's: everything in it is checked.

    A cell whose files were changed, or are not what they must be, is one that failed.

    Raises:
        InputError: there is no run in it, or one that this version cannot read.
    """
    file = folder / RUN
    if not file.is_file():
        raise InputError(f"{folder} is not the folder of a run: it holds no {RUN}")
    refuse_links(folder)
    with _refusing(folder):
        written = checked.read_object(file, checked.table({}, {"format": checked.whole}))
        if written.get("format") != FORMAT:
            raise InputError(
                f"{file} cannot be read by this version of the zoo; run the bench again"
            )
        manifest = checked.read_object(file, _manifest)
    entries = manifest["cells"]
    places = [(entry["label"], entry["repetition"]) for entry in entries]
    if len(set(places)) < len(places):
        raise InputError(f"{file} names a cell twice; run the bench again")
    truth = read_pictures(folder / TRUTH)
    # The only two places: in the run itself, or beside it, shared by several.
    store = folder / CELLS if manifest["store"] == CELLS else folder.resolve().parent / SHARED_CELLS
    trains = manifest["protocol"]["budget"] != NO_BUDGET
    cells = [_cell(entry, store, folder, truth, trains=trains) for entry in entries]
    labels = {cell.label for cell in cells}
    externals = [_external(path, truth, labels) for path in sorted((folder / EXTERNAL).glob("*"))]
    return Run(folder, manifest, cells, externals)


def refuse_links(folder: Path) -> None:
    """Refuses a run whose parts are links: what is written there would go elsewhere.

    Raises:
        InputError: one is.
    """
    folders = (CELLS, ATTEMPTS, EXTERNAL, WEIGHTS_FOLDER, AT)
    names = (RUN, *folders, REFERENCES, TRUTH, SHOWCASE_TRUTH, INPUTS)
    inner = [p for part in (ATTEMPTS, EXTERNAL) for p in (folder / part).glob("*")]
    for path in (folder / ".lock", *(folder / name for name in names), *inner):
        if os.path.lexists(path) and is_link(path):
            raise InputError(
                f"{path} is a link, or no plain file, and could lead out of the run; remove it, "
                "or put what it stands for in its place"
            )


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        raise InputError(f"the run in {folder} is damaged: {error}") from None


def environment_facts(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Each fact of the environment with the value that all cells share, or the different ones."""
    environments = [cell.result["environment"] for cell in cells if "environment" in cell.result]
    names = dict.fromkeys(name for each in environments for name in each)
    return {
        name: list(dict.fromkeys(str(each.get(name, "–")) for each in environments))
        for name in names
    }


def _cell(
    entry: dict[str, Any], store: Path, run: Path, truth: ImageSet | None, *, trains: bool
) -> Cell:
    kind: Kind = "trial" if trains and not entry.get("given") else "given"
    folder, result, tables = _find(entry["key"], store, run, kind, truth)
    timing: dict[str, Any] = {}
    if entry["timing"]:
        timing = _find(entry["timing"], store, run, "timing")[1]
    return Cell(
        entry["label"],
        entry["model"],
        entry["repetition"],
        entry["key"],
        folder,
        result,
        timing.get("throughput", ()),
        timing["error"] if timing.get("status") == FAILED else "",
        tables,
        {
            name: Cell(
                entry["label"], entry["model"], entry["repetition"], key, at, found, tables=t
            )
            for name, key in entry.get("conditions", {}).items()
            for at, found, t in [_find(key, store, run, "condition")]
        },
        given=entry.get("given"),
    )


def _find(
    key: str, store: Path, run: Path, kind: Kind, truth: ImageSet | None = None
) -> tuple[Path, dict[str, Any], CellFiles | None]:
    """A cell's folder, result and tables: of the finished one, else of the last attempt."""
    for folder in (store / key, run / ATTEMPTS / key):
        try:
            found = read_cell(folder, sealed=folder.parent == store, kind=kind, truth=truth)
        except DamagedError as error:
            return folder, {"status": FAILED, "error": f"damaged: {error}"}, None
        if found is not None:
            return folder, found.result, found
    return run / ATTEMPTS / key, {"status": NOT_RUN, "error": NOT_RUN}, None


def _external(folder: Path, truth: ImageSet | None, labels: Collection[str]) -> External:
    try:
        check_kinds(folder)
        facts = checked.read_object(folder / "external.json", _external_facts)
        name = facts["name"]
        if slug(name) != folder.name or name in labels:
            raise DamagedError(f"external.json has the name {name!r}")
        scores = read_scores(folder / SCORES)
        if flaw := pictures_flaw(folder / PREDICTIONS, truth):
            raise DamagedError(f"{PREDICTIONS} {flaw}")
        under = {
            condition: External(name, place, known, _scores_under(condition, place))
            for condition, known in facts.get("conditions", {}).items()
            for place in [folder / CONDITION_FOLDER / condition]
        }
    except DamagedError as error:
        return External(one_line(folder.name), folder, {}, flaw=f"damaged: {error}")
    return External(name, folder, facts, scores, under=under)


def _scores_under(condition: str, folder: Path) -> pd.DataFrame:
    try:
        return read_scores(folder / SCORES)
    except DamagedError as error:
        raise DamagedError(f"under {condition}, {error}") from None


def _labelled(frame: pd.DataFrame, model: str, seed: int) -> pd.DataFrame:
    labelled = frame.copy()
    labelled.insert(0, "model", model)
    labelled.insert(1, "seed", seed)
    return labelled


def _stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    return pd.concat(filled, ignore_index=True)
