"""`zoo score`: pictures coloured by any program, scored as the bench scores its own."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from zoo import registry
from zoo._version import __version__
from zoo.arrays import UInt8Array
from zoo.color.lab import lab_to_rgb, rgb_to_lab
from zoo.data.dataset import ImageSet, Progress
from zoo.errors import DataError, InputError, OutputError, PluginError, ZooError
from zoo.files import (
    atomic_path,
    check_writable,
    longest_name,
    move_folder,
    name_text,
    temporary_advice,
    write_text,
)
from zoo.images.find import PassedOver, find_images
from zoo.images.open import IMAGE_SUFFIXES, is_grey, read_image, to_grey, to_rgb
from zoo.metric import MetricContext, Pictures
from zoo_benchmark.conditions import CLEAN, check_condition
from zoo_benchmark.metrics import check_count, set_note
from zoo_benchmark.metrics.weights_files import MetricFiles
from zoo_benchmark.results.run_folder import CONDITION_FOLDER, Run
from zoo_benchmark.run import scoring
from zoo_benchmark.run.pictures import write_pictures
from zoo_benchmark.run.trial_spec import EXTERNAL, PREDICTIONS, SCORES, slug

_NAMED = 5
# Mean |ΔL| of a set above which its lightness is not the truth's. Measured on photographs: 8-bit
# rounding and clipping leave 0.1 to 0.4 where L was kept, good JPEG as much, a sepia tone 4.
_OTHER_LIGHTNESS = 0.5


@dataclass(frozen=True)
class FolderScores:
    """The scores of a folder of pictures.

    Attributes:
        scores: the scores in long form: image, metric, value.
        sets: values of the whole folder, by column, of metrics that have none per image.
        halves: half the 95 % intervals of those values, where the metric knows them.
        count: pictures that were scored.
        grey: ids left out because their truth is already grey.
        metrics: names and versions of what was scored.
        notes: what a reader must know, one line each.
        seconds: how long it took.
    """

    scores: pd.DataFrame
    sets: dict[str, float]
    halves: dict[str, float]
    count: int
    grey: list[str]
    metrics: dict[str, int]
    notes: list[str]
    seconds: float


def pictures_in(folder: Path, passed_over: PassedOver | None = None) -> dict[str, Path]:
    """The image files below a folder by their names: relative paths without suffix, as text.

    `passed_over` takes note of what else is there.

    Raises:
        InputError: there is no such folder, no image in it, or two of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one with the pictures in it")
    found: dict[str, Path] = {}
    images = find_images(folder)
    if passed_over is not None:
        passed_over.merge(images.passed_over)
    for file in images.files:
        name = picture_name(name_text(file.relative_to(folder).as_posix()))
        if name in found:
            raise InputError(f"{found[name]} and {file} have the same name; keep one of them")
        found[name] = file
    if not found:
        line = images.passed_over.line()
        raise InputError(f"there is no image in {folder}{f'; {line}' if line else ''}")
    return found


def picture_name(text: str) -> str:
    """The name that files are matched by: the relative path without an image's suffix."""
    path = PurePosixPath(text)
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else text


