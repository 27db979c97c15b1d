"""Two runs side by side, and a run at an earlier point of its budget."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sealing import seal

from zoo.errors import BudgetError, InputError
from zoo_benchmark.results.at import table_at
from zoo_benchmark.results.compare import compare_runs
from zoo_benchmark.results.run_folder import open_run


@pytest.fixture
def other(finished: Any, tmp_path: Path) -> Path:
    shutil.copytree(finished.out, tmp_path / "other")
    return tmp_path / "other"


def _edit(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    if file.name == "result.json":
        seal(file.parent)


def test_a_run_does_not_differ_from_itself(finished: Any) -> None:
    found = compare_runs(finished.out, finished.out)
    assert not found.obstacles
    assert not found.models
    assert len(found.environment) == 0
    assert set(found.scores["model"]) == set(finished.models)
    assert (found.scores["difference"] == 0).all()
    assert not found.scores["distinguishable"].any()


def _rekey(run: Path, label: str) -> None:
    """Gives a model's cell another key, as one that was trained anew has."""

    def change(manifest: dict[str, Any]) -> None:
        (entry,) = (cell for cell in manifest["cells"] if cell["label"] == label)
        (run / "cells" / entry["key"]).rename(run / "cells" / "anew")
        entry["key"] = "anew"

    _edit(run / "run.json", change)


def test_what_changed_is_shown(finished: Any, other: Path, painter: str) -> None:
    (cell,) = (c for c in open_run(other).cells if c.label == painter)
    scores = pd.read_csv(cell.folder / "scores.csv")
    better = scores["metric"] == "psnr"
    scores.loc[better, "value"] += 0.5 + 0.01 * np.sin(np.arange(better.sum()))
    scores.to_csv(cell.folder / "scores.csv", index=False)

    def newer(result: dict[str, Any]) -> None:
        result["environment"]["torch"] = "9.9"
        result["options"]["learning_rate"] = 0.5

    _edit(cell.folder / "result.json", newer)
    _rekey(other, painter)
    found = compare_runs(finished.out, other)
    (line,) = found.models
    assert line.startswith(f"{painter} was trained anew: learning_rate ")
    assert "→ 0.5" in line
    assert "→ 9.9" in line
    row = found.scores.set_index(["model", "metric"]).loc[(painter, "psnr")]
    assert row["difference"] == pytest.approx(0.5, abs=0.01)
    assert row["distinguishable"]
    assert row["low"] < 0.5 < row["high"] + 0.01
    facts = found.environment.set_index("name")
    assert "9.9" in facts.loc["torch", "b"]
    assert "9.9" not in facts.loc["torch", "a"]


def test_other_rules_or_images_are_not_ranked_together(
    finished: Any, other: Path, zoo: Any
) -> None:
    for change, reason in (
        (lambda run: run["data"]["splits"]["test"].update(manifest="0"), "other test images"),
        (lambda run: run["metrics"].update(psnr=2), "psnr of version 1 and 2"),
        (lambda run: run["protocol"].update(crop="none"), "quick@1 with crop tiles and none"),
        (lambda run: run.update(departures=["size=32"]), "budget=2steps, without all"),
        (lambda run: run["protocol"].update(version=2), "protocol quick@1 and quick@2"),
    ):
        _edit(other / "run.json", change)
        found = compare_runs(finished.out, other)
        assert any(reason in obstacle for obstacle in found.obstacles)
        assert len(found.scores) == len(found.speeds) == 0
    done = zoo("compare", str(finished.out), str(other))
    assert done.code == 1
    assert "not ranked together" in done.stdout
    assert "psnr" not in done.stdout
    done = zoo("compare", str(finished.out), str(other), "--json")
    assert json.loads(done.stdout)["scores"] == []


def test_the_same_images_elsewhere_are_the_same(finished: Any, other: Path) -> None:
    _edit(other / "run.json", lambda run: run["protocol"].update(dataset="folder:/elsewhere"))
    assert not compare_runs(finished.out, other).obstacles


def test_conditions_leave_clean_scores_comparable(finished: Any, other: Path) -> None:
    def more(run: dict[str, Any]) -> None:
        run["conditions"] = run["protocol"]["conditions"] = {"clean": 1, "faded": 1}

    _edit(other / "run.json", more)
    for pair in ((finished.out, other), (other, finished.out)):
        found = compare_runs(*pair)
        assert not found.obstacles
        assert set(found.scores["model"]) == set(finished.models)


