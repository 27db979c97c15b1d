"""Statistics of a table: intervals over images, spread over seeds, paired differences.

Two sources of chance are kept apart. Which images happen to be in the test set is answered
by resampling them (bootstrap, Efron 1979); how much another start of the same method would
give is shown by the seeds that were run. Models are compared on the same resampled images
(paired), which tells apart what two separate intervals could not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import bootstrap

from zoo_benchmark.metrics import DIFFERENCE, TRUTH

CONFIDENCE = 0.95
RESAMPLES = 2000

INTERVAL_COLUMNS = [
    *("model", "metric", "mean", "low", "high", "images"),
    *("seeds", "seed_std", "seed_low", "seed_high"),
]
PAIR_COLUMNS = [
    *("metric", "model_a", "model_b", "difference", "low", "high"),
    *("win_rate", "ties", "images", "distinguishable"),
]

# Resampled values held at once.
_BATCH_VALUES = 1 << 22

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """The statistics of a table.

    Attributes:
        intervals: a row per model and metric: `mean`, its 95 % interval `low` … `high` over
            images, `images`, `seeds`, and with several seeds `seed_std`, `seed_low` and
            `seed_high` of the seeds' own means.
        pairs: a row per metric and pair of models: mean `difference` a − b with its paired 95 %
            interval, `win_rate` (share of images on which a is better, ties counted half),
            `ties`, `images`, and whether they are `distinguishable` (0 is outside).
    """

    intervals: pd.DataFrame
    pairs: pd.DataFrame


def analyse(
    scores: pd.DataFrame,
    directions: Mapping[str, str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Statistics:
    """Intervals and paired comparisons of scores in long form.

    A value is first averaged over the seeds of its image. Where every seed scored the same
    images, the mean over images is then the mean over seeds of the seeds' means. Images that a
    model lacks, or that are NaN, are left out for it; pairs are compared on the images that both
    have. With fewer than two images there is no interval.

    Args:
        scores: columns model, seed, image, metric, value.
        directions: each metric's: `higher`, `lower` or `match`. What begins with a metric's name is
            derived from it (`psnr_l_copied`); of a `match` metric the `NAME_difference` is
            compared, where less is better, and `NAME_truth` is left out.
        resamples: how often the bootstrap draws.
        seed: decides the drawing; equal seeds give equal intervals.
    """
    intervals, pairs = [], []
    for metric, of_metric in scores.groupby("metric", sort=False):
        name = str(metric)
        if name.endswith(TRUTH):
            continue
        models = [str(model) for model in of_metric["model"].unique()]
        wide = of_metric.groupby(["image", "model"])["value"].mean().unstack("model")[models]
        values = wide.to_numpy(dtype=np.float64).T
        seeds = of_metric.groupby(["model", "seed"])["value"].mean()
        distributions = _distributions(values, resamples, seed)
        intervals += [
            {
                "model": model,
                "metric": name,
                **_interval(values[row], distributions[row]),
                **_seed_spread(seeds.loc[model].to_numpy()),
            }
            for row, model in enumerate(models)
        ]
        direction = _direction(name, directions)
        if direction is None:
            continue
        for a, b in itertools.combinations(range(len(models)), 2):
            pair: dict[str, Any] = {
                "metric": name,
                "model_a": models[a],
                "model_b": models[b],
            }
            pairs.append(
                pair
                | _difference((values[a], values[b]), (distributions[a], distributions[b]), seed)
                | _wins(values[a], values[b], direction)
            )
    return Statistics(
        pd.DataFrame(intervals, columns=INTERVAL_COLUMNS),
        pd.DataFrame(pairs, columns=PAIR_COLUMNS),
    )


def cannot_tell_apart(order: Sequence[str], metric: str, pairs: pd.DataFrame) -> list[bool]:
    """For each row of a ranked list, whether it cannot be told from the row above it."""
    of_metric = pairs[(pairs["metric"] == metric) & ~pairs["distinguishable"].astype(bool)]
    alike = {
        frozenset(pair) for pair in zip(of_metric["model_a"], of_metric["model_b"], strict=True)
    }
    return [
        row > 0 and frozenset((order[row - 1], label)) in alike for row, label in enumerate(order)
    ]


def _direction(metric: str, directions: Mapping[str, str]) -> str | None:
    """The better direction of a column: `higher` or `lower`, or None where it is not compared."""
    base = max((name for name in directions if metric.startswith(name)), key=len, default=None)
    if base is None:
        return None
    if directions[base] != "match":
        return directions[base]
    return "lower" if metric == f"{base}{DIFFERENCE}" else None


def _distributions(values: Array, resamples: int, seed: int) -> Array:
    """Bootstrapped means, models × resamples; NaN for a model with fewer than two images.

    One call resamples all models that have the same images at the same places: rows of the
    result are paired. The percentile method is taken, as it needs nothing but these means: the
    difference of two rows is the paired distribution of the difference.
    """
    result = np.full((len(values), resamples), np.nan)
    there = ~np.isnan(values)
    for pattern in np.unique(there, axis=0):
        rows = (there == pattern).all(axis=1)
        part = values[np.ix_(rows, pattern)]
        if part.shape[1] < 2:
            continue
        # Its standard error is not used; of infinite values it would be NaN.
        with np.errstate(invalid="ignore"):
            drawn = bootstrap(
                (part,),
                np.mean,
                n_resamples=resamples,
                batch=max(1, _BATCH_VALUES // part.size),
                vectorized=True,
                axis=-1,
                method="percentile",
                rng=np.random.default_rng(seed),
            )
        result[rows] = drawn.bootstrap_distribution
    return result


def _limits(distribution: Array) -> tuple[float, float]:
    if np.isnan(distribution).any():
        return np.nan, np.nan
    tail = (1 - CONFIDENCE) / 2
    # No interpolation: between a finite mean and an infinite one there is nothing.
    low, high = np.quantile(distribution, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _interval(values: Array, distribution: Array) -> dict[str, float]:
    there = values[~np.isnan(values)]
    low, high = _limits(distribution)
    mean = float(there.mean()) if there.size else np.nan
    return {"mean": mean, "low": low, "high": high, "images": int(there.size)}


def _seed_spread(means: Array) -> dict[str, float]:
    if len(means) < 2:
        return {"seeds": len(means)}
    return {
        "seeds": len(means),
        "seed_std": float(means.std(ddof=1)),
        "seed_low": float(means.min()),
        "seed_high": float(means.max()),
    }


def _difference(
    values: tuple[Array, Array], distributions: tuple[Array, Array], seed: int
) -> dict[str, float | bool]:
    both = ~np.isnan(values[0]) & ~np.isnan(values[1])
    a, b = values[0][both], values[1][both]
    # Two perfect pictures of infinite PSNR differ by nothing.
    with np.errstate(invalid="ignore"):
        each = np.where(a == b, 0.0, a - b)
    paired = bool(both.all()) and bool(np.isfinite(a).all() and np.isfinite(b).all())
    if paired:
        distribution = distributions[0] - distributions[1]
    else:
        distribution = _distributions(each[None], distributions[0].size, seed)[0]
    low, high = _limits(distribution)
    return {
        "difference": float(each.mean()) if each.size else np.nan,
        "low": low,
        "high": high,
        "distinguishable": bool(low > 0 or high < 0),
    }


def _wins(a: Array, b: Array, direction: str) -> dict[str, float]:
    both = ~np.isnan(a) & ~np.isnan(b)
    if not both.any():
        return {"win_rate": np.nan, "ties": np.nan, "images": 0}
    better = (a > b) if direction == "higher" else (a < b)
    ties = float((a == b)[both].mean())
    return {
        "win_rate": float(better[both].mean()) + ties / 2,
        "ties": ties,
        "images": int(both.sum()),
    }
