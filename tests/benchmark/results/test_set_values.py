"""Values of whole sets in tables: never of another number of images than the table's."""

from types import SimpleNamespace
from typing import Any

import pytest

from zoo_benchmark.results.compare import _set_rows
from zoo_benchmark.results.leaderboard import comparable_sets, set_intervals, set_notes

NAME = "frechet_random"


def scored(value: float, count: int = 98) -> Any:
    return SimpleNamespace(
        label="mine",
        name="mine",
        ok=True,
        set_scores={NAME: value},
        set_halves={NAME: 1.5},
        images_scored=count,
    )


def run(*cells: Any, externals: tuple[Any, ...] = ()) -> Any:
    manifest = {"data": {"splits": {"test": {"count": 98}}}}
    return SimpleNamespace(
        cells=cells, externals=externals, labels=["mine"], manifest=manifest, scores=None
    )


def test_runs_are_compared_by_the_means_of_their_repetitions():
    a, b = run(scored(10.0), scored(14.0)), run(scored(9.0))
    [row] = _set_rows(a, b, "mine").to_dict("records")
    assert (row["metric"], row["a"], row["b"], row["difference"]) == (NAME, 12.0, 9.0, -3.0)
    assert row["low"] is None
    assert not row["distinguishable"]


def test_another_number_of_images_is_left_out_and_said():
    theirs = scored(3.0, 97)
    whole = run(scored(10.0), externals=(theirs,))
    assert comparable_sets(theirs, whole) == {}
    assert comparable_sets(whole.cells[0], whole) == {NAME: 10.0}
    assert set_notes(whole)[-1] == (
        "mine: frechet_random of 97 images left out: not comparable with those of 98."
    )
    assert set_notes(run(scored(10.0)))[-1] != set_notes(whole)[-1]
    assert len(_set_rows(run(theirs), run(scored(10.0)), "mine")) == 0


def test_intervals_are_of_the_halves_and_the_spread_of_the_seeds():
    [row] = set_intervals(run(scored(10.0), scored(14.0)))
    assert row["mean"] == 12.0
    assert (row["low"], row["high"]) == (10.5, 13.5)
    assert row["seed_std"] == pytest.approx(8**0.5)
    assert (row["seeds"], row["images"]) == (2, 98)
