"""`zoo score` and `zoo export-test`: what is printed and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from zoo_benchmark.results.external import FolderScores


@dataclass(frozen=True)
class Request:
    """What `zoo score` was asked for; attributes are the command's options."""

    pred: Path
    truth: Path | None
    name: str | None
    out: Path | None
    add_to: Path | None
    metrics: str | None
    weights_files: Mapping[str, Path]
    device: str
    overwrite: bool
    as_json: bool

    @property
    def table(self) -> Path | None:
        """The file for the scores."""
        return self.out / "scores.csv" if self.out is not None else None


def score_command(request: Request) -> None:
    """Scores pictures of any program against their truth, or against a run's test images.

    Raises:
        ZooError: the folders do not match, or something is wrong with the request.
    """
    from zoo.device import resolve_device
    from zoo.files import atomic_path
    from zoo_benchmark.metrics.weights_files import find_metric_files
    from zoo_benchmark.results.external import add_to_run, pictures_in, score_folder
    from zoo_benchmark.results.redraw import redraw
    from zoo_benchmark.results.run_folder import open_run

    _check(request)
    device = resolve_device(request.device)
    name = request.name if request.name is not None else request.pred.resolve().name
    pictures_in(request.pred)  # before metrics' weights are looked for, and maybe downloaded
    if request.add_to is not None:
        run = open_run(request.add_to)
        weights = find_metric_files(list(run.manifest["metrics"]), request.weights_files)
        found = add_to_run(run, name, request.pred, weights, device, replace=request.overwrite)
        redraw(request.add_to)
    else:
        assert request.truth is not None
        truth = pictures_in(request.truth)
        wanted = _metrics(request.metrics)
        weights = find_metric_files(wanted, request.weights_files)
        found = score_folder(request.pred, {**truth}, wanted, weights, device)
    if request.table is not None:
        with atomic_path(request.table) as partial:
            found.scores.to_csv(partial, index=False)
    _show(name, found, request)


def _check(request: Request) -> None:
    from zoo.errors import InputError

    if (request.truth is None) == (request.add_to is None):
        raise InputError("give either --truth DIR or --add-to RUN, whose test images are the truth")
    if request.add_to is not None and request.metrics is not None:
        raise InputError("--add-to scores the run's own metrics; leave --metrics out")
    if request.table is not None and request.table.exists() and not request.overwrite:
        raise InputError(f"{request.table} is there already; name another --out, or --overwrite")


def _metrics(asked: str | None) -> list[str]:
    """Names of metrics: those asked for, or the usual ones."""
    from zoo_benchmark.protocol import DEFAULT, find_protocol
    from zoo_benchmark.run.scoring import metric_names

    return list(find_protocol(DEFAULT).metrics) if asked is None else metric_names(asked)


def export_command(run: Path, out: Path) -> None:
    """Writes a run's test images for other programs to colour."""
    from zoo_benchmark.results.external import export_test
    from zoo_benchmark.results.run_folder import open_run

    count = export_test(open_run(run), out)
    typer.echo(f"{count} pictures to colour in {out / 'grey'}, their truth in {out / 'truth'}")
    typer.echo(f"then: zoo score --pred COLOURED --add-to {run} --name NAME")


def _show(name: str, found: FolderScores, request: Request) -> None:
    import pandas as pd

    from zoo.cli.console import make_console
    from zoo_benchmark.results.columns import PRECISE

    images = found.scores.groupby("metric", sort=False)["value"].mean()
    means = pd.concat([images, pd.Series(found.sets, dtype=float)])
    if request.as_json:
        facts = {
            "name": name,
            "count": found.count,
            "grey": found.grey,
            "notes": found.notes,
            "versions": found.metrics,
            # As pandas writes it: JSON has no infinity, which identical pictures score.
            "metrics": json.loads(means.to_json(double_precision=15)),
        }
        typer.echo(json.dumps(facts, indent=1))
        return
    from rich.table import Table

    shown = Table(show_edge=False, pad_edge=False)
    shown.add_column("metric")
    shown.add_column("mean", justify="right")
    for metric, value in means.items():
        shown.add_row(str(metric), PRECISE.format(value))
    console = make_console()
    console.print(f"{name}: {found.count} pictures", markup=False, highlight=False)
    console.print(shown)
    for note in found.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    if request.table is not None:
        console.print(f"written to {request.table}", markup=False, highlight=False)
    if request.add_to is not None:
        console.print(f"added to {request.add_to / 'report.html'}", markup=False, highlight=False)
