"""`zoo score`: pictures coloured by any program, scored as the bench scores its own."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
from PIL import Image

from zoo import registry
from zoo._version import __version__
from zoo.dataset import ImageSet, UInt8Array
from zoo.errors import DataError, InputError
from zoo.files import atomic_path, write_text
from zoo.lab import lab_to_rgb, rgb_to_lab
from zoo.metric import MetricContext, Pictures
from zoo.photos import IMAGE_SUFFIXES, find_images, is_grey, read_image, to_grey, to_rgb
from zoo_benchmark import scoring
from zoo_benchmark.run_folder import Run, write_pictures
from zoo_benchmark.trial_spec import EXTERNAL, PREDICTIONS, SCORES, slug

_NAMED = 5
# Mean |ΔL| of a set's pictures above which they were painted, and not just rounded and clipped.
_PAINTED = 0.5
_BATCH_PIXELS = 1 << 18


@dataclass(frozen=True)
class FolderScores:
    """Scores of a folder of pictures.

    Attributes:
        scores: long form: image, metric, value.
        count: pictures that were scored.
        grey: ids left out because their truth is already grey.
        metrics: names and versions of what was scored.
        notes: what a reader must know, one line each.
        seconds: how long it took.
    """

    scores: pd.DataFrame
    count: int
    grey: list[str]
    metrics: dict[str, int]
    notes: list[str]
    seconds: float


def pictures_in(folder: Path) -> dict[str, Path]:
    """The image files below a folder by their names: relative paths without suffix.

    Raises:
        InputError: there is no such folder, no image in it, or two of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one with the pictures in it")
    found: dict[str, Path] = {}
    for file in find_images(folder):
        name = picture_name(file.relative_to(folder).as_posix())
        if name in found:
            raise InputError(f"{found[name]} and {file} have the same name; keep one of them")
        found[name] = file
    if not found:
        raise InputError(f"there is no image in {folder}")
    return found


def picture_name(text: str) -> str:
    """What files are matched by: the relative path without an image's suffix."""
    path = PurePosixPath(text)
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else text


def score_folder(
    pred: Path,
    truth: Mapping[str, UInt8Array | Path],
    metrics: Sequence[str],
    backbone: Path | None,
    device: torch.device,
) -> tuple[FolderScores, dict[str, UInt8Array]]:
    """Scores a folder of coloured files against the truth of the same names.

    As in the bench, metrics see the truth after its way through CIE Lab, and pictures as 8-bit
    RGB. Where the lightness was painted as well, `psnr_l_copied` and `lpips_l_copied` tell what
    the colours alone are worth.

    Args:
        pred: the coloured files.
        truth: pictures N×3 uint8 or files, by name.
        metrics: names of the metrics.
        backbone: AlexNet's features for LPIPS, or None.
        device: where to compute.

    Returns:
        The scores, and the coloured pictures by name.

    Raises:
        InputError: files are missing, too many, of another size, or unreadable; all are looked
            at before anything is scored.
    """
    start = time.monotonic()
    files = pictures_in(pred)
    _check_names(files, truth, pred)
    truths = {name: _open(source) for name, source in truth.items()}
    painted = {name: _open(files[name]) for name in truth}
    unlike = [
        f"{name} ({_size(painted[name])}, truth {_size(picture)})"
        for name, picture in truths.items()
        if painted[name].shape != picture.shape
    ]
    if unlike:
        raise InputError(f"other sizes in {pred}: {_list(unlike)}; colour at the truth's size")
    grey = [name for name, picture in truths.items() if is_grey(picture[None])[0]]
    names = [name for name in truths if name not in grey]
    if not names:
        raise InputError("every truth picture is already grey: there is nothing to score")
    smallest = min(min(truths[name].shape[:2]) for name in names)
    context = MetricContext(device, _pixels([truths[n] for n in names]), backbone)
    opened, unavailable = scoring.open_metrics(metrics, context, smallest)
    copies = _mean_lightness_error(names, painted, truths) > _PAINTED
    batches = _painted(names, painted, truths, device, copies=copies)
    scores, broken = scoring.score_pictures(batches, opened)
    notes = [f"{name} was not scored: {why}" for name, why in {**unavailable, **broken}.items()]
    if grey:
        notes.append(f"{len(grey)} already grey truth pictures were left out: {_list(grey)}.")
    if all(np.array_equal(painted[name], truths[name]) for name in names):
        notes.append(f"every picture in {pred} is its own truth: is that the right folder?")
    elif is_grey(np.concatenate([painted[n].reshape(-1, 1, 1, 3)[::7] for n in names])).all():
        notes.append(f"every picture in {pred} is grey: was it coloured?")
    if copies:
        notes.append("lightness was painted, too: psnr_l_copied and lpips_l_copied undo that.")
    versions = {m.info.name: m.info.version for m in opened if m.info.name not in broken}
    seconds = time.monotonic() - start
    return FolderScores(scores, len(names), grey, versions, notes, seconds), painted


