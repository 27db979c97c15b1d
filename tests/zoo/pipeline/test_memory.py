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
from zoo.pipeline.plan import Settings, plan
from zoo.pipeline.run import colorize_files

def peak():
    # Not getrusage, which counts what the parent had in memory, too.
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmHWM:"))

colorizer = zoo.load(sys.argv[1], sys.argv[2], device="cpu")
jobs = plan(sys.argv[3:4], sys.argv[4])
before, start = peak(), time.perf_counter()
report = colorize_files(colorizer, jobs, Settings(working_size=256))
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


ARRAY = """
import sys
import numpy as np
import zoo

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(name))

colorizer = zoo.load(sys.argv[1], sys.argv[2], device="cpu")
grey = np.resize(np.arange(256, dtype=np.uint8), (5776, 8672))
colorizer.predict(grey[:600, :600])  # what PyTorch sets up once
before = status("VmRSS:")
colour = colorizer.predict(grey)
assert colour.shape == (*grey.shape, 3)
print(before, status("VmHWM:"))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
def test_predict_merges_strip_by_strip(saved):
    arguments = ["zhang_rebalanced", str(saved("zhang_rebalanced"))]
    result = subprocess.run(
        [sys.executable, "-c", ARRAY, *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    before, peak = (int(value) / 1024 for value in result.stdout.split())
    sys.stderr.write(f"{before:.0f} MiB before, {peak:.0f} MiB at most\n")
    # 143 MiB are the picture; whole planes in float would take 191 MiB for each channel.
    assert peak - before < 143 + 250


MANY = """
import sys
import zoo
from zoo.pipeline.plan import Settings, plan
from zoo.pipeline.run import colorize_files

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon:")))

colorizer = zoo.load(sys.argv[1], sys.argv[2], device="cpu")
jobs = plan(sys.argv[3:4], sys.argv[4])
peaks = {int(count): 0 for count in sys.argv[5:]}
done = 0

def watch(event):
    global done
    done += event.kind == "done"
    # The most so far: how many are on their way at one moment is chance.
    now = anonymous()
    for count in peaks:
        if done <= count:
            peaks[count] = max(peaks[count], now)

report = colorize_files(colorizer, jobs, Settings(working_size=256), watch)
assert not report.failures, report.failures
print(*peaks.values())
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
def test_many_files_take_no_more_memory_than_a_few(saved, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    photograph = data.astronaut()
    for i in range(500):
        tile = np.roll(photograph, 7 * i, axis=1)[:256, :256]
        # Some kilobytes of text each: metadata must not stay, either.
        Image.fromarray(tile).save(folder / f"0-{i:03d}.jpg", xmp=b"<x>" + b"y" * 9000 + b"</x>")
        for again in range(1, 12):
            os.link(folder / f"0-{i:03d}.jpg", folder / f"{again}-{i:03d}.jpg")
    arguments = ["grey", str(saved("grey")), str(folder), str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", MANY, *arguments, "3000", "6000"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    few, many = (int(value) / 1024 for value in result.stdout.split())
    sys.stderr.write(f"3,000 files: {few:.0f} MiB, 6,000 files: {many:.0f} MiB\n")
    assert len(list((tmp_path / "out").iterdir())) == 6000
    # The pixels of the 3,000 that came between would take 563 MiB, their chroma 1,500. The heap
    # goes on growing by some tens for the first few thousand, until its holes fit what comes.
    assert many - few < 250
