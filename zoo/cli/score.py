"""`zoo score`: pictures that any program coloured, measured as the bench measures its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.console import make_console, make_table, print_json, say
from zoo.cli.parameters import Device, JsonFlag, LPIPSWeights, WeightsFiles, named_files
from zoo.errors import InputError

if TYPE_CHECKING:
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
    from zoo.device import resolve_device
    from zoo.files import atomic_path
    from zoo_benchmark.metrics.weights_files import find_metric_files
    from zoo_benchmark.report.redraw import redraw
    from zoo_benchmark.results.external import add_to_run, pictures_in, score_folder
    from zoo_benchmark.results.run_folder import open_run

    table = out / "scores.csv" if out is not None else None
    if (truth is None) == (add_to is None):
        raise InputError("give either --truth DIR or --add-to RUN, whose test images are the truth")
    if add_to is not None and metrics is not None:
        raise InputError("--add-to scores the run's own metrics; leave --metrics out")
    if table is not None and table.exists() and not overwrite:
        raise InputError(f"{table} is there already; name another --out, or --overwrite")
    where = resolve_device(device)
    name = name if name is not None else pred.resolve().name
    files = named_files(weights_file, lpips_weights)
    pictures_in(pred)  # before metrics' weights are looked for, and maybe downloaded
    if add_to is not None:
        run = open_run(add_to)
        weights = find_metric_files(list(run.manifest["metrics"]), files)
        found = add_to_run(run, name, pred, weights, where, replace=overwrite)
        redraw(add_to)
    else:
        assert truth is not None
        originals = pictures_in(truth)
        wanted = _metrics(metrics)
        weights = find_metric_files(wanted, files)
        found = score_folder(pred, {**originals}, wanted, weights, where)
    if table is not None:
        with atomic_path(table) as partial:
            found.scores.to_csv(partial, index=False)
    _show(name, found, as_json=as_json)
    if table is not None and not as_json:
        say(f"written to {table}")
    if add_to is not None and not as_json:
        say(f"added to {add_to / 'report.html'}")


def _metrics(asked: str | None) -> list[str]:
    """Names of metrics: those asked for, or the usual ones."""
    from zoo_benchmark.protocol import DEFAULT, find_protocol
    from zoo_benchmark.run.scoring import metric_names

    return list(find_protocol(DEFAULT).metrics) if asked is None else metric_names(asked)


def _show(name: str, found: FolderScores, *, as_json: bool) -> None:
    import pandas as pd

    from zoo_benchmark.results.columns import PRECISE

    images = found.scores.groupby("metric", sort=False)["value"].mean()
    means = pd.concat([images, pd.Series(found.sets, dtype=float)])
    if as_json:
        facts = {
            "name": name,
            "count": found.count,
            "grey": found.grey,
            "notes": found.notes,
            "versions": found.metrics,
            # As pandas writes it: JSON has no infinity, which identical pictures score.
            "metrics": json.loads(means.to_json(double_precision=15)),
        }
        print_json(facts)
        return
    shown = make_table("metric", "mean", right=("mean",))
    for metric, value in means.items():
        shown.add_row(str(metric), PRECISE.format(value))
    console = make_console()
    console.print(f"{name}: {found.count} pictures", highlight=False)
    console.print(shown)
    for note in found.notes:
        console.print(f"• {note}", style="dim", highlight=False)
