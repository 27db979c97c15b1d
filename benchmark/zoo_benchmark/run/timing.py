"""The timing of a finished cell, as its own process does it.

Apart from the trial, so that a cell trained elsewhere, or beside others, is timed on this
machine and with nothing else of the comparison running.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo import registry
from zoo.device import resolve_device
from zoo.images.open import to_grey
from zoo_benchmark.run import throughput
from zoo_benchmark.run.control import measure_control
from zoo_benchmark.run.environment import describe_environment, hardware
from zoo_benchmark.run.given import load_given
from zoo_benchmark.run.process import Progress
from zoo_benchmark.run.trial_spec import TimingSpec

_IMAGES = 32


def time_prediction(
    spec: TimingSpec, out: Path, result: dict[str, Any], progress: Progress
) -> None:
    """Times `predict` on the spec's device and, beside a GPU, on the CPU.

    Fills in `throughput`: a row per device with its `hardware` and the speed of the control
    task on it.
    """
    progress.stage("loading")
    device = resolve_device(spec.device)
    test = registry.open_dataset(spec.dataset).open("test", spec.size)
    greys = np.stack([to_grey(Image.fromarray(image)) for image in test.images[:_IMAGES]])
    result["environment"] = describe_environment(device)
    rows = []
    progress.stage("timing")
    for name in dict.fromkeys((str(device), "cpu")):
        colorizer = load_given(spec, name)
        control = measure_control(colorizer.device)
        rows.append(
            {
                **asdict(throughput.measure(colorizer, greys)),
                "precision": colorizer.precision,
                "hardware": hardware(colorizer.device),
                "control": control,
            }
        )
    result["throughput"] = rows
