"""`report.html`: a run to look into, in one file that needs no network."""

from __future__ import annotations

import importlib.util
import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly.offline
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from zoo import registry
from zoo.data.dataset import ImageSet
from zoo.errors import PluginError, UnknownNameError
from zoo.figures import ERROR_SCALE
from zoo.files import atomic_path, write_text
from zoo_benchmark.conditions import CONDITIONS
from zoo_benchmark.metrics import TRUTH, judged_column
from zoo_benchmark.report.condition_pictures import condition_pictures
from zoo_benchmark.report.markdown import write_markdown
from zoo_benchmark.report.pictures import ab_histogram, make_gallery
from zoo_benchmark.results.columns import ShownTable, metric_column
from zoo_benchmark.results.conditions import ShownConditions
from zoo_benchmark.results.run_folder import Cell, External, Run, environment_facts
from zoo_benchmark.results.statistics import Statistics
from zoo_benchmark.run.learning_curve import COSTS


def write_report(
    run: Run,
    shown: ShownTable,
    statistics: Statistics,
    conditions: ShownConditions | None = None,
) -> list[str]:
    """Writes `report.html`, `report.md` and, where pyarrow is installed, `scores.parquet`.

    Args:
        run: a run's folder.
        shown: its leaderboard, a row per model in the order of the ranking.
        statistics: intervals and comparisons of its scores.
        conditions: how its rows fare where the input was changed; None where it was not.

    Returns:
        Why pictures cannot be shown.
    """
    flaws: list[str] = []
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo_benchmark.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    labels = [row.label for row in shown.rows]
    painted = {label: p for label in labels if (p := _predictions(run, label)) is not None}
    page = environment.get_template("report.html").render(
        manifest=run.manifest,
        protocol=run.protocol_id,
        caution=run.manifest["protocol"].get("note"),
        command=shlex.join(run.manifest["command"]),
        metrics=shown.ordered_metrics(run.manifest["metrics"]),
        facts=shown.facts_in("html"),
        shown=shown,
        cards=[_card(cell) for cell in run.cells if cell.repetition == 0],
        histograms=_histograms(run, painted),
        environment=environment_facts(run.cells),
        error_scale=ERROR_SCALE,
        conditions=[CONDITIONS[name] for name in run.conditions if name in CONDITIONS],
        condition_pictures=condition_pictures(run, labels, flaws) if conditions else [],
        data=_data(run, shown, statistics, painted, conditions),
        plotly=plotly.offline.get_plotlyjs(),
    )
    write_text(run.folder / "report.html", page)
    write_markdown(run, shown, conditions)
    if importlib.util.find_spec("pyarrow"):
        # Opened here: pyarrow takes names in UTF-8 alone.
        with atomic_path(run.folder / "scores.parquet") as partial, partial.open("wb") as file:
            run.scores.to_parquet(file, index=False)
    return flaws


def _predictions(run: Run, label: str) -> ImageSet | None:
    sources: list[Cell | External] = [c for c in run.cells if c.label == label]
    sources += [e for e in run.externals if e.name == label]
    return next((p for each in sources if (p := each.predictions()) is not None), None)


def _number(value: Any) -> float | None:
    """A finite number, or None: JSON knows no others."""
    if value is None or value is pd.NA:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _score(value: float | None) -> float | str | None:
    """A number, None where there is none; infinity as JavaScript reads it from text."""
    if value is not None and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return _number(value)


# ---- what the page's script draws ------------------------------------------------------------


def _data(
    run: Run,
    shown: ShownTable,
    statistics: Statistics,
    painted: Mapping[str, Any],
    conditions: ShownConditions | None,
) -> Markup:
    # What is drawn needs a value per image.
    infos = [shown.metrics[m].metric for m in run.manifest["metrics"] if m in shown.metrics]
    metrics = {
        info.name: {"title": info.title, "unit": info.unit, "direction": info.direction}
        | {"judged": judged_column(info)}
        for info in infos
        if info is not None and info.per == "image"
    }
    content: dict[str, Any] = {
        "labels": [row.label for row in shown.rows],
        "floors": run.manifest["floors"],
        "given": [row.label for row in shown.rows if row.kind == "given"],
        "trains": shown.trained,
        "metrics": metrics,
        "ranking": shown.ranking if shown.ranking in metrics else next(iter(metrics), None),
        "intervals": _records(statistics.intervals),
        "pairs": _records(statistics.pairs),
        "speeds": _speeds(run),
        "learning": _learning(run),
        "losses": _losses(run),
        "budget": run.manifest["protocol"]["budget"],
        "pictures": None,
        "conditions": None,
    }
    if conditions is not None:
        content["conditions"] = {
            "names": conditions.names,
            "metrics": _condition_metrics(conditions),
            "ranking": shown.ranking,
            "rows": _records(conditions.table),
        }
    if run.truth is not None and painted and metrics:
        first = metrics[content["ranking"]]
        gallery = make_gallery(
            run.truth,
            painted,
            run.scores,
            first["judged"],
            lower_is_better=first["direction"] != "higher",
        )
        content["pictures"] = {**vars(gallery), "scores": _scores(run, gallery.ids, metrics)}
        content["pictures"]["all"] = run.manifest["data"]["splits"]["test"]["count"]
    # Inside a <script>, no text may close it: `<` is \u003c there.
    return htmlsafe_json_dumps(content, allow_nan=False)


