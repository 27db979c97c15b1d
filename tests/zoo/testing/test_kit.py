"""The conformance kit as others run it: known failures, skips, with and without pytest."""

import contextlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch.nn.functional as F
from skimage import color
from torch import nn

import zoo
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import UnknownNameError
from zoo.testing import CHECKS, KnownFailure, Skipped, checks, images, run, subject


class Plain(Colorizer):
    """Chroma from a neighbourhood: passes."""

    info = Info(name="plain", title="Plain", paper="none", license="MIT")
    Options = TrainingOptions

    def build(self):
        layers = [nn.Conv2d(n, 32, 5, padding=2) for n in (1, 32)]
        return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.Conv2d(32, 2, 1))

    def forward(self, L):
        return 110 * self.net(L / 50 - 1)

    def loss(self, L, ab):
        return F.mse_loss(self.forward(L), ab) / 110


class EvenSizesOnly(Plain):
    """Fails `sizes`."""

    def forward(self, L):
        return F.interpolate(super().forward(L)[..., ::2, ::2], scale_factor=2)


def test_the_order_does_not_matter():
    for _, check in reversed(checks(Plain)):
        with contextlib.suppress(Skipped):
            check()


def test_a_declared_failure_is_known_and_says_why():
    class Honest(EvenSizesOnly):
        info = replace(Plain.info, known_failures={"sizes": "only even sides so far"})

    with pytest.raises(KnownFailure, match="known failure: only even sides so far"):
        dict(checks(Honest))["sizes"]()
    [outcome] = run(Honest, ["sizes"])
    assert (outcome.status, outcome.reason) == ("known failure", "only even sides so far")


@pytest.mark.parametrize(
    ("changes", "check", "reason"),
    [
        ({"output": "rgb"}, "one_image", "it paints RGB"),
        ({"deterministic": False}, "repeatable", "its info says that it is not deterministic"),
    ],
)
def test_what_the_info_rules_out_is_skipped_with_the_reason(changes, check, reason):
    class Other(Plain):
        info = replace(Plain.info, **changes)

    [outcome] = run(Other, [check])
    assert (outcome.status, outcome.reason) == ("skipped", reason)


def test_without_a_gpu_the_devices_are_skipped(monkeypatch):
    monkeypatch.setattr(subject.Subject, "other_device", None)
    [outcome] = run(Plain, ["devices"])
    assert (outcome.status, outcome.reason) == ("skipped", "there is no GPU on this machine")


def test_without_the_extra_nothing_is_exported(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    [outcome] = run(Plain, ["exports"])
    assert outcome.status == "skipped"
    assert 'type pip install "colorizer-zoo[onnx]"' in outcome.reason


def test_a_plugin_that_needs_large_sides_in_multiples_is_given_them():
    class Large(Plain):
        minimum_size = 40
        multiple = 24

        def forward(self, L):
            assert L.shape[2] >= 48
            assert L.shape[2] % 24 == L.shape[3] % 24 == 0
            return super().forward(L)

    statuses = {outcome.check: (outcome.status, outcome.reason) for outcome in run(Large)}
    assert {status for status, _ in statuses.values()} == {"ok", "skipped"}, statuses


def test_unknown_names_are_offered_others():
    with pytest.raises(UnknownNameError, match="did you mean 'batch_mates'"):
        run(Plain, ["batch_mate"])
    with pytest.raises(UnknownNameError, match="unknown colorizer 'nobody'"):
        checks("nobody")


def test_the_toy_set_is_as_hard_as_it_says():
    train, test = images.toy_set(32)
    for rgb in (train, test):
        lab = color.rgb2lab(rgb)
        # ab follows from L, as far as eight bits go.
        expected = np.stack((55 - lab[..., 0], 1.8 * (lab[..., 0] - 55)), axis=-1)
        assert np.abs(lab[..., 1:] - expected).mean() < 1
    # The mean of all is no better than grey.
    ab = color.rgb2lab(train)[..., 1:]
    grey, constant = (np.linalg.norm(ab - m, axis=-1).mean() for m in (0, ab.mean((0, 1, 2))))
    assert constant > 0.97 * grey


# ---- as others run it ---------------------------------------------------------------------------


STRANGER = """
import pytest
from zoo.testing import checks


@pytest.mark.parametrize(("promise", "check"), checks({name!r}))
def test_conformance(promise, check):
    check()
"""


def python(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_pytest_shows_what_is_skipped_and_known_with_its_reason(tmp_path):
    floor = next(n for n in zoo.list_colorizers() if zoo.load(n).info.known_failures)
    (tmp_path / "test_mine.py").write_text(STRANGER.format(name=floor))
    done = python("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    info = zoo.load(floor).info
    for reason in info.known_failures.values():
        assert f"known failure: {reason}" in done.stdout
    skipped = [outcome for outcome in run(floor) if outcome.status != "ok"]
    assert f"{len(CHECKS) - len(skipped)} passed, {len(skipped)} skipped" in done.stdout


def test_pytest_is_not_needed(tmp_path):
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "from zoo.testing import run\n"
        "print(*(outcome.status for outcome in run(sys.argv[1], ['info', 'sizes'])))"
    )
    done = python("-c", program, zoo.list_colorizers()[0], cwd=tmp_path)
    assert done.stdout.split() == ["ok", "ok"], done.stderr
