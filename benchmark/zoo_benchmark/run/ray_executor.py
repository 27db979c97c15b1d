"""The executor of tasks on a Ray cluster (extra `ray`).

Ray places, retries and moves; nothing of that is done here. A task travels as JSON with the
files it needs, and its folder comes back whole, so that nodes share no disk. They need the
same zoo, the same plugins and the same images: each trial checks the images' manifest.
"""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zoo._version import __version__
from zoo.device import resolve_device
from zoo.errors import DeviceError, InputError
from zoo.files import write_text
from zoo.text import first_line
from zoo_benchmark.run.executor import Task, local_hardware
from zoo_benchmark.run.process import ProgressState, Result, record_failure, run_cell
from zoo_benchmark.run.trial_spec import (
    RESULT,
    ConditionSpec,
    ScoringSpec,
    Spec,
    TimingSpec,
    TrialSpec,
)

RETRIES = 3
"""How often a cell is placed again when its node or worker died."""

Files = dict[str, bytes]


class RayExecutor:
    """The executor of a Ray cluster.

    Args:
        address: the cluster's, as `ray.init` takes it; empty for the one that `RAY_ADDRESS`
            names, one that runs on this machine, or else a new one.
        device: `auto`, `cpu` or `cuda`; cells ask for a GPU where it says so, or where `auto`
            finds GPUs in the cluster.
        jobs: cells side by side on the smallest node; each asks for its share of the CPUs.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
        DeviceError: the cluster does not have the device.
    """

    def __init__(self, address: str, device: str, jobs: int) -> None:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise InputError(
                "--executor ray needs Ray; type pip install 'colorizer-zoo[ray]'"
            ) from error
        self._ray = ray
        if not ray.is_initialized():
            try:
                ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR)
            # A cluster that wants a token refuses with an error of Ray's own.
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise InputError(
                    f"no Ray cluster at {address or 'this machine'}: {first_line(error)}"
                ) from error
        nodes = [node for node in ray.nodes() if node["Alive"]]
        cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes]
        self._ids = [node["NodeID"] for node, count in zip(nodes, cpus, strict=True) if count]
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
        if device.startswith("cuda") and not gpus:
            raise DeviceError("the Ray cluster has no GPU; type --device auto or --device cpu")
        self._node_cpus = min(count for count in cpus if count)
        self._device = device
        self._gpus = 1 if gpus and device != "cpu" else 0
        self._cpus = max(1, self._node_cpus // jobs)

    def hardware(self) -> tuple[list[str], list[str]]:
        """The different kinds of hardware that cells are trained on, and are timed on."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        probe = self._ray.remote(_describe)
        device = "cuda" if self._gpus else "cpu"
        found = self._ray.get(
            [
                probe.options(
                    num_cpus=self._cpus,
                    num_gpus=self._gpus,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                ).remote(device, (self._cpus, self._node_cpus))
                for node in self._ids
            ]
        )
        if other := {version for version, _, _ in found if version != __version__}:
            raise InputError(
                f"nodes of the Ray cluster have colorizer-zoo {', '.join(sorted(other))}, this "
                f"machine {__version__}; install the same everywhere"
            )
        return sorted({names[1] for names in found}), sorted({names[2] for names in found})

    def prepare(self) -> None:
        """See `Executor.prepare`; the cluster is there already."""

    def run(
        self,
        tasks: Sequence[Task],
        timeout: float,
        on_progress: Callable[[Task, ProgressState], None],
        *,
        alone: bool = False,
    ) -> Iterator[tuple[Task, Result]]:
        """See `Executor.run`; `alone` places one task at a time, on a node of its own."""
        cpus = self._node_cpus if alone else self._cpus
        remote = self._ray.remote(_run_remotely).options(
            num_cpus=cpus, num_gpus=self._gpus, max_retries=RETRIES, retry_exceptions=False
        )
        waiting = list(tasks)
        placed: dict[Any, Task] = {}
        try:
            while waiting or placed:
                while waiting and not (alone and placed):
                    task = waiting.pop(0)
                    spec = _for_nodes(task.spec, self._device)
                    placed[remote.remote(*spec, timeout, cpus)] = task
                    on_progress(task, {"stage": "on the cluster", "share": 0.0})
                done, _ = self._ray.wait(list(placed), num_returns=1)
                for reference in done:
                    task = placed.pop(reference)
                    yield task, self._collect(reference, task)
        finally:
            for reference in placed:
                self._ray.cancel(reference, force=True)

    def _collect(self, reference: Any, task: Task) -> Result:
        """Writes what came back, or why nothing did, into the task's folder, which is emptied."""
        shutil.rmtree(task.folder, ignore_errors=True)
        try:
            text, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = f"the cluster lost it {RETRIES + 1} times: {first_line(error)}"
            return record_failure(task.spec, task.folder, reason)
        return _unpack(task, json.loads(text), files)


def _for_nodes(spec: Spec, device: str) -> tuple[str, str, Files]:
    """A spec as JSON, its kind, and the files that its paths name."""
    files: Files = {}

    def pack(path: str) -> str:
        name = f"{len(files)}-{Path(path).name}"
        files[name] = Path(path).read_bytes()
        return name

    packed = _with_paths(replace(spec, device=device), pack)
    return json.dumps(asdict(packed)), type(spec).__name__, files


def _unpack(task: Task, result: Result, files: Files) -> Result:
    """Writes what a node made into the task's folder; its result names this machine's files."""
    result["spec"] = asdict(task.spec)
    if "options" in result:
        result["options"] |= {name: task.spec.changes[name] for name in task.spec.option_files}
    for name, content in files.items():
        file = task.folder / name
        if not file.resolve().is_relative_to(task.folder.resolve()):
            raise InputError(f"a node sent a file outside of its folder: {name!r}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    write_text(task.folder / RESULT, json.dumps(result, indent=1))
    return result


def _with_paths(spec: Spec, change: Callable[[str], str]) -> Spec:
    """The spec with every path in it changed."""
    changed: dict[str, Any] = {"weights": change(spec.weights)} if spec.weights else {}
    changed["changes"] = spec.changes | {
        name: change(spec.changes[name]) for name in spec.option_files
    }
    if isinstance(spec, ScoringSpec):
        changed["metric_files"] = {
            metric: {name: change(path) for name, path in paths.items()}
            for metric, paths in spec.metric_files.items()
        }
    return replace(spec, **changed)


def _run_remotely(
    text: str, kind: str, files: Files, timeout: float, threads: int
) -> tuple[str, Files]:
    """On a node: runs the task in a folder that goes away; gives back its result and files."""
    kinds: dict[str, type[Spec]] = {k.__name__: k for k in (TrialSpec, TimingSpec, ConditionSpec)}
    with tempfile.TemporaryDirectory(prefix="zoo-cell-") as name:
        folder = Path(name)
        for sent, content in files.items():
            (folder / sent).write_bytes(content)
        spec = _with_paths(kinds[kind](**json.loads(text)), lambda sent: str(folder / sent))
        out = folder / "cell"
        result = run_cell(spec, out, timeout, threads=threads)
        made = {
            str(file.relative_to(out)): file.read_bytes()
            for file in out.rglob("*")
            if file.is_file() and file != out / RESULT
        }
    return json.dumps(result), made


def _describe(device: str, threads: tuple[int, int]) -> tuple[str, str, str]:
    """On a node: the zoo's version, and the hardware of a training and of a timing."""
    found = resolve_device(device)
    training, timing = (local_hardware(found, count) for count in threads)
    return __version__, training, timing
