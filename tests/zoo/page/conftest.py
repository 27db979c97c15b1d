"""A page of small files, whose models nobody exported, for what needs no network of neurons."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.page import folder, runtime


@pytest.fixture
def small_runtime(tmp_path, monkeypatch):
    """Files of some bytes in the place of ONNX Runtime's."""
    runtime_folder = tmp_path / "onnxruntime"
    runtime_folder.mkdir()
    for name in runtime.NAMES:
        (runtime_folder / name).write_bytes(f"the runtime's {name}".encode())
    monkeypatch.setattr(runtime, "FOLDER", runtime_folder)


@pytest.fixture
def small_page(small_runtime, tmp_path, monkeypatch):
    """Writes pages with such files in the place of exported models, too."""

    def exported(model, say) -> Path:
        file = tmp_path / f"{model.key}.onnx"
        file.write_bytes(f"a model: {model.title}".encode())
        return file

    monkeypatch.setattr(folder, "_exported", exported)
    return folder.write_page
