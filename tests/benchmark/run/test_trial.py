"""Whatever a colorizer does is one row with its reason; nothing outlives the parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from zoo.errors import OutputError
from zoo.training.budget import Budget
from zoo_benchmark.results.run_folder import Cell, open_run
from zoo_benchmark.run import process
from zoo_benchmark.run.process import Progress, run_cell
from zoo_benchmark.run.trial import train_and_score
from zoo_benchmark.run.trial_spec import TrialSpec
from zoo_benchmark.settings import default_timeout

# Row → a part of its reason; None for those that work.
OUTCOMES = {
    "raises": "RuntimeError: the sky is falling",
    "good": None,
    "not_a_number": "loss became nan",
    "paints_nan": "NaN",
    "wrong_shape": "shape (4, 1, 64, 64)",
    "leaves": "exited with code 3 before a result: leaving now",
    "killed": "killed (SIGKILL)",
    "exits": "goodbye",
    "unbuilt": "no constructor today",
    "talks": None,
}


def _spec(model: str, folder: Path) -> TrialSpec:
    return TrialSpec(
        model=model,
        label=model,
        preset="small",
        dataset=f"folder:{folder}",
        size=64,
        budget="1steps",
        repetition=0,
        data_seed=1,
        model_seed=2,
        device="cpu",
        metrics=["psnr"],
        showcase=1,
    )


def _cell(out: Path, label: str) -> Cell:
    return next(cell for cell in open_run(out).cells if cell.label == label)


def _wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"waited {seconds} s in vain")


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").is_file():
        # A zombie that nobody has waited for is dead enough.
        return status.is_file() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _pids(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()] if file.is_file() else []


@pytest.fixture
def variables(
    naughty: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    added = {"PYTHONPATH": str(naughty), "NAUGHTY_FILE": str(tmp_path / "pids")}
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    # A cell finds what this process finds.
    monkeypatch.syspath_prepend(naughty)
    return added


# ---- one bench of all that misbehave --------------------------------------------------------


def test_the_exit_code_tells_of_failures(wreck: Any) -> None:
    assert wreck.done.returncode == 1
    assert "Traceback" not in wreck.done.stderr


@pytest.mark.parametrize("model", OUTCOMES)
def test_every_model_is_one_row_with_its_reason(wreck: Any, model: str) -> None:
    board = pd.read_csv(wreck.out / "leaderboard.csv").set_index("model")
    assert sorted(board.index) == sorted(OUTCOMES)
    runs = pd.read_csv(wreck.out / "runs.csv").set_index("model")
    reason = OUTCOMES[model]
    if reason is None:
        assert board.loc[model, "status"] == runs.loc[model, "status"] == "ok"
        assert board.loc[model, "psnr"] > 0
    else:
        assert reason in board.loc[model, "status"]
        assert reason in runs.loc[model, "error"]
        assert "\n" not in board.loc[model, "status"]
        assert runs.loc[model, "status"] == "failed"
        assert pd.isna(board.loc[model, "psnr"])
        lines = wreck.done.stderr.splitlines()
        (line,) = [line for line in lines if line.startswith(f"error: {model} failed:")]
        assert reason in line


def test_failures_come_last(wreck: Any) -> None:
    status = list(pd.read_csv(wreck.out / "leaderboard.csv")["status"])
    assert status[:2] == ["ok", "ok"]
    assert "ok" not in status[2:]


def test_what_a_model_prints_is_kept_apart(wreck: Any) -> None:
    assert len(json.loads(wreck.done.stdout)["rows"]) == len(OUTCOMES)
    log = _cell(wreck.out, "talks").log()
    assert log.count("a lot") == 20_000
    # Standard input is empty, not the pipe that ties the process to its parent.
    assert "read ''" in log


def test_a_trial_that_worked_leaves_no_noise(wreck: Any) -> None:
    assert _cell(wreck.out, "good").log() == ""


def test_failures_are_kept_apart_from_what_is_finished(wreck: Any) -> None:
    for model, reason in OUTCOMES.items():
        cell = _cell(wreck.out, model)
        where = wreck.out / ("cells" if reason is None else "attempts")
        assert cell.folder == where / cell.key
        assert cell.ok is (reason is None)
    assert "Traceback" in _cell(wreck.out, "raises").log()


@pytest.mark.long
def test_images_that_vanish_midway_are_a_reason_and_not_a_crash(
    run_zoo: Any, naughty: Path, small_folder: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(small_folder, images)
    done = run_zoo(
        *("bench", "--models", "good,vanishes,talks", "--dataset", f"folder:{images}"),
        *("--budget", "1steps", "--metrics", "psnr", "--no-throughput", "--no-references"),
        *("--device", "cpu", "--out", str(tmp_path / "out")),
        PYTHONPATH=str(naughty),
        NAUGHTY_FILE=str(images),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    rows = {cell.label: cell.result for cell in open_run(tmp_path / "out").cells}
    assert rows["good"]["status"] == "ok"
    assert f"folder '{images}' does not exist" in rows["talks"]["error"]
    assert "\n" not in rows["talks"]["error"]


# ---- time and death -------------------------------------------------------------------------


def test_a_hanging_model_is_ended_with_all_it_started(
    variables: dict[str, str], small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 600.0
    pids = tmp_path / "pids"
    start = time.monotonic()
    leaps: list[float] = []
    states: list[str] = []

    def clock() -> float:
        """It leaps to the limit's last second once the model hangs, however long that took."""
        if not leaps and len(_pids(pids)) == 2:
            leaps.append(start + limit - 1 - time.monotonic())
        return time.monotonic() + sum(leaps)

    def on_progress(state: dict[str, Any]) -> None:
        if not states or states[-1] != state["stage"]:
            states.append(state["stage"])

    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=clock))
    result = run_cell(_spec("hangs", small_folder), tmp_path / "out", limit, on_progress, threads=1)
    assert result["status"] == "failed"
    assert result["error"] == "timeout: no result after 600 s"
    assert limit <= clock() - start < limit + 5
    assert states[-1] == "training"
    _wait_for(lambda: not any(_lives(pid) for pid in _pids(pids)), 5)
    assert len(_pids(pids)) == 2


