"""`zoo compare RUN_A RUN_B`: what changed in scores, speed and environment between two runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from zoo_benchmark.results.columns import NOTHING, PRECISE, WHOLE
from zoo_benchmark.results.leaderboard import comparable_sets
from zoo_benchmark.results.run_folder import Cell, Run, environment_facts, open_run
from zoo_benchmark.results.statistics import analyse

_A, _B = "A", "B"
# What may differ between the protocols of two machines that follow the same rules, what is
# compared by itself, and conditions, which leave the scores of clean photographs as they are.
_NO_RULES = ("title", "note", "dataset", "manifests", "metrics", "conditions")


@dataclass(frozen=True)
class RunComparison:
    """A comparison of two runs, side by side.

    Attributes:
        titles: the titles of both runs.
        obstacles: why their scores cannot stand in one table; empty where they can.
        scores: a row per model and metric: mean in A and B, difference B − A with its paired
            95 % interval, and whether it is distinguishable from none.
        speeds: a row per model and device: B's speed over A's, each as a multiple of its own
            control task's speed; the ratio is empty where hardware or control task are unlike.
            Empty with obstacles.
        environment: facts that differ: name, A, B.
        models: what is only in one of them or was scored in one alone, and what was trained
            anew for which reason.
    """

    titles: tuple[str, str]
    obstacles: list[str]
    scores: pd.DataFrame
    speeds: pd.DataFrame
    environment: pd.DataFrame
    models: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it."""
        tables = {
            name: json.loads(getattr(self, name).to_json(orient="records"))
            for name in ("scores", "speeds", "environment")
        }
        return {"titles": list(self.titles), "obstacles": self.obstacles, "models": self.models} | (
            tables
        )


def compare_runs(folder_a: Path, folder_b: Path) -> RunComparison:
    """Compares two runs.

    Raises:
        InputError: one of the folders holds no run.
    """
    a, b = open_run(folder_a), open_run(folder_b)
    obstacles = _obstacles(a, b)
    return RunComparison(
        titles=(a.manifest["title"], b.manifest["title"]),
        obstacles=obstacles,
        scores=_scores(a, b) if not obstacles else pd.DataFrame(),
        speeds=_speeds(a, b) if not obstacles else pd.DataFrame(),
        environment=_environment(a, b),
        models=_models(a, b),
    )


def show_comparison(comparison: RunComparison, console: Console) -> None:
    """Prints the comparison for people."""
    for name, title in zip((_A, _B), comparison.titles, strict=True):
        console.print(f"{name}: {title}", highlight=False)
    for obstacle in comparison.obstacles:
        console.print(f"not ranked together: {obstacle}", style="red")
    for line in comparison.models:
        console.print(f"• {line}", style="dim", highlight=False)
    if len(comparison.scores):
        changed = comparison.scores
        table = _table("model", "metric", *(_A, _B), "B − A", "95 % interval", "")
        for _, row in changed.iterrows():
            interval = (
                f"{row['low']:+.4g} … {row['high']:+.4g}" if pd.notna(row["low"]) else NOTHING
            )
            alike = "≈" if pd.notna(row["low"]) else NOTHING
            mark = "changed" if row["distinguishable"] else alike
            numbers = (*map(PRECISE.format, row[["a", "b"]]), f"{row['difference']:+.4g}")
            table.add_row(row["model"], row["metric"], *numbers, interval, mark)
        table.caption = "the interval is over test images: another seed would move scores as well"
        table.caption_justify = "left"
        console.print(table)
    if len(comparison.speeds):
        table = _table(
            "model", "device", "A images/s", "B images/s", "B / A by control", "hardware"
        )
        for _, row in comparison.speeds.iterrows():
            ratio = f"{row['ratio']:.2f}×" if pd.notna(row["ratio"]) else NOTHING
            speeds = (*map(WHOLE.format, row[["a", "b"]]), ratio)
            table.add_row(row["model"], row["device"], *speeds, row["hardware"])
        console.print(table)
    table = _table("environment", _A, _B)
    for _, row in comparison.environment.iterrows():
        table.add_row(*(str(row[name]) for name in ("name", "a", "b")))
    console.print(table if table.row_count else "environment: no difference")


def _table(*headings: str) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _obstacles(a: Run, b: Run) -> list[str]:
    if a.protocol_id != b.protocol_id:
        return [f"protocol {a.protocol_id} and {b.protocol_id}"]
    found = []
    if a.manifest["departures"] != b.manifest["departures"]:
        words = [", ".join(run.manifest["departures"]) or "nothing" for run in (a, b)]
        found.append(f"departs from {a.protocol_id} in {words[0]}; and in {words[1]}")
    else:
        # Someone's own file, whose version was not raised.
        rules = a.manifest["protocol"], b.manifest["protocol"]
        found += [
            f"{a.protocol_id} with {name} {rules[0].get(name)} and {rules[1].get(name)}"
            for name in dict.fromkeys([*rules[0], *rules[1]])
            if name not in _NO_RULES and rules[0].get(name) != rules[1].get(name)
        ]
    metrics = a.manifest["metrics"], b.manifest["metrics"]
    found += [
        f"{name} of version {metrics[0][name]} and {metrics[1][name]}"
        for name in metrics[0]
        if name in metrics[1] and metrics[0][name] != metrics[1][name]
    ]
    splits = a.manifest["data"]["splits"], b.manifest["data"]["splits"]
    found += [
        f"other {split} images ({splits[0][split]['count']} and {splits[1][split]['count']})"
        for split in splits[0]
        if split in splits[1] and splits[0][split]["manifest"] != splits[1][split]["manifest"]
    ]
    return found


