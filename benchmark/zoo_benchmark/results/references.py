"""Ceilings: how good a colorizer's output can be at all, computed from the truth.

They stand beside a table, not in it: no model could reach them by looking at grey alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.color.bins import BIN_COUNT
from zoo.color.soft_encoding import SoftEncoding, annealed_mean
from zoo.data.dataset import ImageSet
from zoo.errors import UnknownNameError
from zoo.files import atomic_path
from zoo.metric import Metric, MetricContext
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.protocol import Protocol
from zoo_benchmark.results.run_folder import SCORE_COLUMNS
from zoo_benchmark.run import scoring

_FACTOR = 4
_NEIGHBOURS, _SIGMA, _TEMPERATURE = 5, 5.0, 0.38


def quarter_ab(ab: Tensor) -> Tensor:
    """N×2×H×W ab by way of a grid of a quarter of the size: averaged 4×4, bilinear back."""
    return _through_grid(ab, lambda grid: grid)


def through_bins(ab: Tensor) -> Tensor:
    """N×2×H×W ab by way of the 313 bins: what a perfect classifier would paint.

    Averaged 4×4, soft-encoded (5 nearest bins, σ = 5), decoded by the annealed mean at
    T = 0.38, bilinear back (Zhang 2016, section 2).
    """
    encode = SoftEncoding(_NEIGHBOURS, _SIGMA, ab.device)

    def decode(grid: Tensor) -> Tensor:
        target = encode(grid)
        shape = (grid.shape[0], BIN_COUNT, *grid.shape[2:])
        weights = torch.zeros(shape, device=grid.device)
        weights.scatter_(1, target.index, target.weight.float())
        return annealed_mean(weights.log(), _TEMPERATURE)

    return _through_grid(ab, decode)


CEILINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "313 bins": through_bins,
    "quarter ab": quarter_ab,
}
"""The ceilings that a protocol can name."""


def check_ceilings(names: Iterable[str]) -> None:
    """Checks that there are ceilings of these names.

    Raises:
        UnknownNameError: one does not exist.
    """
    for name in names:
        if name not in CEILINGS:
            raise UnknownNameError("ceiling", name, CEILINGS)


def ceiling_scores(
    test: ImageSet, names: Sequence[str], metrics: Sequence[Metric], device: torch.device
) -> pd.DataFrame:
    """Scores of the named ceilings in long form; the seed is always 0.

    A value of the whole set has no image.

    Raises:
        UnknownNameError: a ceiling that does not exist.
    """
    check_ceilings(names)
    frames = []
    for name in names:
        found = scoring.score_pictures(scoring.from_truth(test, CEILINGS[name], device), metrics)
        whole = pd.DataFrame(
            {"image": "", "metric": found.sets.keys(), "value": found.sets.values()}
        )
        scores = pd.concat([found.images, whole]) if found.sets else found.images
        scores.insert(0, "model", name)
        scores.insert(1, "seed", 0)
        frames.append(scores)
    if not frames:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    return pd.concat(frames, ignore_index=True)


def write_references(
    path: Path, test: ImageSet, protocol: Protocol, files: MetricFiles, device: torch.device
) -> None:
    """Writes the scores of the protocol's ceilings as CSV, atomically."""
    context = MetricContext(device=device, truth=test.images)
    metrics, _ = scoring.open_metrics(list(protocol.metrics), context, protocol.size, files)
    scores = ceiling_scores(test, protocol.ceilings, metrics, device)
    with atomic_path(path) as partial:
        scores.to_csv(partial, index=False)


def _through_grid(ab: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
    height, width = ab.shape[2:]
    right, below = -width % _FACTOR, -height % _FACTOR
    padded = F.pad(ab, (0, right, 0, below), mode="replicate") if right or below else ab
    grid = decode(F.avg_pool2d(padded, _FACTOR))
    full = F.interpolate(grid, scale_factor=_FACTOR, mode="bilinear", align_corners=False)
    return full[:, :, :height, :width]
