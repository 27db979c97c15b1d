"""A scan of 50 megapixels is coloured in the memory that the documentation states."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

LARGE = """
import sys, time
import zoo
from zoo.colorize import plan
from zoo.pipeline import colorize_files

def peak():
    # Not getrusage, which counts what the parent had in memory, too.
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmHWM:"))

colorizer = zoo.load(sys.argv[1], sys.argv[2], device="cpu")
jobs = plan(sys.argv[3:4], sys.argv[4])
before, start = peak(), time.perf_counter()
report = colorize_files(colorizer, jobs)
assert not report.failures, report.failures
print(before, peak(), time.perf_counter() - start)
"""

# What docs/colorize.md states for 50 megapixels, on top of Python, PyTorch and the network.
STATED = {"grey": 600, "deep": 600, "colour": 800}  # MiB


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
@pytest.mark.parametrize("kind", ["grey.jpg", "grey.png", "deep.tif", "colour.jpg", "deep.png"])
def test_50_megapixels_in_the_stated_memory(kind, saved, tmp_path):
    shape = (5776, 8672)  # 50.1 megapixels
    photograph = Image.fromarray(data.astronaut()).resize(shape[::-1], Image.Resampling.BILINEAR)
    path = tmp_path / kind
    if kind.startswith("deep"):
        pixels = np.asarray(photograph.convert("L")).astype(np.uint16) * 257
        if kind.endswith("tif"):
            tifffile.imwrite(path, pixels)
        else:
            Image.fromarray(pixels).save(path, compress_level=1)
    else:
        photograph.convert("L" if kind.startswith("grey") else "RGB").save(path)
    name = "zhang_rebalanced"
    arguments = [name, str(saved(name)), str(path), str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", LARGE, *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    before, peak, seconds = (float(value) for value in result.stdout.split())
    told = f"{before / 1024:.0f} MiB before, {peak / 1024:.0f} MiB at most, {seconds:.1f} s"
    sys.stderr.write(f"{kind}: {told}\n")
    assert (peak - before) / 1024 < STATED[kind.split(".")[0]]
    with Image.open(tmp_path / "out" / kind) as image:
        assert image.size == shape[::-1]
