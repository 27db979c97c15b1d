"""The folder of the page: its list of models, what it refuses to write over, what is missing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from stevedore import ExtensionManager

import zoo
from zoo.errors import OptionError, PageError, UnknownNameError, WeightsError
from zoo.page import folder, runtime
from zoo.page.folder import ASSETS

MODEL = "unet_timm@release"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_list_of_models_says_what_is_there(small_page, tmp_path):
    written = small_page(tmp_path / "site")
    manifest = json.loads((tmp_path / "site/models.json").read_text())
    for entry in (*manifest["models"], manifest["runtime"]):
        file = tmp_path / "site" / entry["url"]
        assert (entry["bytes"], entry["sha256"]) == (file.stat().st_size, sha256(file))
    (model,) = manifest["models"]
    assert (model["title"], model["license"]) == (MODEL, "Apache-2.0")
    assert MODEL in manifest["credits"]
    assert written.models == [model]
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert written.size == sum(path.stat().st_size for path in files)


def test_everything_that_the_page_names_is_in_the_folder(small_page, tmp_path):
    small_page(tmp_path / "site")
    named = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            named.extend(value for name, value in attrs if name in ("src", "href"))

    Reader().feed((tmp_path / "site/index.html").read_text())
    for script in (tmp_path / "site").glob("*.js"):
        text = script.read_text()
        named += re.findall(r'from "\./([^"]+)"', text)
        named += re.findall(r'(?:fetch|new URL)\("([^"]+)"', text)
        named += re.findall(r'\.src = "([^"]+)"', text)
    files = {name for name in named if not name.startswith("data:")}
    assert {"start.js", "page.js", "worker.js", "models.json", "example.jpg"} <= files
    for name in files:
        assert (tmp_path / "site" / name).is_file(), name
    assert "MIT License" in (tmp_path / "site/ort/LICENSE").read_text()
    with Image.open(tmp_path / "site/example.jpg") as example:
        assert example.mode == "L"


def test_no_asset_names_a_place_elsewhere():
    for asset in ASSETS.iterdir():
        if asset.is_file():
            assert "//" not in re.sub(
                r"(^|\s)//( |$)", "", asset.read_text(), flags=re.MULTILINE
            ), asset


def test_a_page_is_written_anew_without_the_models_that_are_gone(small_page, tmp_path):
    site = tmp_path / "site"
    small_page(site)
    (site / "mine.txt").write_text("kept")
    weights = tmp_path / "copy.safetensors"
    shutil.copy(find_release(), weights)
    small_page(site, [f"unet_timm@{weights}"])
    assert [path.name for path in (site / "models").iterdir()] == ["unet_timm-copy.onnx"]
    assert (site / "mine.txt").read_text() == "kept"


def test_models_are_exported_anew_by_other_code_alone(small_runtime, tmp_path, monkeypatch, tiles):
    """Whichever module of the plugin was edited, or of one that it wraps."""
    install_two_packages(tmp_path / "plugins")
    monkeypatch.syspath_prepend(tmp_path / "plugins")
    # stevedore lists the entry points of a process once.
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    for name in ("plain", "wrapping"):
        zoo.load(name, device="cpu").fit(tiles, budget="1steps").save(
            tmp_path / f"{name}.safetensors"
        )

    made = []

    def export(colorizer, path, **_):
        assert colorizer.is_fitted
        made.append(colorizer.info.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a model")

    monkeypatch.setattr(folder, "export_onnx", export)

    def exported() -> list[str]:
        made.clear()
        names = ("plain", "wrapping")
        folder.write_page(
            tmp_path / "site", [f"{name}@{tmp_path / name}.safetensors" for name in names]
        )
        return list(made)

    assert exported() == ["plain", "wrapping"]
    assert exported() == []
    (tmp_path / "plugins/plainly/deep/helper.py").write_text("WIDTH = 5\n")
    assert exported() == ["plain", "wrapping"]
    (tmp_path / "plugins/wrapper/__init__.py").write_text(WRAPPER + "# edited\n")
    assert exported() == ["wrapping"]
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    assert exported() == ["plain", "wrapping"]
    assert exported() == []


PLAIN = """
from torch import nn
from zoo.colorizer import Colorizer, Info
from plainly.deep.helper import WIDTH


