"""The folder of the page: its list of models, what it refuses to write over, what is missing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from zoo.errors import OptionError, PageError, UnknownNameError, WeightsError
from zoo.page import runtime
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


def find_release() -> Path:
    from zoo.weights.published import find_published

    file = find_published("unet_timm", "release").file
    assert file is not None
    return file


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
