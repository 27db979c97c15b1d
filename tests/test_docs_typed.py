"""What the documents tell a reader to type is typed: every line of every shell block."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from documents import (
    DOCUMENTS,
    ROOT,
    blocks,
    files,
    flags,
    help_texts,
    lines_to_type,
    script,
    scripts,
    write_plugin,
)
from PIL import Image
from skimage import data
from typing_in import NOT_TYPED, is_typed, type_in

from zoo.errors import PageError
from zoo.page.runtime import runtime_files

WRITTEN = {
    "README.md": [
        *("results/leaderboard.csv", "mine.safetensors", "own/0.jpg"),
        *("scans-colour/0.jpg", "old-models.png"),
    ],
    "docs/benchmark.md": ["pictures/truth", "scores/scores.csv"],
    "docs/colorize.md": [
        *("scans-colour/0.jpg", "colour/0.jpg", "old-models.png", "scans-models/0.png"),
    ],
    "docs/export.md": ["unet.onnx", "colour/0.jpg"],
    "docs/page.md": ["site/index.html", "site/models/unet_timm-release.onnx"],
    "docs/training.md": [
        *("mine.safetensors", "tuned.safetensors", "lr-zhang_classifier.png"),
        *("prior.csv", "overfit-zhang_rebalanced.png"),
    ],
    "docs/release.md": ["scans-colour/0.jpg", "colour-96/0.jpg"],
    "docs/weights.md": ["eccv16.safetensors"],
    "docs/tutorial/first-bench.md": ["first/report.html", "first/samples.png"],
    "docs/tutorial/first-plugin.md": ["tints/samples.png"],
    "docs/tutorial/first-metric.md": ["framed/report.html"],
    "docs/tutorial/first-dataset.md": ["listed/report.html"],
    "docs/tutorial/own-photographs.md": ["scans-colour/0.jpg", "mine-samples.png", "mine-loss.png"],
}
"""Files that the commands of a document must have written."""


def typed_documents() -> list[str]:
    return [name for name, text in DOCUMENTS.items() if any(map(is_typed, lines_to_type(text)))]


def test_every_line_is_typed_or_has_a_reason():
    used = set()
    for name, text in DOCUMENTS.items():
        for words in lines_to_type(text):
            # OMP_NUM_THREADS=1 python …
            first = next(word for word in words if "=" not in word)
            reason = first if words[0] != "zoo" else "eccv16"
            assert is_typed(words) or reason in NOT_TYPED, f"{name}: {words}"
            used |= set() if is_typed(words) else {reason}
    assert used == set(NOT_TYPED)


@pytest.mark.long
@pytest.mark.parametrize("name", typed_documents())
def test_the_commands_of_a_document_can_be_typed(name, tmp_path):
    if "zoo page -o" in "".join(blocks(DOCUMENTS[name], "sh")):
        try:
            runtime_files()
        except PageError as error:
            pytest.skip(str(error))
    if "ray=" in DOCUMENTS[name]:
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    plugin, here = tmp_path / "plugin", tmp_path / "here"
    plugin.mkdir()
    here.mkdir()
    if files(DOCUMENTS[name]):
        write_plugin(DOCUMENTS[name], plugin)
    printed = type_in(name, here, plugin)
    for path in WRITTEN.get(name, []):
        assert (here / path).exists(), path
    if name == "docs/tutorial/first-plugin.md":
        assert "tint_around" in printed["zoo list"]
        assert "failed" not in printed["zoo check tint"].lower()
    if name == "docs/tutorial/own-photographs.md":
        for number, photo in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
            with Image.open(here / "colour" / f"{number}.jpg") as coloured:
                assert (coloured.mode, coloured.size) == ("RGB", photo.shape[1::-1])


@pytest.mark.parametrize("name", [name for name, text in DOCUMENTS.items() if scripts(text)])
def test_scripts_for_a_cluster_run(name, tmp_path):
    """Programs that write down how they were called stand in for those of the cluster."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    for program in ("srun", "ray", "sleep", "zoo", "hostname"):
        says = "echo node-1" if program == "hostname" else f'echo {program} "$@" >> {log}'
        (programs / program).write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
        (programs / program).chmod(0o755)
    for written in scripts(DOCUMENTS[name]):
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        # What it leaves in the background writes its line before the log is read.
        waiting = f"{written}\nwait\n"
        subprocess.run(["bash", "-eu", "-c", waiting], env=environment, check=True, cwd=tmp_path)
        called = log.read_text(encoding="utf-8").splitlines()
        (bench,) = [line for line in called if line.startswith("zoo ")]
        assert bench.endswith("--executor ray=node-1:6379 --out results-7")
        assert flags(bench) <= flags(help_texts()["bench"])
        assert any(line.startswith("srun ") and "ray start --head" in line for line in called)


@pytest.mark.long
def test_the_plot_of_costs_is_made_by_the_code(tmp_path, capsys, monkeypatch):
    cost = script("cost", monkeypatch)
    cost.main(tmp_path / "cost.png", ["fc_generator", "zhang_classifier"], (64, 128))
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [
        *("fc_generator 64²", "fc_generator 128²"),
        *("zhang_classifier 64²", "zhang_classifier 128²"),
    ]
    with Image.open(tmp_path / "cost.png") as made, Image.open(ROOT / "docs" / "cost.png") as kept:
        assert made.size == kept.size


def test_the_pictures_of_the_weights_that_come_along_are_made_by_the_code(tmp_path, monkeypatch):
    script("colour", monkeypatch).main(tmp_path)
    for name in ("colour.jpg", "historic.jpg"):
        with Image.open(tmp_path / name) as made, Image.open(ROOT / "docs" / name) as kept:
            difference = np.asarray(made, float) - np.asarray(kept, float)
            assert made.size == kept.size
        # Kernels differ from processor to processor; other weights would give other colours.
        assert np.sqrt((difference**2).mean()) < 2, name


@pytest.mark.long
def test_the_pictures_of_the_methods_are_made_by_the_code(tmp_path, monkeypatch):
    """With fewer steps, and otherwise as `docs/pictures.py` makes them."""
    pictures = script("pictures", monkeypatch)
    monkeypatch.setattr(pictures, "STEPS", dict.fromkeys(pictures.STEPS, 1))
    monkeypatch.setattr(pictures, "OVERFIT_STEPS", 1)
    monkeypatch.setattr(pictures, "SWEEP_STEPS", 20)
    pictures.main(tmp_path)
    folder = ROOT / "docs" / "pictures"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        assert f"](pictures/{path.name}" in DOCUMENTS["docs/methods.md"]
        with Image.open(path) as kept, Image.open(tmp_path / path.name) as made:
            assert kept.size == made.size, path.name