def _shared(a: Run, b: Run) -> list[str]:
    return [label for label in a.labels if label in b.labels]


def _scores(a: Run, b: Run) -> pd.DataFrame:
    tables = []
    for label in _shared(a, b):
        parts = [
            run.scores[run.scores["model"] == label].assign(model=name)
            for run, name in ((b, _B), (a, _A))
        ]
        if not all(len(part) for part in parts):
            continue
        found = analyse(pd.concat(parts), a.manifest["directions"])
        means = found.intervals.set_index(["metric", "model"])["mean"]
        pairs = found.pairs.assign(model=label)
        for name, run in (("a", _A), ("b", _B)):
            pairs[name] = [means[(metric, run)] for metric in pairs["metric"]]
        tables += [pairs, _set_rows(a, b, label)]
    columns = ["model", "metric", "a", "b", "difference", "low", "high", "distinguishable"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame()


def _set_rows(a: Run, b: Run, label: str) -> pd.DataFrame:
    """Values of whole sets: without an interval, as theirs are not paired."""
    means = []
    for run in (a, b):
        cells = [comparable_sets(c, run) for c in run.cells if c.label == label and c.ok]
        cells += [comparable_sets(e, run) for e in run.externals if e.name == label]
        means.append(pd.DataFrame(cells).mean())
    both = means[0].index.intersection(means[1].index)
    rows = [
        {"metric": name, "a": means[0][name], "b": means[1][name]}
        | {"difference": means[1][name] - means[0][name], "low": None, "high": None}
        for name in both
    ]
    return pd.DataFrame(rows).assign(model=label, distinguishable=False)


def _timings(run: Run, label: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in run.cells:
        if cell.label == label:
            for row in cell.timing:
                found.setdefault(row["device"], []).append(row)
    return found


def _speeds(a: Run, b: Run) -> pd.DataFrame:
    rows = []
    for label in _shared(a, b):
        ours, theirs = _timings(a, label), _timings(b, label)
        for device in ours:
            if device not in theirs:
                continue
            pair = ours[device], theirs[device]
            hardware = sorted({row["hardware"] for side in pair for row in side})
            versions = {row["control"]["version"] for side in pair for row in side}
            speeds = [fmean(row["images_per_s"] for row in side) for side in pair]
            relative = [
                fmean(row["images_per_s"] / row["control"]["images_per_s"] for row in side)
                for side in pair
            ]
            unlike = "; ".join(hardware) if len(hardware) > 1 else ""
            if len(versions) > 1:
                unlike = f"control task of versions {' and '.join(map(str, sorted(versions)))}"
            rows.append(
                {
                    "model": label,
                    "device": device,
                    "a": speeds[0],
                    "b": speeds[1],
                    "ratio": None if unlike else relative[1] / relative[0],
                    "hardware": f"unlike: {unlike}" if unlike else hardware[0],
                }
            )
    return pd.DataFrame(rows)


def _environment(a: Run, b: Run) -> pd.DataFrame:
    sides = [
        {name: "; ".join(values) for name, values in environment_facts(run.cells).items()}
        for run in (a, b)
    ]
    rows = [
        {"name": name, "a": sides[0].get(name, "–"), "b": sides[1].get(name, "–")}
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]
    return pd.DataFrame([row for row in rows if row["a"] != row["b"]], columns=["name", "a", "b"])


def _models(a: Run, b: Run) -> list[str]:
    lines = [f"only in A: {label}" for label in a.labels if label not in b.labels]
    lines += [f"only in B: {label}" for label in b.labels if label not in a.labels]
    for label, given in (a.given | b.given).items():
        lines.append(f"{label} has given weights, trained on {given['trained_on']}")
    scored = [set(run.scores["model"]) for run in (a, b)]
    for label in _shared(a, b):
        lines += [
            f"{label} has no scores in {name}"
            for name, there in zip((_A, _B), scored, strict=True)
            if label not in there
        ]
        ours, theirs = ([c for c in run.cells if c.label == label and c.ok] for run in (a, b))
        if ours and theirs and {cell.key for cell in ours} != {cell.key for cell in theirs}:
            reasons = _changes(_conditions(ours[0]), _conditions(theirs[0]))
            made = "scored" if ours[0].given and theirs[0].given else "trained"
            lines.append(f"{label} was {made} anew: {', '.join(reasons) or 'its sources changed'}")
    return lines


def _conditions(cell: Cell) -> dict[str, Any]:
    """The conditions that a cell was made under, beside its protocol and sources."""
    environment = cell.result["environment"]
    made_by = {name: environment.get(name) for name in ("hardware", "device", "torch")}
    precision = {"precision": cell.result.get("training", {}).get("precision")}
    weights = {"weights": cell.given["sha256"][:12]} if cell.given else {}
    return {**weights, **cell.result["options"], **precision, **made_by}


def _changes(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return [
        f"{name} {ours.get(name, '–')} → {theirs.get(name, '–')}"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    ]
