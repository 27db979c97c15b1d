"""`zoo score` and `zoo export-test`: what is printed and written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from zoo_benchmark.external import FolderScores


@dataclass(frozen=True)
class Request:
    """What `zoo score` was asked for; attributes are the command's options."""

    pred: Path
    truth: Path | None
    name: str | None
    out: Path | None
    add_to: Path | None
    metrics: str | None
    lpips_weights: Path | None
    device: str
    overwrite: bool
    as_json: bool


def score_command(request: Request) -> None:
    """Scores pictures of any program against their truth, or against a run's test images.

    Raises:
        ZooError: the folders do not match, or something is wrong with the request.
    """
    from zoo import registry
    from zoo.errors import InputError, UnknownNameError
    from zoo.files import atomic_path
    from zoo.training import resolve_device
    from zoo_benchmark.external import add_to_run, pictures_in, score_folder
    from zoo_benchmark.metrics.lpips_weights import find_lpips_weights
    from zoo_benchmark.protocol import DEFAULT, find_protocol
    from zoo_benchmark.redraw import redraw
    from zoo_benchmark.run_folder import open_run

    if (request.truth is None) == (request.add_to is None):
        raise InputError("give either --truth DIR or --add-to RUN, whose test images are the truth")
    table = request.out / "scores.csv" if request.out else None
    if table is not None and table.exists() and not request.overwrite:
        raise InputError(f"{table} is there already; name another --out, or add --overwrite")
    name = request.name or request.pred.resolve().name
    device = resolve_device(request.device)
    wanted = list(find_protocol(DEFAULT).metrics)
    if request.metrics is not None:
        known = registry.names(registry.METRICS)
        wanted = [each.strip() for each in request.metrics.split(",")]
        for each in wanted:
            if each not in known:
                raise UnknownNameError("metric", each, known)
    backbone = None
    if request.add_to is not None or "lpips" in wanted:
        backbone = find_lpips_weights(request.lpips_weights, download=True).path
    if request.add_to is not None:
        if request.metrics is not None:
            raise InputError("--add-to scores the run's own metrics; leave --metrics out")
        run = open_run(request.add_to)
        found = add_to_run(run, name, request.pred, backbone, device, replace=request.overwrite)
        redraw(request.add_to)
    else:
        assert request.truth is not None
        truth = pictures_in(request.truth)
        found, _ = score_folder(request.pred, {**truth}, wanted, backbone, device)
    if table is not None:
        with atomic_path(table) as partial:
            found.scores.to_csv(partial, index=False)
    _show(name, found, request, table)


def export_command(run: Path, out: Path) -> None:
    """Writes a run's test images for other programs to colour."""
    from zoo_benchmark.external import export_test
    from zoo_benchmark.run_folder import open_run

    count = export_test(open_run(run), out)
    typer.echo(f"{count} pictures to colour in {out / 'grey'}, their truth in {out / 'truth'}")
    typer.echo(f"then: zoo score --pred COLOURED --add-to {run} --name NAME")


def _show(name: str, found: FolderScores, request: Request, table: Path | None) -> None:
    from zoo.cli.main import make_console

    means = found.scores.groupby("metric", sort=False)["value"].mean()
    if request.as_json:
        facts = {"name": name, "count": found.count, "notes": found.notes}
        facts["metrics"] = {str(metric): float(value) for metric, value in means.items()}
        typer.echo(json.dumps(facts, indent=1))
        return
    from rich.table import Table

    shown = Table(show_edge=False, pad_edge=False)
    shown.add_column("metric")
    shown.add_column("mean", justify="right")
    for metric, value in means.items():
        shown.add_row(str(metric), f"{value:.4f}")
    console = make_console()
    console.print(f"{name}: {found.count} pictures", markup=False, highlight=False)
    console.print(shown)
    for note in found.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    if table is not None:
        console.print(f"written to {table}", markup=False, highlight=False)
    if request.add_to is not None:
        console.print(f"added to {request.add_to / 'report.html'}", markup=False, highlight=False)