def truth_of(run: Run) -> ImageSet:
    """The test images of a run, read anew.

    Raises:
        DataError: they cannot be had, or are not those of the run.
    """
    data = run.manifest["data"]
    test = registry.open_dataset(data["dataset"]).load("test", data["size"])
    if test.manifest_hash() != data["splits"]["test"]["manifest"]:
        raise DataError(
            f"the test images of {data['dataset']} are not those that {run.folder} was made with"
        )
    return test


def export_test(run: Run, out: Path) -> int:
    """Writes a run's test images for other programs: `OUT/grey` to colour, `OUT/truth`.

    Returns:
        How many pictures there are.

    Raises:
        InputError: `out` is there already.
        DataError: the images are not those of the run.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"-o {out} is there already; name another folder")
    test = truth_of(run)
    for name, picture in zip(_names(test), test.images, strict=True):
        original = Image.fromarray(np.asarray(picture))
        grey = Image.fromarray(to_grey(original))
        for kind, image in (("grey", grey), ("truth", original)):
            target = out / kind / f"{name}.png"
            if not target.resolve().is_relative_to((out / kind).resolve()):
                raise DataError(f"the image name {name!r} leads out of {out}")
            with atomic_path(target) as partial:
                image.save(partial)
    return len(test)


def add_to_run(
    run: Run, name: str, pred: Path, backbone: Path | None, device: torch.device, *, replace: bool
) -> FolderScores:
    """Scores pictures of a run's test images and adds them to it as a row.

    Raises:
        InputError: the name is taken, or the pictures do not fit the run's images.
        DataError: the run's images cannot be had.
    """
    taken = [label for label in run.labels if label == name]
    target = run.folder / EXTERNAL / slug(name)
    if taken and not (replace and target.is_dir()):
        raise InputError(f"{run.folder} has a row {name!r} already; give another --name")
    test = truth_of(run)
    ids = dict(zip(_names(test), test.ids, strict=True))
    truth: dict[str, UInt8Array | Path] = {
        key: np.asarray(picture) for key, picture in zip(ids, test.images, strict=True)
    }
    found, painted = score_folder(pred, truth, list(run.manifest["metrics"]), backbone, device)
    scores = found.scores.assign(image=found.scores["image"].map(ids))
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        scores.to_csv(partial / SCORES, index=False)
        kept = run.truth
        if kept is not None:
            images = np.stack([painted[picture_name(str(i))] for i in kept.ids])
            write_pictures(partial / PREDICTIONS, ImageSet(images, kept.ids))
        facts = {
            "name": name,
            "source": pred.name,
            "count": found.count,
            "metrics": found.metrics,
            "notes": found.notes,
            "zoo_version": __version__,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": found.seconds,
        }
        write_text(partial / "external.json", json.dumps(facts, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def _names(test: ImageSet) -> list[str]:
    names = [picture_name(str(i)) for i in test.ids]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"test images differ in their suffix alone: {_list(twice)}")
    return names


def _check_names(files: Mapping[str, Path], truth: Mapping[str, object], pred: Path) -> None:
    missing = [name for name in truth if name not in files]
    extra = [name for name in files if name not in truth]
    if missing or extra:
        parts = [f"missing: {_list(missing)}"] * bool(missing)
        parts += [f"without truth: {_list(extra)}"] * bool(extra)
        raise InputError(f"{pred} does not match the truth; {'; '.join(parts)}")


def _list(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _size(picture: UInt8Array) -> str:
    return f"{picture.shape[1]}×{picture.shape[0]}"


def _open(source: UInt8Array | Path) -> UInt8Array:
    return to_rgb(read_image(source)) if isinstance(source, Path) else source


def _pixels(pictures: Sequence[UInt8Array]) -> UInt8Array:
    """All truth as one array: pictures of one size as they are, others as single pixels."""
    if len({picture.shape for picture in pictures}) == 1:
        return np.stack(pictures)
    return np.concatenate([picture.reshape(-1, 1, 1, 3) for picture in pictures])


def _mean_lightness_error(
    names: Sequence[str], painted: Mapping[str, UInt8Array], truths: Mapping[str, UInt8Array]
) -> float:
    errors = []
    for name in names:
        pair = [Pictures.from_array(side[name][None]).rgb for side in (painted, truths)]
        ours, theirs = (rgb_to_lab(rgb)[0] for rgb in pair)
        errors.append(float((ours - theirs).abs().mean()))
    return float(np.mean(errors))


def _painted(
    names: Sequence[str],
    painted: Mapping[str, UInt8Array],
    truths: Mapping[str, UInt8Array],
    device: torch.device,
    *,
    copies: bool,
) -> Iterator[scoring.Painted]:
    """Batches of pictures of one size."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        by_shape.setdefault(truths[name].shape, []).append(name)
    for shape, alike in by_shape.items():
        count = max(1, _BATCH_PIXELS // (shape[0] * shape[1]))
        for start in range(0, len(alike), count):
            part = alike[start : start + count]
            source = Pictures.from_array(np.stack([truths[name] for name in part]), device)
            predicted = Pictures.from_array(np.stack([painted[name] for name in part]), device)
            L, ab = rgb_to_lab(source.rgb)
            copied = Pictures.from_unit_rgb(lab_to_rgb(L, predicted.ab)) if copies else None
            truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
            yield scoring.Painted(part, predicted, copied, truth)