def _condition_metrics(conditions: ShownConditions) -> dict[str, str]:
    """The titles of all columns that have a loss, by name."""
    losses = conditions.table[conditions.table["loss"].notna()]
    titles = {}
    for name in losses["metric"].unique():
        column = metric_column(str(name))
        ending = str(name).removeprefix(column.metric.name if column.metric else "")
        titles[str(name)] = f"{column.title}{ending.replace('_', ' ')}"
    return titles


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return found


def _speeds(run: Run) -> list[dict[str, Any]]:
    """A row per model and hardware: the mean over its repetitions there."""
    rows = [
        {"model": cell.label, "hardware": row["hardware"], "device": row["device"]}
        | {"images_per_s": row["images_per_s"], "latency_ms": row["latency_ms"]}
        for cell in run.cells
        for row in cell.timing
    ]
    if not rows:
        return []
    table = pd.DataFrame(rows)
    return _records(table.groupby(["model", "device", "hardware"], sort=False).mean().reset_index())


def _learning(run: Run) -> list[dict[str, Any]]:
    """A curve per model and metric, of the first finished repetition."""
    curves = []
    for cell in _first_cells(run):
        if not cell.trained:
            continue
        learning = cell.learning()
        learning = learning[~learning["metric"].str.endswith(TRUTH)]
        for metric, part in learning.groupby("metric", sort=False):
            curve = {name: [_number(v) for v in part[name]] for name in (*COSTS, "value")}
            curves.append({"model": cell.label, "metric": str(metric), **curve})
    return curves


def _losses(run: Run) -> list[dict[str, Any]]:
    curves = []
    for cell in _first_cells(run):
        losses = cell.losses()
        if len(losses):
            # A few hundred points tell as much as a thousand.
            part = losses.iloc[np.unique(np.linspace(0, len(losses) - 1, 200).astype(int))]
            curve = {name: [_number(v) for v in part[name]] for name in (*COSTS, "loss")}
            curves.append({"model": cell.label, **curve})
    return curves


def _first_cells(run: Run) -> list[Cell]:
    first: dict[str, Cell] = {}
    for cell in run.cells:
        if cell.ok:
            first.setdefault(cell.label, cell)
    return list(first.values())


def _scores(run: Run, ids: list[str], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """{model: {column: [value of each picture]}}, means over seeds.

    Columns are those of the metrics, and those that tell the better value.
    """
    columns = dict.fromkeys([*metrics, *(each["judged"] for each in metrics.values())])
    part = run.scores[run.scores["image"].isin(ids) & run.scores["metric"].isin(list(columns))]
    means = part.groupby(["model", "metric", "image"])["value"].mean()
    found: dict[str, Any] = {}
    values = means.to_dict()
    for model in part["model"].unique():
        found[str(model)] = {
            name: [_score(values.get((model, name, i))) for i in ids] for name in columns
        }
    return found


# ---- cards and histograms --------------------------------------------------------------------


def _card(cell: Cell) -> dict[str, Any]:
    result = cell.result
    training = result.get("training", {})
    card: dict[str, Any] = {
        "label": cell.label,
        "status": result["status"],
        "error": result["error"],
        "log": "" if cell.ok else (result.get("traceback") or cell.log())[-20_000:],
        "options": result.get("options", {}),
        "training": training,
        "costs": training.get("cost", {}),
        "given": cell.given,
        "params": result.get("params"),
        "memory": result.get("peak_memory_mb"),
        "key": cell.key,
        "unavailable": {
            **result.get("metrics_unavailable", {}),
            **result.get("metrics_broken", {}),
        },
    }
    try:
        card["info"] = registry.colorizer_class(cell.model).info
    except (PluginError, UnknownNameError) as error:
        card["info"], card["missing"] = None, str(error)
    return card


def _histograms(run: Run, painted: Mapping[str, Any]) -> list[dict[str, Any]]:
    sets = {"truth": run.truth, **painted} if run.truth is not None else {}
    return [{"label": label, **vars(ab_histogram(pictures))} for label, pictures in sets.items()]
