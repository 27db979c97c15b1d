"""The same cells on a real Ray cluster of two nodes, one of which is killed midway."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.color.bins import BIN_COUNT
from zoo.color.prior import write_prior
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.plan import plan_cells
from zoo_benchmark.protocol import find_protocol
from zoo_benchmark.requests import parse_models
from zoo_benchmark.results.cell_folder import read_cell
from zoo_benchmark.results.run_folder import open_run
from zoo_benchmark.run import ray_executor
from zoo_benchmark.run.executor import Task
from zoo_benchmark.run.ray_executor import RayExecutor, _for_nodes, _run_remotely, _unpack
from zoo_benchmark.run.trial_spec import TrialSpec
from zoo_benchmark.settings import BenchSettings, check_models
from zoo_benchmark.store import Store

SLOW = '''
import multiprocessing
import os
import signal
import time
from pathlib import Path

from torch import nn

from zoo.colorizer import Colorizer, Info


class Slow(Colorizer):
    """Says where it is, and takes its time at first."""

    info = Info(name="slow_one", title="Slow", paper="none", license="MIT")

    def build(self):
        return nn.Conv2d(1, 2, 1)

    def forward(self, L):
        return self.net(L / 100)

    def loss(self, L, ab):
        folder = Path(os.environ["SLOW_FOLDER"])
        attempt = len(list(folder.glob(f"{self.info.name}-*")))
        (folder / f"{self.info.name}-{attempt}").write_text(os.environ["ZOO_NODE"])
        if os.environ["ZOO_NODE"] == "second":
            time.sleep(300)
        return (self.forward(L) - ab).square().mean()


class Other(Slow):
    info = Info(name="slow_two", title="Slow, too", paper="none", license="MIT")


class Fells(Slow):
    """Takes down the worker that started it."""

    info = Info(name="fells", title="Fells", paper="none", license="MIT")

    def loss(self, L, ab):
        os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
        time.sleep(300)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with a distribution of the colorizers."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    plugin = tmp_path / "plugin"
    info = plugin / "slow-1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "slow.py").write_text(SLOW)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    entries = "slow_one = slow:Slow\nslow_two = slow:Other\nfells = slow:Fells\n"
    (info / "entry_points.txt").write_text(f"[zoo.colorizers]\n{entries}")
    return plugin


@pytest.fixture
def cluster(
    offline: dict[str, str], cache: Path, plugin: Path, tmp_path: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes], dict[str, str]]]:
    """The address of a head with one CPU, and a second node with one CPU to be killed."""
    variables = offline | {"PYTHONPATH": str(plugin), "SLOW_FOLDER": str(tmp_path / "said")}
    variables |= {"ZOO_CACHE": str(cache), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    # A token that another cluster left in the home folder is none of ours.
    variables |= {"RAY_AUTH_MODE": "disabled"}
    variables.pop("http_proxy")
    variables.pop("https_proxy")
    (tmp_path / "said").mkdir()
    ray = str(Path(sys.executable).parent / "ray")
    port = str(20_000 + os.getpid() % 20_000)
    common = ("--num-cpus", "1", "--num-gpus", "0", "--block", "--disable-usage-stats")
    # In a folder of its own, with a short name as its sockets need: the address of a cluster that
    # is killed would stay behind, and `ray.init` look for it.
    own = tempfile.mkdtemp(prefix="ray-")
    of_the_head = ("--include-dashboard", "false", "--temp-dir", own)
    head = subprocess.Popen(
        [ray, "start", "--head", "--port", port, *of_the_head, *common],
        env=variables | {"ZOO_NODE": "first"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    second = None
    try:
        address = f"127.0.0.1:{port}"
        _wait_for_nodes(ray, address, 1, variables)
        second = subprocess.Popen(
            [ray, "start", "--address", address, *common],
            env=variables | {"ZOO_NODE": "second"},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        _wait_for_nodes(ray, address, 2, variables)
        yield address, second, variables
    finally:
        for process in (second, head):
            if process is not None:
                _kill(process)
        shutil.rmtree(own, ignore_errors=True)


def _wait_for_nodes(ray: str, address: str, count: int, variables: dict[str, str]) -> None:
    deadline = time.monotonic() + 120
    found = ""
    while time.monotonic() < deadline:
        done = subprocess.run(
            [ray, "status", "--address", address],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        found = done.stdout + done.stderr
        if f"{float(count)} CPU" in found:
            return
        time.sleep(1)
    pytest.fail(f"no cluster of {count} nodes: {found}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.long
def test_a_cell_whose_node_dies_is_made_elsewhere(
    cluster: Any, small_folder: Path, tmp_path: Path
) -> None:
    address, second, variables = cluster
    said = tmp_path / "said"

    def kill_the_node_at_work() -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            if any(file.read_text() == "second" for file in said.iterdir()):
                _kill(second)
                return
            time.sleep(0.2)

    killer = threading.Thread(target=kill_the_node_at_work, daemon=True)
    killer.start()
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "zoo", "bench", "--models", "slow_one,slow_two"),
            *("--dataset", f"folder:{small_folder}", "--budget", "1steps", "--metrics", "psnr"),
            *("--no-references", "--device", "cpu", "--executor", f"ray={address}"),
            *("--out", str(out)),
        ],
        env=variables | {"ZOO_NODE": "driver"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killer.join(1)
    assert second.poll() is not None
    nodes = {file.name: file.read_text() for file in said.iterdir()}
    # One began on the second node, and again on the first.
    assert sorted(nodes.values()) == ["first", "first", "second"]
    run = open_run(out)
    assert [cell.result["status"] for cell in run.cells] == ["ok", "ok"]
    for cell in run.cells:
        assert json.loads((cell.folder / "files.json").read_text())
        assert (cell.folder / "weights.safetensors").is_file()
        assert len(cell.scores()) == 4
        # Throughput says what it was measured on.
        assert cell.timing[0]["images_per_s"] > 0
        assert cell.timing[0]["hardware"] == cell.result["environment"]["hardware"]


@pytest.mark.long
def test_a_cell_that_the_cluster_lost_is_a_failure_with_its_reason(
    plugin: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    # The nodes of a cluster that is started here have the variables of this process.
    for name, value in {
        "PYTHONPATH": os.pathsep.join([str(plugin), os.environ.get("PYTHONPATH", "")]),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ray_executor, "RETRIES", 0)
    spec = TrialSpec(
        model="fells",
        label="fells",
        preset="small",
        dataset=f"folder:{small_folder}",
        size=64,
        budget="1steps",
        repetition=0,
        data_seed=1,
        model_seed=2,
    )
    task = Task(spec, tmp_path / "attempt", "key")
    task.folder.mkdir()
    for left in ("result.json", "scores.csv"):
        (task.folder / left).write_text(json.dumps({"status": "ok", "error": ""}))
    try:
        executor = RayExecutor("local", "cpu", 1)
        [(_, result)] = executor.run([task], 120, lambda *_: None)
    finally:
        ray.shutdown()
    assert result["status"] == "failed"
    assert result["error"].startswith("the cluster lost it 1 times: ")
    assert {file.name for file in task.folder.iterdir()} == {"result.json"}
    found = read_cell(task.folder, sealed=False)
    assert found is not None
    assert found.result["error"] == result["error"]


def test_a_file_that_an_option_names_travels(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prior.csv"
    write_prior(path, torch.full((BIN_COUNT,), 1 / BIN_COUNT))
    monkeypatch.chdir(tmp_path)
    Path("0.5").write_text("This is no option's file, though a number reads like its name.")
    named = find_protocol("quick-steps@1")
    asked = {"dataset": f"folder:{small_folder}", "budget": "1steps", "seeds": 1}
    protocol = replace(named, **asked, metrics={"psnr": 1})
    settings = BenchSettings(f"zhang_rebalanced:prior={path},rebalancing=0.5", device="cpu")
    models = check_models(parse_models(settings.models), protocol, settings)
    store = Store(tmp_path / "store")
    [cell] = plan_cells(models, protocol, settings, store, {}, MetricFiles(), ("here", "here"))

    sent = _for_nodes(cell.spec, "cpu")
    path.write_text("On the node, this is another file.")
    text, files = _run_remotely(*sent, 120, 1)
    assert json.loads(text)["status"] == "ok", json.loads(text)["error"]

    task = Task(cell.spec, tmp_path / "attempt", cell.key)
    result = _unpack(task, json.loads(text), files)
    assert result["options"]["prior"] == result["spec"]["changes"]["prior"] == str(path)
    found = read_cell(task.folder, sealed=False, kind="trial")
    assert found is not None
    assert found.result["options"] == result["options"]
    # What is trained finds it again wherever it is timed.
    assert cell.timing is not None
    timing, _ = cell.timing
    assert (timing.changes, timing.option_files) == ({"prior": str(path)}, ["prior"])