def test_trials_die_with_a_killed_parent(
    variables: dict[str, str], small_folder: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from zoo_benchmark.run.process import run_cell;"
        "from zoo_benchmark.run.trial_spec import TrialSpec;"
        "spec, out = TrialSpec.read(Path(sys.argv[1])), Path(sys.argv[2]);"
        "run_cell(spec, out, 600, threads=1)"
    )
    parents: dict[Path, subprocess.Popen[bytes]] = {}
    # In C code no thread of the dying process can look after it; Linux does.
    for model in ["hangs", *["sticks"] * (sys.platform == "linux")]:
        _spec(model, small_folder).write(tmp_path / f"{model}.json")
        pids = tmp_path / f"{model}.pids"
        parents[pids] = subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / f"{model}.json", tmp_path / model],
            env=os.environ | {"NAUGHTY_FILE": str(pids)},
        )
    try:
        for pids in parents:
            _wait_for(lambda pids=pids: _pids(pids), 90)
            assert any(_lives(pid) for pid in _pids(pids))
        time.sleep(0.2)
    finally:
        for parent in parents.values():
            parent.send_signal(signal.SIGKILL)
            parent.wait()
    for pids in parents:
        _wait_for(lambda pids=pids: not any(_lives(pid) for pid in _pids(pids)), 10)