def score_folder(
    pred: Path,
    truth: Mapping[str, UInt8Array | Path],
    metrics: Sequence[str],
    weights: MetricFiles,
    device: torch.device,
    *,
    keep_grey: bool = False,
    copy_lightness: bool = False,
) -> FolderScores:
    """Scores a folder of coloured files against the truth of the same names.

    As in the bench, metrics see the truth after its way through CIE Lab, and pictures as 8-bit
    RGB. Where the lightness is not the truth's, columns called `…_l_copied` tell what the colours
    alone are worth.

    Args:
        pred: the coloured files.
        truth: pictures H×W×3 uint8 or files, by name.
        metrics: names of the metrics.
        weights: what was found of the files that the metrics need.
        device: where to compute.
        keep_grey: whether pictures whose truth is grey already are scored, too.
        copy_lightness: whether the truth's lightness is put into every picture first: what was
            coloured was changed, and the change is not to be scored.

    Raises:
        InputError: files are missing, too many, of another size, or unreadable; all are looked
            at before anything is scored.
        PluginError: not one of the metrics could be scored.
    """
    start = time.monotonic()
    check_count(metrics, len(truth), "the truth")
    passed = PassedOver()
    files = matched(pictures_in(pred, passed), truth, pred)
    with _scratch() as scratch:
        decoded = _decode(files, truth, pred, scratch, keep_grey=keep_grey)
        context = MetricContext(device, decoded.all_truth())
        check_count(metrics, len(decoded.names), "what is not grey of the truth")
        opened, unavailable = scoring.open_metrics(metrics, context, decoded.smallest_side, weights)
        pictures = _painted(decoded, device, copy_lightness=copy_lightness)
        scores = scoring.score_pictures(pictures, opened)
    failed = {**unavailable, **scores.broken}
    of_sets = [set_note(m.info, scores.count) for m in opened if m.info.name in scores.sets]
    unscored = [f"{name} was not scored: {why}" for name, why in failed.items()]
    if not scores.means():
        raise PluginError("; ".join(unscored))
    return FolderScores(
        scores=scores.images,
        sets=scores.sets,
        halves=scores.halves,
        count=len(decoded.names),
        grey=decoded.grey,
        metrics={m.info.name: m.info.version for m in opened if m.info.name not in failed},
        notes=[
            *unscored,
            *of_sets,
            *decoded.notes(pred, copied=copy_lightness),
            *([f"{name_text(line)}."] if (line := passed.line()) else []),
        ],
        seconds=time.monotonic() - start,
    )


def score_conditions(
    pred: Path,
    truth: Mapping[str, UInt8Array | Path],
    conditions: Sequence[str],
    metrics: Sequence[str],
    weights: MetricFiles,
    device: torch.device,
    *,
    keep_grey: bool = False,
) -> dict[str, FolderScores]:
    """Scores `PRED/CONDITION`, for each condition, against one truth; see `score_folder`.

    The truth's lightness is put into every picture, those under the clean condition included.

    Raises:
        InputError: one of the folders is missing or does not match; nothing has been scored.
        PluginError: not one of the metrics could be scored.
    """
    for condition in conditions:
        matched(pictures_under(pred, condition), truth, pred / condition)
    return {
        condition: score_folder(
            pred / condition,
            truth,
            metrics,
            weights,
            device,
            keep_grey=keep_grey,
            copy_lightness=True,
        )
        for condition in conditions
    }


def pictures_under(pred: Path, condition: str) -> dict[str, Path]:
    """The image files of a condition's folder, as `pictures_in` finds them.

    Raises:
        InputError: the folder is missing, or holds no pictures.
    """
    if not (pred / condition).is_dir():
        raise InputError(
            f"{pred} has no folder {condition!r}: it takes one for each condition, as those that "
            f"zoo conditions PHOTOS -o INPUTS writes; name those that are there in --conditions"
        )
    return pictures_in(pred / condition)


def write_inputs(
    photos: Path, out: Path, conditions: Sequence[str], progress: Progress | None = None
) -> int:
    """Writes what programs should colour: grey PNGs of photographs, `OUT/CONDITION/NAME.png`.

    Returns:
        How many photographs there are.

    Raises:
        InputError: `out` is there already, or a photograph cannot be read.
    """
    files = pictures_in(photos)
    _check_new(out)
    check_writable([out / conditions[0]])
    for done, (name, file) in enumerate(files.items()):
        picture = _open(file)[None]
        for condition in conditions:
            grey = check_condition(condition).inputs(picture)[0]
            with atomic_path(out / condition / f"{name}.png") as partial:
                Image.fromarray(grey).save(partial)
        if progress is not None:
            progress(name, done + 1, len(files))
    return len(files)


