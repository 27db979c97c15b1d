"""Colouring files: the plan, the merge, and the pipeline with all that can go wrong in it."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import color, data
from torch import nn

import zoo
import zoo.pipeline.run
from zoo.colorizer import Colorizer, Info
from zoo.errors import InputError, NotFittedError, OutputError
from zoo.images.photograph import read_photograph
from zoo.pipeline.plan import Job, Settings, plan
from zoo.pipeline.run import colorize_files


class Painter(Colorizer):
    """Paints a known pattern of chroma; `pass_` may fail instead."""

    info = Info(name="painter", title="A pattern", paper="none", license="MIT")
    multiple = 8

    def __init__(self, pass_=lambda L: None):
        super().__init__(device="cpu", precision="fp32")
        self.pass_, self.shapes = pass_, []
        self.net, self._fitted = self.build(), True

    def build(self):
        return nn.Identity()

    def forward(self, L):
        self.shapes.append(tuple(L.shape))
        self.pass_(L)
        ramp = torch.linspace(-12, 12, L.shape[3]).expand(len(L), 1, *L.shape[2:])
        return torch.cat((ramp, -ramp / 2 + 4), dim=1)


class Grey(Painter):
    def forward(self, L):
        return torch.zeros(len(L), 2, *L.shape[2:])


class RGBPainter(Painter):
    info = Info(name="rgb", title="Paints", paper="none", license="MIT", output="rgb")
    multiple = 1

    def forward(self, L):
        return torch.tensor([0.6, 0.4, 0.3])[None, :, None, None].expand(len(L), 3, *L.shape[2:])


def out_of_memory_above(pixels, error=torch.OutOfMemoryError):
    def check(L):
        if L.numel() > pixels:
            raise error("DefaultCPUAllocator: not enough memory: you tried to allocate 8 GB")

    return check


def run(colorizer, inputs, out, on_event=None, suffix=None, **settings):
    given = inputs if isinstance(inputs, list) else [inputs]
    jobs = plan(given, out, suffix=suffix, overwrite=settings.get("overwrite", False))
    return colorize_files(colorizer, jobs, Settings(**settings), on_event)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# From file to file


@pytest.mark.parametrize("source", ["L", "RGB", "CMYK", "I;16", "deep RGB"])
def test_lightness_of_the_output_is_that_of_the_input(source, rgb, tmp_path):
    path = tmp_path / "x.tif"
    if source == "I;16":
        tifffile.imwrite(path, rgb[..., 1].astype(np.uint16) * 250)
    elif source == "deep RGB":
        tifffile.imwrite(path, rgb.astype(np.uint16) * 250, photometric="rgb")
    else:
        Image.fromarray(rgb).convert(source).save(path)
    assert not run(Painter(), path, tmp_path / "out").failures
    found = tifffile.imread(tmp_path / "out" / "x.tif")
    deep = source in ("I;16", "deep RGB")
    assert found.dtype == (np.uint16 if deep else np.uint8)
    assert found.shape == rgb.shape
    if source == "I;16":
        before = color.rgb2lab(np.repeat(rgb[..., 1:2] * 250.0 / 65535, 3, axis=2))[..., 0]
    elif source == "deep RGB":
        before = color.rgb2lab(rgb * 250.0 / 65535)[..., 0]
    else:
        before = color.rgb2lab(np.asarray(Image.open(path).convert("RGB")))[..., 0]
    after = color.rgb2lab(found)
    inside = (found > 0).all(2) & (found < np.iinfo(found.dtype).max).all(2)
    assert inside.mean() > 0.7
    error = np.abs(after[..., 0] - before)[inside]
    assert error.max() < (0.02 if deep else 0.4)
    assert after[..., 1][inside].std() > 3  # it has colour


def test_network_sees_the_working_size_and_the_file_keeps_its_own(tmp_path):
    grey = data.camera()
    Image.fromarray(grey).save(tmp_path / "x.png")
    Image.fromarray(grey[:40, :30]).save(tmp_path / "tiny.png")
    painter = Painter()
    run(painter, [tmp_path / "x.png", tmp_path / "tiny.png"], tmp_path / "out", working_size=100)
    assert sorted(painter.shapes) == [(1, 1, 40, 32), (1, 1, 104, 104)]
    assert Image.open(tmp_path / "out" / "x.png").size == (512, 512)
    assert Image.open(tmp_path / "out" / "tiny.png").size == (30, 40)


def test_nearly_black_photographs_are_coloured(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 3).save(tmp_path / "in/x.png")
    # Made smaller, it has hundreds of values: many more than eight bits have that are so dark.
    noise = np.random.default_rng(0).integers(0, 4, (60, 80), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in/large.png")
    # An L of so many values below 1 is refused where it comes from a caller.
    with pytest.raises(InputError, match="scaled to"):
        Painter().predict_ab(torch.linspace(0, 0.9, 64).view(1, 1, 8, 8))
    assert not run(Painter(), tmp_path / "in", tmp_path / "out", working_size=24).failures
    assert Painter().predict(noise, working_size=24).shape == (60, 80, 3)


def test_painters_of_rgb_give_their_chroma_only(tmp_path):
    grey = np.tile(np.arange(90, 160, dtype=np.uint8), (70, 1))
    Image.fromarray(grey).save(tmp_path / "x.png")
    run(RGBPainter(), tmp_path / "x.png", tmp_path / "out")
    lab = color.rgb2lab(np.asarray(Image.open(tmp_path / "out" / "x.png")))
    expected = color.rgb2lab([[[0.6, 0.4, 0.3]]])[0, 0]
    np.testing.assert_allclose(
        lab[..., 1:], np.broadcast_to(expected[1:], lab[..., 1:].shape), atol=1
    )
    before = color.rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
    np.testing.assert_allclose(lab[..., 0], before, atol=0.4)


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_every_colorizer(name, fitted, scans, tmp_path):
    report = run(fitted(name), scans, tmp_path / "out", working_size=64)
    assert not report.failures
    assert files(tmp_path / "out") == files(scans)


def test_alpha_and_saturation_and_compare(rgb, tmp_path):
    Image.fromarray(np.dstack([rgb, rgb[..., 0]])).save(tmp_path / "x.png")
    for name, settings in (("1", {}), ("2", {"saturation": 2}), ("c", {"compare": True})):
        run(Painter(), tmp_path / "x.png", tmp_path / f"{name}.png", **settings)
    once, twice, both = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in "12c")
    np.testing.assert_array_equal(once[..., 3], rgb[..., 0])
    chroma = [color.rgb2lab(p[..., :3])[..., 1:] for p in (once, twice)]
    middle = (slice(30, 60), slice(40, 80))
    ratio = np.linalg.norm(chroma[1][middle]) / np.linalg.norm(chroma[0][middle])
    assert ratio == pytest.approx(2, abs=0.1)
    assert both.shape == (96, 256, 4)
    np.testing.assert_array_equal(both[:, 128:], once)
    np.testing.assert_array_equal(both[:, :128, 3], rgb[..., 0])
    assert (np.ptp(both[:, :128, :3].astype(int), axis=2) == 0).all()
    grey = color.rgb2lab(both[:, :128, :3])[..., 0]
    np.testing.assert_allclose(grey, color.rgb2lab(rgb)[..., 0], atol=0.4)


def test_formats_that_cannot_hold_it(rgb, tmp_path):
    Image.fromarray(np.dstack([rgb, rgb[..., 0]])).save(tmp_path / "clear.png")
    Image.fromarray(np.dstack([rgb, 0 * rgb[..., 0] + 255])).save(tmp_path / "opaque.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "x.pgm")
    given = [tmp_path / "clear.png", tmp_path / "opaque.png"]
    report = run(Painter(), given, tmp_path / "out", suffix="jpg")
    assert [event.job.source.name for event in report.failures] == ["clear.png"]
    assert "JPEG cannot hold its transparency" in report.failures[0].message
    assert files(tmp_path / "out") == ["opaque.jpg"]
    report = run(Painter(), tmp_path / "x.pgm", tmp_path / "out")
    assert "grey only" in report.failures[0].message


# The plan


@pytest.mark.parametrize("overwrite", [False, True])
def test_never_over_an_input(scans, tmp_path, overwrite):
    before = {name: (scans / name).read_bytes() for name in files(scans)}
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to(scans / "a.png")
    (out / "c.tif").hardlink_to(scans / "c.tif")
    (tmp_path / "door").symlink_to(scans)
    for given, target in (
        ([scans], scans),
        ([scans], tmp_path / "door"),
        ([tmp_path / "door"], scans),
        ([scans / "a.png"], scans / "a.png"),
        ([scans / "a.png"], out),
        ([scans / "c.tif"], out),
        (
            [scans / "box" / "0007.png", scans / "c.tif"],
            scans,
        ),
    ):
        with pytest.raises(InputError, match="never overwritten"):
            plan(given, target, overwrite=overwrite)
    assert {name: (scans / name).read_bytes() for name in files(scans)} == before


def test_existing_outputs_only_with_overwrite(scans, tmp_path):
    out = tmp_path / "out"
    run(Grey(), scans, out)
    first = (out / "a.png").read_bytes()
    with pytest.raises(InputError, match=r"a\.png and 4 more exist already; type --overwrite"):
        plan([scans], out)
    run(Painter(), scans, out, overwrite=True)
    assert (out / "a.png").read_bytes() != first
    # One that appears after the plan was made is safe, too.
    jobs = plan([scans / "a.png"], tmp_path / "late")
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "a.png").write_text("mine")
    report = colorize_files(Painter(), jobs)
    assert "exists already" in report.failures[0].message
    assert (tmp_path / "late" / "a.png").read_text() == "mine"


def test_never_over_an_input_without_a_plan_either(scans):
    before = {name: (scans / name).read_bytes() for name in files(scans)}
    for target in ("a.png", "b.jpg"):
        jobs = [Job(scans / "a.png", scans / target), Job(scans / "b.jpg", scans / "new.png")]
        with pytest.raises(InputError, match=rf"{target} is the input .* never overwritten"):
            colorize_files(Painter(), jobs, Settings(overwrite=True))
    assert {name: (scans / name).read_bytes() for name in files(scans)} == before


def test_results_inside_the_input_folder_are_not_inputs(scans):
    run(Painter(), scans, scans / "colour")
    assert len(plan([scans], scans / "colour", overwrite=True)) == 5


def test_needs_weights(scans, tmp_path, new):
    with pytest.raises(NotFittedError):
        run(new("grey"), scans, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# What goes wrong on the way


def test_a_bad_file_is_named_and_the_rest_go_on(scans, tmp_path, rgb):
    (scans / "bad.jpg").write_text("no image")
    Image.fromarray(rgb).save(scans / "cut.png")
    (scans / "cut.png").write_bytes((scans / "cut.png").read_bytes()[:500])
    told = []
    report = run(Painter(), scans, tmp_path / "out", told.append)
    assert {event.job.source.name for event in report.failures} == {"bad.jpg", "cut.png"}
    assert all(event.message and "\n" not in event.message for event in report.failures)
    assert len(report.outcomes) == 7
    assert sorted(map(id, told)) == sorted(map(id, report.outcomes))
    assert len(files(tmp_path / "out")) == 5


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch(error, scans, tmp_path):
    notes = []
    painter = Painter(out_of_memory_above(2 * 96 * 128, error))
    report = run(
        painter, scans, tmp_path / "out",
        lambda e: notes.append(e) if e.kind == "note" else None, batch_size=5, workers=1,
    )  # fmt: skip
    assert not report.failures
    assert all("photographs at once; going on with" in note.message for note in notes)
    assert max(shape[0] for shape in painter.shapes[-2:]) <= 2
    for name in files(tmp_path / "out"):
        assert np.ptp(np.asarray(Image.open(tmp_path / "out" / name)).astype(int), axis=2).max() > 9


def test_out_of_memory_halves_the_working_size(tmp_path):
    Image.fromarray(data.camera()).save(tmp_path / "x.png")
    events = []
    painter = Painter(out_of_memory_above(70 * 70))
    report = run(painter, tmp_path / "x.png", tmp_path / "out", events.append)
    assert not report.failures
    assert [event.message for event in events if event.kind == "note"] == [
        "out of memory at a working size of 256; trying again at 128",
        "out of memory at a working size of 128; trying again at 64",
    ]
    assert all(event.job.source.name == "x.png" for event in events)
    assert [shape[2] for shape in painter.shapes] == [256, 128, 64]


@pytest.mark.parametrize("where", ["stack", "show"])
def test_memory_that_runs_out_between_the_passes_is_one_failure(where, tmp_path, monkeypatch):
    Image.fromarray(data.camera()).save(tmp_path / "x.png")
    calls = []

    def fail(function):
        def call(*arguments):
            calls.append(1)
            if where == "stack" or len(calls) == 2:
                raise MemoryError
            return function(*arguments)

        return call

    owner, name = (torch, "stack") if where == "stack" else (zoo.pipeline.run.Item, "show")
    monkeypatch.setattr(owner, name, fail(getattr(owner, name)))
    report = run(Painter(out_of_memory_above(70 * 70)), tmp_path / "x.png", tmp_path / "out")
    assert len(report.failures) == 1
    assert "memory" in report.failures[0].message
    assert not (tmp_path / "out").exists()


def test_out_of_memory_for_good_is_a_failure_and_no_grey_file(scans, tmp_path):
    report = run(Painter(out_of_memory_above(0)), scans, tmp_path / "out")
    assert len(report.failures) == 5
    assert all(e.message == "out of memory, even at a working size of 64" for e in report.failures)
    assert not (tmp_path / "out").exists()


def test_one_image_that_the_network_cannot_take_spoils_no_other(scans, tmp_path, rgb):
    Image.fromarray(np.zeros_like(rgb)).save(scans / "black.png")

    def refuse(L):
        if (L.amax(dim=(1, 2, 3)) == 0).any():
            raise ValueError("black")

    report = run(Painter(refuse), scans, tmp_path / "out", batch_size=6, workers=1)
    assert [(e.job.source.name, e.message) for e in report.failures] == [
        ("black.png", "ValueError: black")
    ]


def test_a_write_that_fails_leaves_nothing(scans, tmp_path, monkeypatch):
    whole = zoo.pipeline.run.write_picture

    def fail(path, form, *rest):
        if form.name == "PNG":
            path.write_bytes(b"half")
            raise OSError(5, "Input/output error")
        whole(path, form, *rest)

    monkeypatch.setattr(zoo.pipeline.run, "write_picture", fail)
    report = run(Painter(), scans, tmp_path / "out")
    assert len(report.failures) == 3
    assert {event.message for event in report.failures} == {"Input/output error"}
    assert files(tmp_path / "out") == ["b.jpg", "c.tif"]


def test_a_full_disk_stops_the_run_with_one_reason(scans, tmp_path, monkeypatch):
    whole = zoo.pipeline.run.write_picture

    def fail(path, form, *rest):
        if form.name == "TIFF":
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        whole(path, form, *rest)

    monkeypatch.setattr(zoo.pipeline.run, "write_picture", fail)
    told = []
    jobs = plan([scans / "c.tif", scans / "box", scans / "b.jpg"], tmp_path / "out")
    with pytest.raises(OutputError, match=r"nothing more can be written to .*out; stopped"):
        colorize_files(Painter(), jobs, Settings(batch_size=1, workers=1), told.append)
    assert [(e.kind, e.job.source.name) for e in told if e.kind == "failed"] == [
        ("failed", "c.tif")
    ]
    assert told[-1].message == f"{tmp_path}/out/c.tif: No space left on device"
    done = sorted(e.job.target.name for e in told if e.kind == "done")
    assert (files(tmp_path / "out") if done else []) == done
    assert len(done) < 4


@pytest.mark.parametrize("kind", ["loop", "file", "read-only"])
def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(kind, scans, tmp_path):
    out = tmp_path / "out"
    if kind == "loop":
        out.symlink_to(out)
        reason = "Too many levels of symbolic links"
    elif kind == "file":
        out.write_text("no folder")
        reason = "Not a directory"
    else:
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        out.mkdir(mode=0o500)
        reason = "Permission denied"
    painter = Painter()
    jobs = [Job(scans / "a.png", out / "deep" / "er" / "a.png")]
    with pytest.raises(OutputError, match=f"nothing can be written to .*out.*: {reason}"):
        colorize_files(painter, jobs)
    assert painter.shapes == []


def test_ctrl_c_leaves_whole_files_only_and_no_threads(tmp_path, rgb):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(np.roll(rgb, i, axis=1)).save(folder / f"{i:04d}.png")
    passes = []

    def interrupt(L):
        passes.append(len(L))
        if len(passes) == 4:
            raise KeyboardInterrupt

    threads = set(threading.enumerate())
    told = []
    with pytest.raises(KeyboardInterrupt):
        run(Painter(interrupt), folder, tmp_path / "out", told.append, batch_size=2)
    assert set(threading.enumerate()) == threads
    written = files(tmp_path / "out") if (tmp_path / "out").exists() else []
    assert sorted(e.job.target.name for e in told if e.kind == "done") == written
    for name in written:
        assert read_photograph(tmp_path / "out" / name).size == (96, 128)
    assert len(written) < 40


# The pipeline


REFUSED = """
import sys
import threading
import torch
import zoo
from zoo.errors import ZooError
from zoo.pipeline.plan import Settings, plan
from zoo.pipeline.run import colorize_files