class Plain(Colorizer):
    info = Info(name="plain", title="Plain", paper="none", license="MIT")

    def build(self):
        return nn.Conv2d(1, 2, WIDTH, padding="same")

    def forward(self, L):
        return self.net(L / 100)

    def loss(self, L, ab):
        return (self.forward(L) - ab).abs().mean()
"""
WRAPPER = """
from zoo.colorizer import Colorizer, Info
from zoo.registry import colorizer_class


class Wrapping(Colorizer):
    info = Info(name="wrapping", title="Wrapping", paper="none", license="MIT")

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.wrapped = colorizer_class("plain")(device="cpu")

    def build(self):
        self.wrapped.net = self.wrapped.build()
        return self.wrapped.net

    def forward(self, L):
        return self.net(L / 100)

    def loss(self, L, ab):
        return (self.forward(L) - ab).abs().mean()
"""


def install_two_packages(folder: Path) -> None:
    """A plugin with a helper module, and in another distribution one that wraps it."""
    for path, text in {
        "plainly/__init__.py": "",
        "plainly/deep/__init__.py": "",
        "plainly/deep/helper.py": "WIDTH = 3\n",
        "plainly/model.py": PLAIN,
        "wrapper/__init__.py": WRAPPER,
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for name, target in (("plain", "plainly.model:Plain"), ("wrapping", "wrapper:Wrapping")):
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[zoo.colorizers]\n{name} = {target}\n")


def find_release() -> Path:
    from zoo.weights.published import find_published

    file = find_published("unet_timm", "release").file
    assert file is not None
    return file


def test_files_of_one_name_in_two_folders_are_two_models(small_page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).mkdir()
        shutil.copy(find_release(), Path(name, "mine.safetensors"))
    two = ["unet_timm@a/mine.safetensors", "unet_timm@b/mine.safetensors"]
    page = small_page(tmp_path / "site", two)
    assert [model["title"] for model in page.models] == ["unet_timm@a/mine", "unet_timm@b/mine"]
    files = {path.name for path in (tmp_path / "site/models").iterdir()}
    assert files == {"unet_timm-a-mine.onnx", "unet_timm-b-mine.onnx"}
    # One file is one model, however it is spelled.
    with pytest.raises(OptionError, match="named twice"):
        small_page(tmp_path / "other", [two[0], "unet_timm@./a/../a/mine.safetensors"])


def test_a_list_of_models_that_names_files_elsewhere_removes_none(small_page, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    outside = tmp_path / "outside.onnx"
    outside.write_text("mine")
    urls = ["../outside.onnx", "models/../../outside.onnx", str(outside)]
    (site / "models.json").write_text(json.dumps({"models": [{"url": url} for url in urls]}))
    small_page(site)
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"models": [{}]}', None])
def test_a_folder_of_something_else_is_left_alone(small_page, tmp_path, content):
    site = tmp_path / "site"
    site.mkdir()
    (site / ("holiday.jpg" if content is None else "models.json")).write_text(content or "")
    before = sorted(site.iterdir())
    with pytest.raises(PageError, match="not empty and holds no page; type -o"):
        small_page(site)
    assert sorted(site.iterdir()) == before


def test_a_file_is_no_folder(small_page, tmp_path):
    (tmp_path / "site").write_text("")
    with pytest.raises(PageError, match="is a file"):
        small_page(tmp_path / "site")


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ([MODEL, MODEL], OptionError, "named twice"),
        (["grey"], WeightsError, "needs weights"),
        (["unet_timm", MODEL], OptionError, "named twice"),
        (["unet_tim@release"], UnknownNameError, "did you mean 'unet_timm'"),
        (["unet_timm@nothing"], UnknownNameError, "nothing"),
    ],
)
def test_models_that_are_not_to_be_had(small_page, tmp_path, models, error, words):
    with pytest.raises(error, match=words):
        small_page(tmp_path / "site", models)
    assert not (tmp_path / "site").exists()


def test_a_missing_runtime_is_told_before_any_work(small_page, tmp_path):
    (runtime.FOLDER / runtime.BINARY).unlink()
    with pytest.raises(PageError, match="type make page-runtime"):
        small_page(tmp_path / "site")
    assert not (tmp_path / "site").exists()
