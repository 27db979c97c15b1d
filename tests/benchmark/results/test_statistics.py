"""Intervals and paired comparisons, against plain loops and the normal approximation."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from zoo_benchmark.results.statistics import analyse, cannot_tell_apart

DIRECTIONS = {"psnr": "higher", "lpips": "lower", "colourfulness": "match"}


def _scores(columns: dict[str, np.ndarray], metric: str = "psnr", seed: int = 0) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "model": model,
                "seed": seed,
                "image": [f"i{n}" for n in range(len(values))],
                "metric": metric,
                "value": values,
            }
        )
        for model, values in columns.items()
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def real(tiles: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR of two ways to spoil real tiles: values as skewed as real ones."""
    spoiled = {"grey": tiles.mean(-1, keepdims=True), "dark": tiles * 0.9}
    with np.errstate(divide="ignore"):
        return {
            name: 10 * np.log10(255**2 / ((tiles - other) ** 2).mean((1, 2, 3)))
            for name, other in spoiled.items()
        }


def test_an_interval_is_a_plain_bootstrap(real: dict[str, np.ndarray]) -> None:
    found = analyse(_scores(real), DIRECTIONS).intervals.set_index("model")
    generator = np.random.default_rng(7)
    for model, values in real.items():
        means = [generator.choice(values, len(values)).mean() for _ in range(4000)]
        low, high = np.percentile(means, [2.5, 97.5])
        width = high - low
        row = found.loc[model]
        assert row["mean"] == pytest.approx(values.mean())
        assert row["low"] == pytest.approx(low, abs=0.08 * width)
        assert row["high"] == pytest.approx(high, abs=0.08 * width)
        assert (row["images"], row["seeds"]) == (len(values), 1)
        # And near what the standard error says.
        error = norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(len(values))
        assert width == pytest.approx(2 * error, rel=0.2)


def test_pairs_are_resampled_together(real: dict[str, np.ndarray]) -> None:
    """Two rows that move together differ surely, although their intervals overlap."""
    base = real["grey"]
    pair = {"a": base, "b": base + 0.1 + 0.01 * np.sin(np.arange(len(base)))}
    found = analyse(_scores(pair), DIRECTIONS)
    row = found.pairs.iloc[0]
    difference = pair["a"] - pair["b"]
    generator = np.random.default_rng(5)
    means = [generator.choice(difference, len(difference)).mean() for _ in range(4000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["low"] == pytest.approx(low, abs=0.1 * (high - low))
    assert row["high"] == pytest.approx(high, abs=0.1 * (high - low))
    assert row["distinguishable"]
    a, b = (found.intervals.set_index("model").loc[name] for name in "ab")
    assert a["high"] > b["low"]


def test_win_rates_are_counted(real: dict[str, np.ndarray]) -> None:
    values = {"a": np.array([1.0, 2, 3, 4]), "b": np.array([1.0, 1, 4, 5])}
    for metric, wins in (("psnr", 1), ("lpips", 2), ("colourfulness_difference", 2)):
        row = analyse(_scores(values, metric), DIRECTIONS).pairs.iloc[0]
        assert row["win_rate"] == pytest.approx((wins + 0.5) / 4)
        assert row["ties"] == pytest.approx(0.25)
        assert row["images"] == 4


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    trials = 300
    hits = 0
    for trial in range(trials):
        values = {"a": generator.gamma(4, 0.05, 60)}
        row = analyse(_scores(values, "lpips"), DIRECTIONS, resamples=500, seed=trial).intervals
        hits += bool(row["low"].item() <= 0.2 <= row["high"].item())
    assert 0.89 < hits / trials < 0.98


def test_the_same_seed_gives_the_same_intervals(real: dict[str, np.ndarray]) -> None:
    first, again, other = (analyse(_scores(real), DIRECTIONS, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first.intervals, again.intervals)
    pd.testing.assert_frame_equal(first.pairs, again.pairs)
    assert not first.intervals.equals(other.intervals)


def test_the_spread_over_seeds_is_apart_from_that_over_images(real: dict[str, np.ndarray]) -> None:
    base = real["dark"]
    offsets = (0.0, 0.3, -0.2)
    scores = pd.concat([_scores({"a": base + off}, seed=s) for s, off in enumerate(offsets)])
    row = analyse(scores, DIRECTIONS).intervals.iloc[0]
    means = [base.mean() + offset for offset in offsets]
    assert row["mean"] == pytest.approx(np.mean(means))
    assert row["seed_std"] == pytest.approx(np.std(means, ddof=1))
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((min(means), max(means)))
    alone = analyse(_scores({"a": base}), DIRECTIONS).intervals.iloc[0]
    assert row["high"] - row["low"] == pytest.approx(alone["high"] - alone["low"], rel=1e-6)
    assert np.isnan(alone["seed_std"])


def test_what_is_compared_and_what_is_not() -> None:
    values = {"a": np.arange(5.0), "b": np.arange(5.0) + 1}
    metrics = ["psnr_l_copied", "colourfulness", "colourfulness_truth", "colourfulness_difference"]
    scores = pd.concat([_scores(values, metric) for metric in metrics])
    found = analyse(scores, DIRECTIONS)
    assert set(found.pairs["metric"]) == {"psnr_l_copied", "colourfulness_difference"}
    assert set(found.intervals["metric"]) == set(metrics) - {"colourfulness_truth"}
    assert found.pairs.set_index("metric").loc["psnr_l_copied", "win_rate"] == 0


def test_infinite_missing_single_and_no_values() -> None:
    infinite = {"a": np.array([np.inf, 30.0, 20]), "b": np.array([np.inf, 29.0, 21])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyse(_scores(infinite), DIRECTIONS)
        assert np.isinf(found.intervals["mean"]).all()
        pair = found.pairs.iloc[0]
        assert pair["difference"] == pytest.approx(0)
        assert not pair["distinguishable"]

        ragged = pd.concat([_scores({"a": np.arange(9.0)}), _scores({"b": np.arange(6.0) + 1})])
        found = analyse(ragged, DIRECTIONS)
        assert found.intervals.set_index("model")["images"].to_dict() == {"a": 9, "b": 6}
        assert (found.pairs["images"].item(), found.pairs["difference"].item()) == (6, -1)
        assert found.pairs["distinguishable"].item()

        single = analyse(_scores({"a": np.array([3.0])}), DIRECTIONS).intervals.iloc[0]
        assert single["mean"] == 3
        assert np.isnan([single["low"], single["high"]]).all()

        empty = analyse(_scores({"a": np.array([])}), DIRECTIONS)
        assert len(empty.intervals) == len(empty.pairs) == 0


def test_neighbours_that_cannot_be_told_apart() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 1, (2, 80))
    values = {"best": noise[0] + 9, "good": noise[0] + 5, "as good": noise[0] + 5 + 0.5 * noise[1]}
    pairs = analyse(_scores(values), DIRECTIONS).pairs
    assert cannot_tell_apart(["best", "good", "as good"], "psnr", pairs) == [False, False, True]
    assert cannot_tell_apart(["best", "as good", "good"], "psnr", pairs) == [False, False, True]
    assert cannot_tell_apart([], "psnr", pairs) == []


def test_many_models_and_images_fit_into_memory() -> None:
    generator = np.random.default_rng(0)
    values = {f"m{n}": generator.normal(20 + n / 100, 3, 2000) for n in range(8)}
    found = analyse(_scores(values), DIRECTIONS)
    assert len(found.pairs) == len(list(itertools.combinations(values, 2)))
