"""Published numbers: every one with its source, below the measured rows, never among them."""

from __future__ import annotations

import pandas as pd
import pytest

from zoo.errors import UnknownNameError
from zoo_benchmark.protocol import names
from zoo_benchmark.report.terminal import leaderboard_to_rich
from zoo_benchmark.results.columns import FID_NOT_STATED, shown_table
from zoo_benchmark.results.published import CONFIDENCE, published, published_notes, published_rows


def test_every_number_has_a_source_and_a_confidence():
    table = published()
    assert (table["source"].str.len() > 3).all()
    assert set(table["confidence"]) <= set(CONFIDENCE)
    assert not table.duplicated(["protocol", "method", "metric"]).any()
    known = {name.partition("@")[0] for name in names()}
    assert {each for each in table["protocol"] if each} <= known


@pytest.mark.parametrize(
    ("protocol", "method", "metric", "value"),
    [
        ("val5k", "DDColor-large", FID_NOT_STATED, 3.92),
        ("val5k", "DDColor-large", "colourfulness_abs", 38.26),
        ("val5k", "CT2", "fid_torchvision", 5.51),
        ("val5k", "DeOldify", "fid", 6.59),
        ("val5k", "InstColor", "delta_cf", 13.34),
        ("val50k", "MultiColor", "psnr", 24.58),
    ],
)
def test_numbers_stand_in_their_columns(protocol, method, metric, value):
    table = published(protocol)
    row = table[(table["method"] == method) & (table["metric"] == metric)]
    assert row["value"].tolist() == [value]


def test_the_version_does_not_matter_and_others_are_refused():
    assert len(published("val5k@1")) == len(published("val5k"))
    with pytest.raises(UnknownNameError, match="quick"):
        published("quick@1")
    assert published_rows("quick") is None and published_notes("quick") == []


def test_they_stand_below_the_ranking_and_are_never_in_it():
    board = pd.DataFrame({"model": ["ours", "worse"], "psnr": [20.0, 19.0], "status": "ok"})
    shown = shown_table(
        board, published=published_rows("val5k"), footnotes=published_notes("val5k")
    )
    assert [row.label for row in shown.rows] == ["ours", "worse"]
    assert {row.kind for row in shown.published} == {"published"}
    # A better PSNR than ours, and still below.
    assert shown.published[0].cells["psnr"].value == 22.64
    columns = [column.name for column in shown.ordered_metrics(["psnr"])]
    assert columns[0] == "psnr" and {FID_NOT_STATED, "fid", "fid_torchvision"} <= set(columns)
    table = leaderboard_to_rich(shown)
    assert "not measured here" in str(table.caption)
    assert str(list(table.columns[0].cells)[2]) == "CIC (eccv16) (published)"
