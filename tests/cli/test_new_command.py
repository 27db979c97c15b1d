"""`zoo new`: what it writes works as it is written, and nothing is overwritten."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hub import fill_hub_cache

from zoo import plugins
from zoo.colorizer import Colorizer
from zoo.errors import OptionError, WeightsError
from zoo.new_plugin import TEMPLATES, NewPlugin
from zoo.testing import CHECKS, run

Zoo = Callable[..., Any]

each_template = pytest.mark.parametrize("template", TEMPLATES)


def _module(path: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, path.stem, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _class(folder: Path, template: str, patch: pytest.MonkeyPatch) -> type[Colorizer]:
    plugin = NewPlugin(f"fresh_{template}", template)
    plugin.write(folder)
    module = _module(folder / f"fresh_{template}.py", patch)
    cls: type[Colorizer] = getattr(module, plugin.class_name)
    return cls


@each_template
def test_a_whole_distribution_is_written(zoo: Zoo, template: str) -> None:
    answer = zoo("new", "my_first", "--template", template)
    assert answer.code == 0, answer.stderr
    written = {
        path.relative_to("my-first").as_posix()
        for path in Path("my-first").rglob("*")
        if path.is_file()
    }
    assert written == {"pyproject.toml", "README.md", "my_first.py", "tests/test_conformance.py"}
    assert all(f"my-first/{name}" in answer.stdout for name in written)
    assert "pip install -e my-first && zoo check my_first" in answer.stdout
    project = tomllib.loads(Path("my-first/pyproject.toml").read_text())["project"]
    assert project["name"] == "my-first"
    assert project["entry-points"] == {"zoo.colorizers": {"my_first": "my_first:MyFirst"}}
    card = Path("my-first/README.md").read_text()
    assert TEMPLATES[template] in card
    assert "## Model card" in card
    for name in ("pyproject.toml", "README.md", "my_first.py"):
        assert "FILL IN" in Path("my-first", name).read_text().replace("FILL-IN", "FILL IN")
    assert "{" + "{" not in "".join(Path("my-first", name).read_text() for name in written)
    # Nothing half-written is left beside it.
    assert [path.name for path in Path().iterdir()] == ["my-first"]


@pytest.mark.long
@each_template
def test_the_class_keeps_its_promises(
    tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = _class(tmp_path / "new", template, monkeypatch)
    quick = [check for check in CHECKS if check not in ("entry_point", "one_image", "beats_grey")]
    outcomes = {o.check: (o.status, o.reason) for o in run(cls, quick)}
    assert outcomes.pop("devices")[0] in ("ok", "skipped")
    assert set(outcomes.values()) == {("ok", "")}, outcomes


@pytest.mark.long
@each_template
def test_the_class_learns(tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = _class(tmp_path / "new", template, monkeypatch)
    outcomes = list(run(cls, ["one_image", "beats_grey"]))
    assert {(o.status, o.reason) for o in outcomes} == {("ok", "")}


@pytest.mark.long
def test_a_short_training_is_better_than_grey_by_lpips(tmp_path: Path, repository: Path) -> None:
    weights = repository.parent / "shared" / "weights" / "alexnet_features.safetensors"
    if not weights.is_file():
        pytest.skip(f"AlexNet's weights are not at {weights}")
    site = tmp_path / "site"
    for template in TEMPLATES:
        name = f"fresh_{template}"
        folder = tmp_path / name
        NewPlugin(name, template).write(folder)
        info = site / f"{name}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").rename(site / f"{name}.py")
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        (target,) = project["entry-points"]["zoo.colorizers"].values()
        (info / "entry_points.txt").write_text(f"[zoo.colorizers]\n{name} = {target}\n")
    names = [f"fresh_{template}" for template in TEMPLATES]
    # Far less than a minute on a core that nobody else uses.
    command = ["-m", "zoo", "bench", "--models", ",".join([*names, "grey"]), "--budget", "100steps"]
    command += ["--metrics", "lpips", "--no-throughput", "--no-references", "--out", "out"]
    done = subprocess.run(
        [sys.executable, *command, "--lpips-weights", str(weights)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lpips = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("model")["lpips"]
    for name in names:
        assert lpips[name] < lpips["grey"], lpips


@pytest.fixture
def wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Colorizer]:
    """The wrapper as it is written, small, with options."""
    cls = _class(tmp_path / "new", "wrapper", monkeypatch)
    return lambda **options: cls(device="cpu", width=4, batch_size=1, **options)


def test_a_wrapper_offline_takes_what_the_hub_s_cache_has(
    wrapped: Callable[..., Colorizer], hub: Path, tiles: np.ndarray
) -> None:
    with pytest.raises(WeightsError, match=r"ZOO_OFFLINE .* trunk_weights=none") as caught:
        wrapped(trunk_weights="imagenet").fit(tiles, budget="1steps")
    assert "\n" not in str(caught.value)
    stored = fill_hub_cache(hub, "resnet18")
    colorizer = wrapped(trunk_weights="imagenet")
    with colorizer.training_session(tiles, "1steps", size=64):
        found = colorizer.net.get_submodule("trunk").state_dict()
        assert len(found) > 50
        for name, tensor in found.items():
            assert torch.equal(tensor, stored[name]), name


def test_the_trunk_of_a_wrapper_learns_at_the_pretrained_rate(
    wrapped: Callable[..., Colorizer], hub: Path, tiles: np.ndarray
) -> None:
    stored = fill_hub_cache(hub, "resnet18")
    colorizer = wrapped(trunk_weights="imagenet", pretrained_rate=0.0)
    colorizer.fit(tiles, budget="1steps", size=64)
    for name, parameter in colorizer.net.get_submodule("trunk").named_parameters():
        assert torch.equal(parameter, stored[name]), name
    with pytest.raises(OptionError, match=r"pretrained_rate=0\.5 would change nothing"):
        wrapped(pretrained_rate=0.5).fit(tiles, budget="1steps")


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is in the lint extra")
@each_template
def test_what_is_written_is_clean(tmp_path: Path, repository: Path, template: str) -> None:
    folder = tmp_path / "new"
    NewPlugin("my_first", template).write(folder)
    settings = ["--config", str(repository / "pyproject.toml"), "--no-cache"]
    for command in (["check", "--ignore=D,S101"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings, str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My-Colorizer", "such as my_colorizer"),
        ("2fast", "such as fast"),
        ("___", "such as my_colorizer"),
        ("../up", "such as up"),
        ("a b", "such as a_b"),
        ("class", "a word of Python's own; type class_colorizer"),
        ("match", "a word of Python's own"),
        ("numpy", "a module 'numpy' is installed already"),
        ("statistics", "a module 'statistics' is installed already"),
        ("colorizer", "would be Colorizer, which the template uses"),
    ],
)
def test_names_that_cannot_be(zoo: Zoo, name: str, says: str) -> None:
    answer = zoo("new", name)
    assert answer.code == 2
    assert says in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_a_name_that_is_taken_names_its_owner(zoo: Zoo) -> None:
    plugin = plugins.installed(plugins.COLORIZERS)[0]
    answer = zoo("new", plugin.name)
    assert answer.code == 2
    assert f"taken by {plugin.distribution}" in answer.stderr


def test_an_unknown_template(zoo: Zoo) -> None:
    answer = zoo("new", "my_first", "--template", "gan")
    assert answer.code == 2
    assert "no template 'gan'; type one of unet, classifier, wrapper" in answer.stderr


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_overwritten(zoo: Zoo, kind: str) -> None:
    target = Path("there")
    if kind == "folder":
        target.mkdir()
        (target / "mine.txt").write_text("kept")
    elif kind == "file":
        target.write_text("kept")
    else:
        target.symlink_to("nowhere")
    answer = zoo("new", "my_first", "-o", "there")
    assert answer.code == 2
    assert "there exists, and nothing is overwritten; type -o" in answer.stderr
    assert [path.name for path in Path().iterdir()] == ["there"]
    if kind == "folder":
        assert [path.name for path in target.iterdir()] == ["mine.txt"]
    if kind == "file":
        assert target.read_text() == "kept"


def test_the_folder_may_lie_deeper(zoo: Zoo) -> None:
    answer = zoo("new", "my_first", "-o", "a/b c")
    assert answer.code == 0
    assert Path("a/b c/my_first.py").is_file()
    assert "pip install -e 'a/b c'" in answer.stdout
    assert json.dumps("my_first") in Path("a/b c/tests/test_conformance.py").read_text()
