"""The scores that a run recorded for a file of weights, for its model card."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import InputError
from zoo.files import name_text
from zoo.weights.card import Score
from zoo_benchmark.results.columns import metric_info, metric_names
from zoo_benchmark.results.run_folder import open_run
from zoo_benchmark.run.trial_spec import WEIGHTS, WEIGHTS_FOLDER


def recorded_scores(file: Path) -> Sequence[Score]:
    """The mean scores of weights that lie where a run put them; none for those from elsewhere."""
    folder = file.resolve().parent
    if folder.name != WEIGHTS_FOLDER:
        return ()
    try:
        run = open_run(folder.parent)
    except InputError:
        return ()
    for cell in run.cells:
        own = cell.folder / WEIGHTS
        if cell.ok and own.is_file() and filecmp.cmp(file, own, shallow=False):
            means = cell.scores().groupby("metric", sort=False)["value"].mean()
            data = name_text(run.manifest["data"]["dataset"])
            images = ", ".join((data, f"protocol {run.protocol_id}", *run.manifest["departures"]))
            infos = [metric_info(name) for name in metric_names(means.index)]
            return tuple(
                Score(info.name, info.title, info.unit, float(means[info.name]), images)
                for info in infos
            )
    return ()
