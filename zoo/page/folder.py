"""The page as a folder for any static host: its own files, ONNX Runtime, and exported models."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from zoo._version import __version__
from zoo.arrays import UInt8Array
from zoo.errors import OptionError, PageError
from zoo.export import export_onnx
from zoo.files import atomic_path, cache_errors, cache_folder, check_writable, write_text
from zoo.page.runtime import BINARY, VERSION, runtime_files
from zoo.registry import colorizer_class, name_and_weights
from zoo.sources import sources_digest
from zoo.text import parse_json
from zoo.weights.download import file_sha256
from zoo.weights.file import StoredWeights, find_weights
from zoo.weights.published import DEFAULT, bundled, short_names, weights_for

ASSETS = Path(__file__).parent / "assets"
MANIFEST = "models.json"
_RUNTIME, _MODELS, _EXAMPLE = "ort", "models", "example.jpg"


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        folder: where it is; `index.html` is the page.
        models: what its list of models says: key, title, license, url, bytes, sha256 of each.
        size: all its files, in bytes.
    """

    folder: Path
    models: Sequence[dict[str, Any]]
    size: int


@dataclass(frozen=True)
class _Model:
    """A model to be shown: its title and file name, the colorizer's name and its weights."""

    title: str
    key: str
    name: str
    stored: StoredWeights


def bundled_models() -> list[str]:
    """The models whose weights come along, as `NAME@WEIGHTS`."""
    return [weights.label for weights in bundled()]


def page_folder() -> Path:
    """The folder of the page that is served where no other is named."""
    return cache_folder() / "page" / "site"


def write_page(
    folder: Path, models: Sequence[str] = (DEFAULT,), say: Callable[[str], None] = lambda _: None
) -> Page:
    """Writes the page into a folder, or anew into that of an earlier page.

    Args:
        folder: where; it is made.
        models: `NAME@WEIGHTS` of each; a name alone takes the weights that came along.
        say: told what takes a while.

    Raises:
        PageError: the files of ONNX Runtime are missing, or the folder holds something else.
        OptionError: a model is named twice.
        WeightsError: weights that did not come along, are not to be had, or of another model.
        ExportError: a model cannot be exported.
    """
    runtime = runtime_files()
    if folder.exists() and not folder.is_dir():
        raise PageError(f"{folder} is a file; name a folder")
    earlier = _earlier_models(folder)
    chosen = _find(models)
    for model, other in combinations(chosen, 2):
        same = model.name == other.name and model.stored.path.samefile(other.stored.path)
        if same or model.key == other.key:
            raise OptionError(f"{model.title} is named twice; name each model once")
    check_writable([folder / MANIFEST])
    exported = [(model, _exported(model, say)) for model in chosen]
    for asset in (path for path in sorted(ASSETS.rglob("*")) if path.is_file()):
        _copy(asset, folder / asset.relative_to(ASSETS))
    for file in runtime:
        _copy(file, folder / _RUNTIME / file.name)
    _write_example(folder / _EXAMPLE)
    entries = []
    for model, file in exported:
        url = f"{_MODELS}/{model.key}.onnx"
        _copy(file, folder / url)
        entries.append(
            {
                "key": model.key,
                "title": model.title,
                "license": model.stored.origin.license,
                "url": url,
                **_size_and_hash(folder / url),
            }
        )
    binary = folder / _RUNTIME / BINARY
    manifest = {
        "zoo_version": __version__,
        "credits": _credits(chosen),
        "runtime": {
            "version": VERSION,
            "url": binary.relative_to(folder).as_posix(),
            **_size_and_hash(binary),
        },
        "models": entries,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    for url in earlier - {entry["url"] for entry in entries}:
        (folder / url).unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Page(folder, entries, size)


def _earlier_models(folder: Path) -> set[str]:
    """The files of models that an earlier page in the folder lists.

    Raises:
        PageError: the folder holds something else than a page.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return set()
    try:
        listed = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))["models"]
        urls = {str(entry["url"]) for entry in listed}
    except (OSError, ValueError, KeyError, TypeError):
        raise PageError(
            f"{folder} is not empty and holds no page; type -o and a new folder"
        ) from None
    return {url for url in urls if re.fullmatch(rf"{_MODELS}/[\w.@-]+\.onnx", url)}


def _find(texts: Sequence[str]) -> list[_Model]:
    found = []
    for text in texts:
        name, given = name_and_weights(text)
        cls = colorizer_class(name)
        weights = str(given or weights_for(name))
        stored = find_weights(weights, cls)
        found.append((name, weights.removesuffix(stored.path.suffix), stored))
    short = short_names(weights for _, weights, _ in found)
    models = []
    for name, weights, stored in found:
        title = f"{name}@{short[weights]}"
        models.append(_Model(title, re.sub(r"[^\w.-]+", "-", title), name, stored))
    return models


def _exported(model: _Model, say: Callable[[str], None]) -> Path:
    """The model as ONNX with weights in half precision, out of the cache where it is there."""
    weights = file_sha256(model.stored.path)
    cls = colorizer_class(model.name)
    colorizer = cls(device="cpu", precision="fp32", **model.stored.options)
    # A file that other code exported is not taken.
    parts = (model.name, weights, torch.__version__, __version__, sources_digest(colorizer))
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    target = cache_folder() / "page" / _MODELS / f"{model.key}-{digest[:16]}.onnx"
    if not target.is_file():
        say(f"exporting {model.title} and comparing it with predict …")
        colorizer.restore(model.stored)
        with cache_errors("exported models"):
            export_onnx(colorizer, target, weights="fp16", weights_sha256=weights)
    return target


def _credits(models: Sequence[_Model]) -> str:
    learnt = [
        f"{model.title}: {model.stored.origin.license}"
        + (f", trained on {trained}" if (trained := model.stored.origin.trained_on) else "")
        for model in models
    ]
    return f"Made by the colorizer zoo {__version__}. {'; '.join(learnt)}."


def _write_example(target: Path) -> None:
    from skimage import data

    photograph: Callable[[], UInt8Array] = data.astronaut  # by NASA, in the public domain
    with atomic_path(target) as partial:
        Image.fromarray(photograph()).convert("L").save(partial, quality=90)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as partial:
        shutil.copyfile(source, partial)


def _size_and_hash(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
