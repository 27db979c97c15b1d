"""`zoo score`: pictures that any program coloured, measured as the bench measures its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.console import make_console, make_table, print_json, say
from zoo.cli.parameters import Device, JsonFlag, LPIPSWeights, WeightsFiles, named_files
from zoo.errors import InputError, WeightsError

if TYPE_CHECKING:
    import pandas as pd

    from zoo_benchmark.results.external import FolderScores


def score(
    pred: Annotated[Path, typer.Option(help="A folder of pictures that any program coloured.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="A folder of the originals in colour, under the same file names."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What to call these pictures in the table. [default: the folder's name]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder to write scores.csv to, a line for each picture.")
    ] = None,
    add_to: Annotated[
        Path | None,
        typer.Option(
            help="In place of --truth: the folder of a run of zoo bench whose test images were "
            "coloured; they become a row of its table."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Which metrics, as psnr,lpips. [default: those of zoo bench]"),
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            help="Score pictures of changed inputs: all, or NAME[,NAME…]. --pred then holds a "
            "folder for each condition, as zoo conditions writes them."
        ),
    ] = None,
    weights_file: WeightsFiles = None,
    lpips_weights: LPIPSWeights = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace scores.csv, or the run's row of the same name."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Score pictures of any program with the metrics of the bench.

    Example: zoo score --pred coloured/ --truth originals/ --metrics psnr,ssim
    """
    import pandas as pd

    from zoo.device import resolve_device
    from zoo.files import atomic_path, check_writable, name_text
    from zoo.images.find import PassedOver
    from zoo_benchmark.conditions import condition_names
    from zoo_benchmark.metrics import check_count
    from zoo_benchmark.metrics.weights_files import find_metric_files
    from zoo_benchmark.report.redraw import redraw
    from zoo_benchmark.results.external import (
        add_to_run,
        pictures_in,
        pictures_under,
        score_conditions,
        score_folder,
    )
    from zoo_benchmark.results.run_folder import open_run
    from zoo_benchmark.settings import check_metrics_under_conditions

    table = out / "scores.csv" if out is not None else None
    if (truth is None) == (add_to is None):
        raise InputError("give either --truth DIR or --add-to RUN, whose test images are the truth")
    if add_to is not None and metrics is not None:
        raise InputError("--add-to scores the run's own metrics; leave --metrics out")
    if table is not None and table.exists() and not overwrite:
        raise InputError(f"{table} is there already; name another --out, or --overwrite")
    if table is not None:
        check_writable([table], "--out")
    if add_to is not None:
        check_writable([add_to / "run.json"], "--add-to")
    where = resolve_device(device)
    name = name if name is not None else name_text(pred.resolve().name)
    files = named_files(weights_file, lpips_weights)
    chosen = condition_names(conditions) if conditions is not None else []
    # Before metrics' weights are looked for, and maybe downloaded.
    for each in chosen:
        pictures_under(pred, each)
    pictures_in(pred)
    under: dict[str, FolderScores] = {}
    if add_to is not None:
        run = open_run(add_to)
        weights = find_metric_files(list(run.manifest["metrics"]), files)
        found, under = add_to_run(
            run, name, pred, weights, where, replace=overwrite, conditions=chosen
        )
        redraw(add_to)
    else:
        assert truth is not None
        passed = PassedOver()
        originals = pictures_in(truth, passed)
        wanted = _metrics(metrics)
        check_count(wanted, len(originals), str(truth))
        if chosen:
            check_metrics_under_conditions(wanted)
        weights = find_metric_files(wanted, files)
        if set(wanted) <= set(weights.missing):
            raise WeightsError("; ".join(weights.missing.values()))
        if chosen:
            under = score_conditions(pred, {**originals}, chosen, wanted, weights, where)
        else:
            found = score_folder(pred, {**originals}, wanted, weights, where)
        if line := passed.line():
            for scored in (*under.values(), *([] if under else [found])):
                scored.notes.append(f"{name_text(line)}.")
    # Shown first: what cannot be written is not lost then.
    if under:
        _show_conditions(name, under, as_json=as_json)
    else:
        _show(name, found, as_json=as_json)
    if table is not None:
        with atomic_path(table) as partial:
            scores = [each.scores.assign(condition=c) for c, each in under.items()]
            (pd.concat(scores) if under else found.scores).to_csv(partial, index=False)
    if table is not None and not as_json:
        say(f"written to {table}")
    if add_to is not None and not as_json:
        say(f"added to {add_to / 'report.html'}")


def _metrics(asked: str | None) -> list[str]:
    """Names of metrics: those asked for, or the usual ones."""
    from zoo_benchmark.protocol import DEFAULT, find_protocol
    from zoo_benchmark.run.scoring import metric_names

    return list(find_protocol(DEFAULT).metrics) if asked is None else metric_names(asked)


def _means(found: FolderScores) -> pd.Series[float]:
    import pandas as pd

    images = found.scores.groupby("metric", sort=False)["value"].mean()
    means: pd.Series[float] = pd.concat([images, pd.Series(found.sets, dtype=float)])
    return means


def _facts(found: FolderScores) -> dict[str, Any]:
    return {
        "count": found.count,
        "grey": found.grey,
        "notes": found.notes,
        "versions": found.metrics,
        # As pandas writes it: JSON has no infinity, which identical pictures score.
        "metrics": json.loads(_means(found).to_json(double_precision=15)),
        "halves": found.halves,
    }


def _show_conditions(name: str, under: dict[str, FolderScores], *, as_json: bool) -> None:
    """Shows a line per condition; the notes of all of them, each once."""
    from zoo_benchmark.results.columns import PRECISE

    if as_json:
        print_json({"name": name, "conditions": {c: _facts(each) for c, each in under.items()}})
        return
    means = {condition: _means(found) for condition, found in under.items()}
    metrics = list(dict.fromkeys(str(metric) for each in means.values() for metric in each.index))
    shown = make_table("condition", *metrics, right=metrics)
    for condition, values in means.items():
        cells = (PRECISE.format(values[m]) if m in values else "–" for m in metrics)
        shown.add_row(condition, *cells)
    console = make_console()
    count = next(iter(under.values())).count
    console.print(f"{name}: {count} pictures under {len(under)} conditions")
    console.print(shown)
    notes = ["the truth's lightness is put into every picture: the colours alone are scored."]
    for note in dict.fromkeys([*notes, *(n for found in under.values() for n in found.notes)]):
        console.print(f"• {note}", style="dim", highlight=False)


def _show(name: str, found: FolderScores, *, as_json: bool) -> None:
    from zoo_benchmark.results.columns import PRECISE

    if as_json:
        print_json({"name": name, **_facts(found)})
        return
    shown = make_table("metric", "mean", right=("mean",))
    for metric, value in _means(found).items():
        half = found.halves.get(str(metric))
        around = f" ±{PRECISE.format(half)}" if half is not None else ""
        shown.add_row(str(metric), PRECISE.format(value) + around)
    console = make_console()
    console.print(f"{name}: {found.count} pictures", highlight=False)
    console.print(shown)
    for note in found.notes:
        console.print(f"• {note}", style="dim", highlight=False)
