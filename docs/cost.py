"""Makes `cost.png`: what one image costs, in seconds and memory, as it grows.

    python docs/cost.py docs/cost.png

Each model, in its small preset, and each size have a process of their own. Takes some minutes, and
wants a machine that does nothing else.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from skimage import data

import zoo
from zoo.device import resolve_device
from zoo.figures import figure
from zoo.registry import colorizer_class, list_colorizers
from zoo_benchmark.run.memory import PeakMemory

SIDES = (64, 128, 256, 512, 1024)
_REPEATS = 3
_SECONDS = 3.0
_INK = "#3f4650"


@dataclass(frozen=True)
class Cost:
    """What `predict` took for one image.

    Attributes:
        model: the colorizer.
        side: of the image, in pixels.
        seconds: the least of a few calls.
        mebibytes: the process's peak above what it held before, on a GPU that of the tensors.
    """

    model: str
    side: int
    seconds: float
    mebibytes: float


def measure(model: str, weights: str, side: int) -> Cost:
    """Measures one model at one size, in this process."""
    colorizer = zoo.load(model, weights)
    grey = np.resize(data.astronaut()[..., 1], (side, side))
    memory = PeakMemory(colorizer.device)
    memory.resume()
    before = memory.pause()
    seconds: list[float] = []
    while len(seconds) < _REPEATS and sum(seconds) < _SECONDS:
        start = time.perf_counter()
        colorizer.predict(grey, "full")
        seconds.append(time.perf_counter() - start)
    return Cost(model, side, min(seconds), memory.pause() - before)


def measure_elsewhere(model: str, weights: str, side: int) -> Cost:
    """The same in a process of its own, which no other work has left memory to."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and file
        [sys.executable, __file__, model, weights, str(side)],
        capture_output=True,
        text=True,
        check=True,
    )
    return Cost(**json.loads(done.stdout))


def plot(costs: Sequence[Cost], path: Path) -> None:
    """Writes both curves of every model as PNG, atomically."""
    with figure(path, figsize=(11, 4.6), dpi=110, layout="constrained", facecolor="white") as drawn:
        for axes, unit, name in zip(
            drawn.subplots(1, 2),
            ("milliseconds per image", "MiB above the loaded network"),
            ("seconds", "mebibytes"),
            strict=True,
        ):
            for model in dict.fromkeys(cost.model for cost in costs):
                own = [cost for cost in costs if cost.model == model]
                scale = 1000 if name == "seconds" else 1
                values = [scale * getattr(cost, name) for cost in own]
                axes.plot(
                    [cost.side for cost in own], values, marker="o", markersize=4, label=model
                )
            axes.set_xscale("log", base=2)
            if name == "seconds":
                axes.set_yscale("log")
            else:
                # It may be next to nothing: what was held before was room enough.
                axes.set_yscale("symlog", linthresh=10)
                axes.set_ylim(bottom=0)
            axes.set_xticks(sorted({cost.side for cost in costs}))
            axes.xaxis.set_major_formatter("{x:.0f}²")
            axes.set_xlabel("pixels of the image", color=_INK)
            axes.set_title(unit, fontsize=11, color=_INK)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        drawn.axes[0].legend(frameon=False, fontsize=9)
        threads = torch.get_num_threads()
        device = resolve_device("auto")
        what = device.type if device.type != "cpu" else f"{threads} CPU thread{'s' * (threads > 1)}"
        drawn.suptitle(f"One image through predict, small presets, {what}", fontsize=12, color=_INK)


def main(out: Path, models: Sequence[str], sides: Sequence[int]) -> None:
    """Measures all models at all sizes, prints what it finds, and plots it."""
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            cls = colorizer_class(model)
            weights = str(Path(folder, f"{model}.safetensors"))
            small = cls(cls.preset("small"))
            small.fit([data.astronaut()], budget="1steps", size=64).save(weights)
            for side in sides:
                cost = measure_elsewhere(model, weights, side)
                said = f"{model} {side}²: {cost.seconds:.4f} s, {cost.mebibytes:.0f} MiB"
                print(said, flush=True)  # noqa: T201
                costs.append(cost)
    plot(costs, out)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(asdict(measure(*sys.argv[1:3], int(sys.argv[3])))))  # noqa: T201
    else:
        trained = [name for name in list_colorizers() if not colorizer_class(name).info.floor]
        main(Path(sys.argv[1]), trained, SIDES)