@pytest.fixture(scope="module")
def interrupted(
    offline: dict[str, str],
    cache: Path,
    naughty: Path,
    small_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[int, str, str, Path, list[int]]]:
    folder = tmp_path_factory.mktemp("interrupted")
    out, pids = folder / "out", folder / "pids"
    bench = subprocess.Popen(
        [
            *(sys.executable, "-m", "zoo", "bench", "--models", "good,hangs,talks"),
            *("--dataset", f"folder:{small_folder}", "--budget", "1steps", "--metrics", "psnr"),
            *("--no-throughput", "--no-references", "--device", "cpu", "--out", str(out)),
        ],
        cwd=folder,
        env=offline | {"PYTHONPATH": str(naughty), "NAUGHTY_FILE": str(pids)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Started in the background, as CI may be, this process ignores SIGINT and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        _wait_for(lambda: _pids(pids), 120)
        bench.send_signal(signal.SIGINT)
        stdout, stderr = bench.communicate(timeout=30)
    finally:
        bench.kill()
    yield bench.returncode, stdout, stderr, out, _pids(pids)


def test_ctrl_c_ends_at_once_and_keeps_what_is_finished(interrupted: Any) -> None:
    code, stdout, stderr, out, pids = interrupted
    assert code == 130
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    assert not any(_lives(pid) for pid in pids)
    board = pd.read_csv(out / "leaderboard.csv").set_index("model")
    assert dict(board["status"]) == {"good": "ok", "hangs": "not run", "talks": "not run"}
    runs = pd.read_csv(out / "runs.csv").set_index("model")
    assert dict(runs["status"]) == dict(board["status"])
    assert set(pd.read_csv(out / "scores.csv")["model"]) == {"good"}
    assert (out / "samples.png").is_file()
    assert "good" in stdout


def test_the_default_timeout_grows_with_a_budget_in_seconds() -> None:
    hour, short, steps = (default_timeout(Budget.parse(text)) for text in ("1h", "20s", "5steps"))
    assert hour > short > 20
    assert hour >= 3600
    assert steps >= 3600


def test_room_for_the_weights_is_looked_for_before_a_long_training(
    naughty_here: None, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "zoo.files.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10)
    )
    spec = TrialSpec(**{**_spec("good", small_folder).__dict__, "budget": "1000000steps"})
    with pytest.raises(OutputError, match=r"^what is trained needs .* MB, and .* another --out$"):
        train_and_score(spec, tmp_path, {}, Progress(tmp_path))


# ---- one data stream for all ----------------------------------------------------------------


def test_every_model_sees_the_same_images_crops_and_flips(
    naughty_here: None, variables: dict[str, str], small_folder: Path, tmp_path: Path
) -> None:
    streams = []
    for model in ("peeks_two", "peeks_four"):
        spec = TrialSpec(**{**_spec(model, small_folder).__dict__, "budget": "16images"})
        (tmp_path / model).mkdir()
        train_and_score(spec, tmp_path / model, {}, Progress(tmp_path / model))
        streams.append(torch.load(f"{variables['NAUGHTY_FILE']}{model}", weights_only=True))
    assert streams[0].shape == (16, 3, 64, 64)
    torch.testing.assert_close(*streams, rtol=0, atol=1e-3)
    # Two epochs: the images come in another order.
    assert not torch.allclose(streams[0][:8], streams[0][8:], atol=1e-3)


# ---- what is around a trial -----------------------------------------------------------------


SURROUNDED = """
import json, sys
from pathlib import Path
from zoo_benchmark.run.process import run_cell
from zoo_benchmark.run.trial_spec import TrialSpec
ballast = bytearray(3 << 30)
ballast[:: 1 << 12] = b"1" * len(ballast[:: 1 << 12])
print(json.dumps(run_cell(TrialSpec.read(Path(sys.argv[1])), Path("out"), 240, threads=1)))
"""


@pytest.fixture(scope="module")
def surrounded(
    naughty: Path, small_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A trial typed in a folder of wrong modules, by a process that needs 3 GB of memory."""
    folder, scripts = tmp_path_factory.mktemp("surrounded"), tmp_path_factory.mktemp("scripts")
    for name in ("zoo", "torch", "datasets"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    (scripts / "script.py").write_text(SURROUNDED)
    _spec("good", small_folder).write(scripts / "spec.json")
    done = subprocess.run(
        [sys.executable, scripts / "script.py", scripts / "spec.json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(naughty)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_folder_it_is_typed_in_cannot_shadow_the_zoo(surrounded: dict[str, Any]) -> None:
    assert surrounded["status"] == "ok", surrounded["error"]


def test_memory_is_that_of_the_trial_and_not_of_its_parent(surrounded: dict[str, Any]) -> None:
    assert surrounded["status"] == "ok", surrounded["error"]
    assert 100 < surrounded["peak_memory_mb"] < 2500
