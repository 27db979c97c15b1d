"""One trial in its own process: `python -m zoo_benchmark.trial SPEC OUT [--lifeline]`.

A JSON spec in, a folder out: `result.json` (written last: where it stands, the trial is
over), `scores.csv`, `curve.csv`, `weights.safetensors` and `showcase/`. A failing model is a
result with its reason, and exit code 1.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

import zoo
from zoo import registry
from zoo.colorizer import Colorizer
from zoo.dataset import Dataset, ImageSet
from zoo.errors import ZooError
from zoo.feed import Feed
from zoo.files import atomic_path, write_text
from zoo.lab import rgb_to_lab
from zoo.metric import MetricContext, Pictures
from zoo.photos import to_grey
from zoo_benchmark import scoring, throughput
from zoo_benchmark.environment import describe_environment
from zoo_benchmark.trial_spec import (
    CURVE,
    OK,
    PROGRESS,
    RESULT,
    SCORES,
    SHOWCASE,
    SHOWCASE_SIZE,
    WEIGHTS,
    TrialSpec,
)

# How often the parent is told of progress, in seconds.
_PROGRESS_EVERY = 0.25


class Progress:
    """Writes what the trial is doing to `progress.json`, a few times a second."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._last = 0.0

    def stage(self, name: str) -> None:
        """A new stage begins."""
        self._write({"stage": name, "share": 0.0})

    def step(self, feed: Feed) -> None:
        """Training has made a step."""
        if time.monotonic() - self._last > _PROGRESS_EVERY:
            loss = feed.curve.points[-1]["loss"] if feed.curve.points else None
            self._write({"stage": "training", "share": feed.progress, "loss": loss})

    def _write(self, state: dict[str, Any]) -> None:
        write_text(self._path, json.dumps(state))
        self._last = time.monotonic()


def run(spec: TrialSpec, out: Path) -> dict[str, Any]:
    """Trains, scores and times one model; returns and writes the result."""
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"spec": dataclasses.asdict(spec), "status": OK, "error": ""}
    try:
        _run(spec, out, result)
    except KeyboardInterrupt:
        raise
    except (Exception, SystemExit) as error:
        result["status"], result["error"] = "failed", _one_line(error)
        traceback.print_exc()
    write_text(out / RESULT, json.dumps(result, indent=1))
    return result


def _run(spec: TrialSpec, out: Path, result: dict[str, Any]) -> None:
    progress = Progress(out)
    progress.stage("loading")
    cls = registry.colorizer_class(spec.model)
    colorizer = cls(
        cls.preset(spec.preset),
        device=spec.device,
        precision=spec.precision,
        **spec.changes,
    )
    result["options"] = dataclasses.asdict(colorizer.options)
    result["environment"] = describe_environment(colorizer.device)
    dataset = registry.open_dataset(spec.dataset)
    train, test = (dataset.load(split, spec.size) for split in ("train", "test"))

    progress.stage("training")
    colorizer.fit(
        train,
        budget=spec.budget,
        seed=spec.model_seed,
        data_seed=spec.data_seed,
        size=spec.size,
        on_step=progress.step,
    )
    _record_training(colorizer, out, result)
    colorizer.save(out / WEIGHTS)

    progress.stage("scoring")
    context = MetricContext(
        device=colorizer.device,
        truth=test.images,
        lpips_weights=Path(spec.lpips_weights) if spec.lpips_weights else None,
    )
    metrics, unavailable = scoring.open_metrics(spec.metrics, context, spec.size)
    if "lpips" in unavailable and spec.lpips_status:
        unavailable["lpips"] = spec.lpips_status
    scores, broken = scoring.score(colorizer, test, metrics)
    result["metrics"] = {m.info.name: m.info.version for m in metrics if m.info.name not in broken}
    result["metrics_unavailable"] = unavailable | broken
    with atomic_path(out / SCORES) as partial:
        scores.to_csv(partial, index=False)
    _paint_showcase(colorizer, dataset, spec, out)

    if spec.throughput:
        progress.stage("timing")
        result["throughput"] = _time_prediction(colorizer, test, out)


def _record_training(colorizer: Colorizer, out: Path, result: dict[str, Any]) -> None:
    record = colorizer.record
    assert record is not None
    result["training"] = dataclasses.asdict(record)
    curve = result["training"].pop("curve")
    with atomic_path(out / CURVE) as partial:
        columns = ["seconds", "steps", "images", "flops", "loss"]
        pd.DataFrame(curve, columns=columns).to_csv(partial, index=False)
    result["params"] = colorizer.parameter_count
    cost = record.cost
    result["train_images_per_s"] = cost.images / cost.seconds if cost.images else None
    result["peak_memory_mb"] = _peak_memory_mb(colorizer.device)


def _peak_memory_mb(device: torch.device) -> float:
    """On a GPU what tensors took at most; on a CPU the process's largest resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would start from the size of the process that started this one.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _time_prediction(colorizer: Colorizer, test: ImageSet, out: Path) -> list[dict[str, Any]]:
    greys = np.stack([to_grey(Image.fromarray(image)) for image in test.images[:32]])
    rows = [dataclasses.asdict(throughput.measure(colorizer, greys))]
    if colorizer.device.type != "cpu":
        on_cpu = zoo.load(colorizer.info.name, out / WEIGHTS, device="cpu")
        rows.append(dataclasses.asdict(throughput.measure(on_cpu, greys)))
    return rows


def _paint_showcase(colorizer: Colorizer, dataset: Dataset, spec: TrialSpec, out: Path) -> None:
    pictures = dataset.showcase(spec.showcase, max(spec.size, SHOWCASE_SIZE))
    source = Pictures.from_array(pictures.images, colorizer.device)
    painted = scoring.paint(colorizer, rgb_to_lab(source.rgb)[0])
    for index, image in enumerate(painted.rgb8.permute(0, 2, 3, 1).cpu().numpy()):
        with atomic_path(out / SHOWCASE / f"{index:02d}.png") as partial:
            Image.fromarray(image).save(partial)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ZooError):
        return text
    return f"{type(error).__name__}: {text}"


def _tie_to_lifeline() -> None:
    """Ends this process, and what it started, when the parent's end of stdin closes.

    The pipe closes however the parent died. A process beside this one waits for that: a thread
    could not run while a plugin is stuck in C code. Standard input itself is empty from here
    on, so that no plugin reads from the pipe.
    """
    alone = os.getpgrp() != os.getpid()
    target = str(os.getpid()) if alone else f"-{os.getpid()}"
    subprocess.Popen(  # noqa: S603 - fixed arguments
        ["/bin/sh", "-c", 'cat > /dev/null; kill -s KILL -- "$1"', "lifeline", target],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)


def main(arguments: list[str]) -> int:
    """Runs the trial of a spec file; 0 if it succeeded, 1 if the model failed, 2 for misuse."""
    lifeline = "--lifeline" in arguments
    paths = [Path(a) for a in arguments if a != "--lifeline"]
    if len(paths) != 2:
        sys.stderr.write("usage: python -m zoo_benchmark.trial SPEC OUT [--lifeline]\n")
        return 2
    if lifeline:
        _tie_to_lifeline()
    result = run(TrialSpec.read(paths[0]), paths[1])
    return 0 if result["status"] == OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