torch.set_num_threads(1)
start = threading.Thread.start

def refuse(thread):
    if thread.name == sys.argv[1]:
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = refuse
try:
    colorize_files(zoo.load("grey").ready(), plan([sys.argv[2]], sys.argv[3]), Settings(workers=2))
except ZooError as error:
    print(error)
print("threads left:", threading.active_count() - 1)
"""


@pytest.mark.parametrize("name", ["zoo-read-0", "zoo-write-1"])
def test_a_thread_that_is_refused_ends_the_run(name, scans, tmp_path):
    # In a process of its own, which would hang otherwise.
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, name, scans, tmp_path / "out"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "the system gives no more threads (can't start new thread); type --workers 1",
        "threads left: 0",
    ]


def test_reading_network_and_writing_overlap_in_bounded_memory(tmp_path, rgb, monkeypatch):
    folder = tmp_path / "frames"
    folder.mkdir()
    count = 120
    small = Image.fromarray(rgb[:16, :16])
    for i in range(count):
        small.save(folder / f"{i:04d}.bmp")
    alive, most, busy, together = [], 0, set(), set()
    lock = threading.Lock()

    def watched(name, function):
        def call(*arguments):
            nonlocal most
            with lock:
                busy.add(name)
                together.add(frozenset(busy))
            time.sleep(0.002)
            result = function(*arguments)
            with lock:
                busy.discard(name)
                if name == "read":
                    alive.append(weakref.ref(result))
                    most = max(most, sum(photograph() is not None for photograph in alive))
            return result

        return call

    monkeypatch.setattr(zoo.pipeline.run, "read_photograph", watched("read", read_photograph))
    monkeypatch.setattr(
        zoo.pipeline.run, "write_picture", watched("write", zoo.pipeline.run.write_picture)
    )
    painter = Painter()
    painter.forward = watched("network", painter.forward)
    report = run(painter, folder, tmp_path / "out", batch_size=4, workers=2)
    assert not report.failures
    assert files(tmp_path / "out") == files(folder)
    assert {"read", "network", "write"} in together
    # Two batches and two files per thread, at most; not the 120 there are.
    assert most <= 2 * 4 + 2 * 2
    gc.collect()
    assert not any(photograph() for photograph in alive)


def test_large_photographs_come_one_by_one(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo.pipeline.run, "PIXELS_AT_ONCE", 96 * 128 + 1)
    painter = Painter()
    assert not run(painter, scans, tmp_path / "out", batch_size=5, workers=4).failures
    assert {shape[0] for shape in painter.shapes} == {1}


def test_sizes_with_the_same_padding_share_a_batch(tmp_path, rgb, monkeypatch):
    for i in range(6):
        Image.fromarray(rgb[: 96 - i, : 121 + i]).save(tmp_path / f"{i}.png")
    alone = [Painter() for _ in range(6)]
    for i, painter in enumerate(alone):
        run(painter, tmp_path / f"{i}.png", tmp_path / "alone")
    painter = Painter()
    jobs = plan([tmp_path / f"{i}.png" for i in range(6)], tmp_path / "together")
    ready = threading.Semaphore(0)
    monkeypatch.setattr(zoo.pipeline.run, "read_size", lambda path: (ready.release(), (9, 9))[1])
    # The network waits until all are read: they go through it in one pass.
    first = painter.forward
    painter.forward = lambda L: (time.sleep(0.3) if len(painter.shapes) == 0 else None, first(L))[1]
    assert not colorize_files(painter, jobs, Settings(batch_size=6)).failures
    assert {shape[2:] for shape in painter.shapes} == {(96, 128)}
    assert max(shape[0] for shape in painter.shapes) >= 3
    for i in range(6):
        a, b = (np.asarray(Image.open(tmp_path / d / f"{i}.png")) for d in ("alone", "together"))
        np.testing.assert_array_equal(a, b)


def test_results_do_not_depend_on_workers_and_batches(scans, tmp_path):
    pictures = []
    for i, settings in enumerate(({"batch_size": 1, "workers": 1}, {"batch_size": 3}, {})):
        run(Painter(), scans, tmp_path / str(i), **settings)
        pictures.append([(tmp_path / str(i) / n).read_bytes() for n in files(tmp_path / str(i))])
    assert pictures[0] == pictures[1] == pictures[2]


def test_jobs_need_not_come_from_a_plan(scans, tmp_path):
    report = colorize_files(Painter(), [Job(scans / "a.png", tmp_path / "deep" / "er" / "x.bmp")])
    assert not report.failures
    assert Image.open(tmp_path / "deep" / "er" / "x.bmp").format == "BMP"
    assert colorize_files(Painter(), []).outcomes == []