def _check_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"-o {out} is there already; name another folder")


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yields a temporary folder; says which one and what to do where it cannot be used."""
    folder = ""
    try:
        # Still mapped into memory when it is cleaned up, which Windows minds.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        where = f"{error.filename or folder}: " if error.filename or folder else ""
        raise OutputError(
            f"decoded pictures cannot be kept: {where}{error.strerror or error}; "
            f"{temporary_advice()}"
        ) from error


def truth_of(run: Run) -> ImageSet:
    """The test images of a run, read anew.

    Raises:
        DataError: they cannot be had, or are not those of the run.
    """
    data = run.manifest["data"]
    test = registry.open_dataset(data["dataset"]).open("test", data["size"])
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
    _check_new(out)
    check_writable([out / "truth"])
    test = truth_of(run)
    names = _names(test)
    for name in names:
        # Names come from a dataset, which may be a stranger's.
        if not (out / name).resolve().is_relative_to(out.resolve()):
            raise DataError(f"the image name {name!r} leads out of {out}")
    for name, picture in zip(names, test.images, strict=True):
        original = Image.fromarray(np.asarray(picture))
        grey = Image.fromarray(to_grey(original))
        for kind, image in (("grey", grey), ("truth", original)):
            place = out / kind / name
            with atomic_path(place.with_name(longest_name(place.name, ".png"))) as partial:
                image.save(partial)
    return len(test)


def add_to_run(
    run: Run,
    name: str,
    pred: Path,
    weights: MetricFiles,
    device: torch.device,
    *,
    replace: bool,
    conditions: Sequence[str] = (),
) -> tuple[FolderScores, dict[str, FolderScores]]:
    """Scores pictures of a run's test images and adds them to it as a row.

    Args:
        run: the run.
        name: of the row.
        pred: the coloured files; with conditions, a folder of them for each.
        weights: what was found of the files that the metrics need.
        device: where to compute.
        replace: whether a row of that name may be replaced.
        conditions: what the run's inputs were coloured under; the clean one is the row itself.

    Returns:
        The scores of the row, and those under each condition.

    Raises:
        InputError: the name cannot be used or is taken, or the pictures do not fit the run's
            images.
        DataError: the run's images cannot be had, or it was scored by other versions of metrics.
    """
    target = _row_folder(run, name, replace=replace)
    _check_versions(run)
    for condition in conditions:  # before a dataset is read, which may take long
        pictures_under(pred, condition)
    _check_conditions(run, conditions)
    everything, pred = pred, pred / CLEAN if conditions else pred
    pictures_in(pred)
    test = truth_of(run)
    ids = dict(zip(_names(test), test.ids, strict=True))
    truth: dict[str, UInt8Array | Path] = {
        key: np.asarray(picture) for key, picture in zip(ids, test.images, strict=True)
    }
    metrics = list(run.manifest["metrics"])
    keep_grey = run.manifest["protocol"].get("grey_chroma", 0) < 0
    under = score_conditions(
        everything, truth, conditions, metrics, weights, device, keep_grey=keep_grey
    )
    found = score_folder(pred, truth, metrics, weights, device, keep_grey=keep_grey)

    def write(scored: FolderScores, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        scores = scored.scores.assign(image=scored.scores["image"].map(ids))
        scores.to_csv(folder / SCORES, index=False)

    facts = {
        "name": name,
        "source": name_text(pred.resolve().name),
        **_counted(found),
        "grey": len(found.grey),
        "metrics": found.metrics,
        "conditions": {each: _counted(scored) for each, scored in under.items()},
        "notes": found.notes,
        "zoo_version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": found.seconds,
    }
    with _whole_folder(target, run.folder) as partial:
        write(found, partial)
        for condition, scored in under.items():
            write(scored, partial / CONDITION_FOLDER / condition)
        if run.truth is not None:
            files = matched(pictures_in(pred), truth, pred)
            kept = np.stack([_open(files[picture_name(str(i))]) for i in run.truth.ids])
            write_pictures(partial / PREDICTIONS, ImageSet(kept, run.truth.ids))
        write_text(partial / "external.json", json.dumps(facts, indent=1))
    return found, under


def _counted(scored: FolderScores) -> dict[str, Any]:
    """Values of the whole folder, half their intervals, and of how many pictures they are."""
    return {"count": scored.count, "set_scores": scored.sets, "set_halves": scored.halves}


def _check_conditions(run: Run, conditions: Sequence[str]) -> None:
    if missing := [name for name in conditions if name not in run.conditions]:
        have = ", ".join(run.conditions) or "the clean photographs alone"
        raise InputError(
            f"{run.folder} was not scored under {', '.join(missing)} but under {have}; type its "
            "zoo bench command again with these --conditions first"
        )
    for name in conditions:
        wanted, ours = run.manifest["conditions"][name], check_condition(name).version
        if wanted != ours:
            raise InputError(
                f"{run.folder} was scored under version {wanted} of the condition {name!r}, this "
                f"zoo has {ours}: the rows would not compare; run the bench again"
            )


def _row_folder(run: Run, name: str, *, replace: bool) -> Path:
    # A folder called "" or ".." would be the run itself.
    if not name.strip() or not name.isprintable() or name.startswith("."):
        raise InputError(
            f"--name {name!r} cannot name a row; give one in plain characters, no dot in front"
        )
    target = run.folder / EXTERNAL / slug(name)
    if any(cell.label == name for cell in run.cells):
        raise InputError(f"{run.folder} has a row {name!r} of its own; give another --name")
    if target.exists() and not replace:
        raise InputError(
            f"{run.folder} has a row {name!r} already; give another --name, or add --overwrite"
        )
    return target


def _check_versions(run: Run) -> None:
    for name, version in run.manifest["metrics"].items():
        try:
            ours = registry.metric_class(name).info.version
        except ZooError:
            continue  # its column will say why it is empty
        # A run holds 0 for a metric that did not work then.
        if version not in (0, ours):
            raise DataError(
                f"{run.folder} was scored by version {version} of the metric {name!r}, this zoo "
                f"has {ours}: the rows would not compare; run the bench again"
            )


@contextmanager
def _whole_folder(target: Path, beside: Path) -> Iterator[Path]:
    """Yields an empty folder in `beside`; moves it to `target` if the block succeeds."""
    partial = beside / f".{target.name}.{os.getpid()}.partial"
    old = partial.with_suffix(".old")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            move_folder(target, old)
        move_folder(partial, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _names(test: ImageSet) -> list[str]:
    names = [picture_name(str(i)) for i in test.ids]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"test images differ in their suffix alone: {_list(twice)}")
    return names


def matched(files: Mapping[str, Path], truth: Mapping[str, object], pred: Path) -> dict[str, Path]:
    """The files by the names of the truth, which may spell the same characters otherwise.

    A Mac writes "ü" as "u" and "¨", and no one sees the difference.

    Raises:
        InputError: one is missing, or has no truth, or more than one could be meant.
    """
    found = {name: file for name, file in files.items() if name in truth}
    others: dict[str, list[str]] = {}
    for name in files.keys() - truth.keys():
        others.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    missing = []
    for name in truth:
        if name in found:
            continue
        spellings = others.pop(unicodedata.normalize("NFC", name), [])
        if len(spellings) > 1:
            raise InputError(
                f"{' and '.join(str(files[each]) for each in sorted(spellings))} differ in the "
                f"spelling of {name!r} alone; keep one of them"
            )
        if spellings:
            found[name] = files[spellings[0]]
        else:
            missing.append(name)
    extra = sorted(name for names in others.values() for name in names)
    if missing or extra:
        parts = [f"missing: {_list(missing)}"] * bool(missing)
        parts += [f"without truth: {_list(extra)}"] * bool(extra)
        raise InputError(f"{pred} does not match the truth; {'; '.join(parts)}")
    return found


def _list(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _size(picture: UInt8Array) -> str:
    return f"{picture.shape[1]}×{picture.shape[0]}"


def _open(source: UInt8Array | Path) -> UInt8Array:
    return to_rgb(read_image(source)) if isinstance(source, Path) else source


@dataclass(frozen=True)
class _Decoded:
    """All pictures of two folders, decoded once, in files: there may be more than memory holds.

    Attributes:
        pixels: those of `truths`, one after the other, flat.
        truths: the truth that is not grey, H×W×3 by name.
        painted: the coloured pictures of the same names.
        grey: names whose truth is already grey; they are nowhere else.
        lightness_error: mean |ΔL| over the pictures, each weighing the same.
        identical: whether every picture is its truth.
        colourless: whether every picture is grey.
    """

    pixels: UInt8Array
    truths: dict[str, UInt8Array]
    painted: dict[str, UInt8Array]
    grey: list[str]
    lightness_error: float
    identical: bool
    colourless: bool

    @property
    def names(self) -> list[str]:
        """Names of the pictures that are scored."""
        return list(self.truths)

    @property
    def smallest_side(self) -> int:
        """The smallest side of the pictures, in pixels."""
        smallest: int = min(min(picture.shape[:2]) for picture in self.truths.values())
        return smallest

    @property
    def other_lightness(self) -> bool:
        """Whether the pictures have another lightness than the truth."""
        return self.lightness_error > _OTHER_LIGHTNESS

    def all_truth(self) -> UInt8Array:
        """All truth as N×H×W×3: pictures of one size as they are, others as single pixels."""
        shapes = {picture.shape for picture in self.truths.values()}
        return self.pixels.reshape(-1, *(shapes.pop() if len(shapes) == 1 else (1, 1, 3)))

    def notes(self, pred: Path, *, copied: bool) -> list[str]:
        """The notes that a reader of the scores must know."""
        notes = []
        if self.grey:
            left_out = f"{len(self.grey)} already grey truth pictures were left out"
            notes.append(f"{left_out}: {_list(self.grey)}.")
        if self.identical:
            notes.append(f"every picture in {pred} is its own truth: is that the right folder?")
        elif self.colourless:
            notes.append(f"every picture in {pred} is grey: was it coloured?")
        if self.other_lightness and not copied:
            notes.append(
                f"lightness is {self.lightness_error:.1f} off the truth's on average, painted or "
                "lost in saving: metrics called …_l_copied put the truth's back."
            )
        return notes


def _decode(
    files: Mapping[str, Path],
    truth: Mapping[str, UInt8Array | Path],
    pred: Path,
    scratch: Path,
    *,
    keep_grey: bool,
) -> _Decoded:
    """Decodes everything once into `scratch`, and refuses what does not fit."""
    shapes: dict[str, tuple[int, ...]] = {}
    grey: list[str] = []
    unlike: list[str] = []
    errors: list[float] = []
    identical = colourless = True
    with (scratch / "truth").open("wb") as theirs, (scratch / "painted").open("wb") as ours:
        for name, source in truth.items():
            original, picture = _open(source), _open(files[name])
            if picture.shape != original.shape:
                unlike.append(f"{name} ({_size(picture)}, truth {_size(original)})")
            elif not keep_grey and is_grey(original[None])[0]:
                grey.append(name)
            elif not unlike:
                shapes[name] = original.shape
                theirs.write(original.tobytes())
                ours.write(picture.tobytes())
                errors.append(_lightness_error(original, picture))
                identical = identical and np.array_equal(original, picture)
                colourless = colourless and bool(is_grey(picture[None])[0])
    if unlike:
        raise InputError(f"other sizes in {pred}: {_list(unlike)}; colour at the truth's size")
    if not shapes:
        raise InputError("every truth picture is already grey: there is nothing to score")
    pixels, painted = (
        np.memmap(scratch / file, dtype=np.uint8, mode="r") for file in ("truth", "painted")
    )
    return _Decoded(
        pixels=pixels,
        truths=_views(pixels, shapes),
        painted=_views(painted, shapes),
        grey=grey,
        lightness_error=float(np.mean(errors)),
        identical=identical,
        colourless=colourless,
    )


def _views(pixels: UInt8Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, UInt8Array]:
    """Pictures of these shapes, one after the other, without a copy."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(pixels, ends[:-1])
    return {
        name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _lightness_error(original: UInt8Array, picture: UInt8Array) -> float:
    theirs, ours = (
        rgb_to_lab(Pictures.from_array(each[None]).rgb)[0] for each in (original, picture)
    )
    return float((ours - theirs).abs().mean())


def _painted(
    decoded: _Decoded, device: torch.device, *, copy_lightness: bool
) -> Iterator[scoring.Painted]:
    """Yields batches of pictures of one size."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, picture in decoded.truths.items():
        by_shape.setdefault(picture.shape, []).append(name)
    for shape, alike in by_shape.items():
        count = scoring.batch_count(math.prod(shape[:2]))
        for start in range(0, len(alike), count):
            names = alike[start : start + count]
            source, predicted = (
                Pictures.from_array(np.stack([side[name] for name in names]), device)
                for side in (decoded.truths, decoded.painted)
            )
            L, ab = rgb_to_lab(source.rgb)
            truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
            copied = None
            if copy_lightness:
                predicted = Pictures.from_unit_rgb(lab_to_rgb(L, predicted.ab))
            elif decoded.other_lightness:
                copied = Pictures.from_unit_rgb(lab_to_rgb(L, predicted.ab))
            yield scoring.Painted(names, predicted, copied, truth)
