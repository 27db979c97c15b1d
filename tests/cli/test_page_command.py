"""`zoo page`: what is typed, and what is said before any work."""

from __future__ import annotations

import json

import pytest
from documents import help_texts

from zoo.page import folder, runtime
from zoo.weights.published import DEFAULT, published


@pytest.fixture
def small_page(tmp_path, monkeypatch):
    """Files of some bytes in the place of exported models and ONNX Runtime."""
    (tmp_path / "onnxruntime").mkdir()
    for name in runtime.NAMES:
        (tmp_path / "onnxruntime" / name).write_bytes(b"runtime")
    (tmp_path / "model.onnx").write_bytes(b"model")
    monkeypatch.setattr(runtime, "FOLDER", tmp_path / "onnxruntime")
    monkeypatch.setattr(folder, "_exported", lambda model, say: tmp_path / "model.onnx")


def test_a_page_is_written_and_its_models_are_named(zoo, small_page, tmp_path):
    answer = zoo("page", "-o", str(tmp_path / "site"))
    assert answer.code == 0, answer.stderr
    assert "unet_timm@release: 0.0 MB, Apache-2.0" in answer.stdout
    assert f"written to {tmp_path / 'site'}" in answer.stdout
    assert (tmp_path / "site/index.html").is_file()


def test_what_was_written_as_json(zoo, small_page, tmp_path):
    answer = zoo("page", "-o", str(tmp_path / "site"), "--models", "unet_timm@release", "--json")
    said = json.loads(answer.stdout)
    assert said["folder"] == str(tmp_path / "site")
    assert [model["title"] for model in said["models"]] == ["unet_timm@release"]


def test_help_names_the_default():
    assert f"[default: {DEFAULT}]" in " ".join(help_texts()["page"].split())


def test_all_that_come_along_are_asked_for_in_a_word(zoo, small_page, tmp_path):
    said = json.loads(zoo("page", "-o", str(tmp_path / "site"), "--models", "all", "--json").stdout)
    titles = [model["title"] for model in said["models"]]
    assert titles == [each.label for each in published() if each.file]
    assert {"unet_timm@release", "zhang_rebalanced@release"} < set(titles)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "type -o FOLDER, or --serve"),
        (("-o", "site", "--models", "unet_timm@release,"), "commas between"),
        (("-o", "site", "--models", ""), "commas between"),
        (("-o", "site", "--models", "grey"), "grey needs weights"),
        (("-o", "site", "--models", "all,grey"), "unknown colorizer 'all'"),
        (("--serve", "--port", "70000"), "70000"),
    ],
)
def test_bad_lines_are_told_in_one(zoo, small_page, arguments, words):
    answer = zoo("page", *arguments)
    assert answer.code == 2
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_missing_runtime_says_what_to_type(zoo, small_page, tmp_path):
    (tmp_path / "onnxruntime" / runtime.BINARY).unlink()
    answer = zoo("page", "-o", "site")
    assert (answer.code, answer.stdout) == (2, "")
    assert "type make page-runtime" in answer.stderr