def test_what_is_in_one_run_alone(finished: Any, other: Path, floors: list[str]) -> None:
    """A model that was not asked for, one that failed, and one whose sources changed."""
    gone, failed = floors
    (trained,) = set(finished.models) - set(floors)
    _edit(
        other / "run.json",
        lambda run: run.update(cells=[c for c in run["cells"] if c["label"] != gone]),
    )
    (cell,) = (c for c in open_run(other).cells if c.label == failed)
    _edit(cell.folder / "result.json", lambda result: result.update(status="failed"))
    _rekey(other, trained)
    found = compare_runs(finished.out, other)
    assert found.models == [
        f"only in A: {gone}",
        *sorted(  # in the order of the request
            [f"{failed} has no scores in B", f"{trained} was trained anew: its sources changed"],
            key=lambda line: finished.models.index(line.split()[0]),
        ),
    ]
    assert set(found.scores["model"]) == {trained}
    backwards = compare_runs(other, finished.out).models
    assert f"only in B: {gone}" in backwards
    assert f"{failed} has no scores in A" in backwards


def _time(
    run: Path, speed: float, control: float, hardware: str = "this", version: int = 1
) -> None:
    """Gives the first cell of a run a timing."""
    manifest = json.loads((run / "run.json").read_text())
    manifest["cells"][0]["timing"] = "timed"
    (run / "run.json").write_text(json.dumps(manifest))
    row = {"device": "cpu", "images_per_s": speed, "latency_ms": 1.0, "hardware": hardware}
    row["control"] = {"images_per_s": control, "spread": 0.0, "version": version}
    (run / "cells" / "timed").mkdir(exist_ok=True)
    result = {"status": "ok", "error": "", "throughput": [row]}
    (run / "cells" / "timed" / "result.json").write_text(json.dumps(result))
    seal(run / "cells" / "timed")


def test_speeds_are_ratios_to_the_control_task(finished: Any, other: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "one")
    _time(tmp_path / "one", 100.0, 50.0)
    _time(other, 90.0, 25.0)  # a machine that is half as fast just then
    (row,) = compare_runs(tmp_path / "one", other).speeds.to_dict("records")
    assert row["ratio"] == pytest.approx((90 / 25) / (100 / 50))
    _time(other, 90.0, 25.0, "another")
    (row,) = compare_runs(tmp_path / "one", other).speeds.to_dict("records")
    assert pd.isna(row["ratio"])
    assert row["hardware"] == "unlike: another; this"
    _time(other, 90.0, 25.0, version=2)
    (row,) = compare_runs(tmp_path / "one", other).speeds.to_dict("records")
    assert pd.isna(row["ratio"])
    assert "control task of versions 1 and 2" in row["hardware"]


def test_no_run_no_comparison(finished: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not the folder of a run: it holds no run\.json"):
        compare_runs(finished.out, tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="cannot be read by this version"):
        open_run(tmp_path)


# ---- earlier points -------------------------------------------------------------------------


def test_a_table_at_an_earlier_point(finished: Any, painter: str, floors: list[str]) -> None:
    learning = open_run(finished.out).learning
    curve = learning[(learning["model"] == painter) & (learning["metric"] == "psnr")]
    assert list(curve["steps"]) == [1, 2]
    assert list(curve["share"]) == [0.5, 1]
    for at, steps in (("1steps", 1), ("1.9steps", 1), ("2steps", 2), ("1h", 2)):
        earlier = table_at(finished.out, at)
        row = earlier.table.set_index("model").loc[painter]
        assert row["steps"] == steps
        expected = curve[curve["steps"] == steps]["value"].item()
        assert row["psnr"] == pytest.approx(expected)
        assert ("schedule unfinished" in earlier.title) is (steps == 1)
        assert "into a budget of 2 steps" in earlier.title
        # What needs no training is there from the start.
        assert earlier.table.set_index("model").loc[floors, "psnr"].notna().all()
        assert any("do not rank it" in note for note in earlier.notes)
    images = table_at(finished.out, f"{int(curve['images'].iloc[0])}images")
    assert images.table.set_index("model").loc[painter, "steps"] == 1


def test_a_point_before_all_of_them(finished: Any, painter: str) -> None:
    row = table_at(finished.out, "0.0000001GFLOP").table.set_index("model").loc[painter]
    assert pd.isna(row["psnr"])
    with pytest.raises(BudgetError, match="cannot read the budget"):
        table_at(finished.out, "early")


def test_the_command_labels_it(finished: Any, zoo: Any) -> None:
    done = zoo("report", str(finished.out), "--at", "1steps")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("1 steps into a budget of 2 steps, schedule unfinished")
    assert (finished.out / "at" / "1steps.csv").is_file()
    shutil.rmtree(finished.out / "at")
