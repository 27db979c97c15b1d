"""The plan of colouring files: what is made of which, and the settings."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.errors import InputError, OptionError
from zoo.files import beside, longest_name
from zoo.images.find import (
    EARLIER,
    NO_MATCH,
    RESULT,
    UNREADABLE,
    PassedOver,
    choose_images,
    find_images,
)
from zoo.images.open import HEIC_SUFFIXES, IMAGE_SUFFIXES, register_heif
from zoo.images.write import FORMATS, Format, find_format
from zoo.prediction.working_size import WorkingSize, check_working_size

MOST_SATURATION = 3.0

COLOURED, SHEET = "-colour", "-models"
"""What is put behind the name of a photograph or folder, where no output is named."""

_SUFFIXES = (*IMAGE_SUFFIXES, *HEIC_SUFFIXES)


@dataclass(frozen=True)
class Job:
    """A file to read and the file to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Settings:
    """The settings that photographs are coloured with.

    Attributes:
        working_size: what the network sees, in pixels of the short side; nothing is enlarged
            to it. `auto` is `Colorizer.working_size`, `full` each photograph's own.
        saturation: what the predicted ab is multiplied by; above 0, at most 3.
        compare: whether to write grey and colour side by side.
        overwrite: whether to replace outputs that exist.
        batch_size: photographs per pass of the network; `auto`: the fastest number, by
            measurement.
        workers: threads that read, and as many that write; None for one per processor core,
            at most four.
    """

    working_size: WorkingSize = "auto"
    saturation: float = 1.0
    compare: bool = False
    overwrite: bool = False
    batch_size: int | Literal["auto"] = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        check_working_size(self.working_size)
        if not 0 < self.saturation <= MOST_SATURATION:
            raise OptionError(
                f"saturation must be above 0 and at most {MOST_SATURATION:g}, got "
                f"{self.saturation:g}; 1 leaves the colours as predicted"
            )
        if self.batch_size != "auto" and self.batch_size < 1:
            raise OptionError(f"the batch size must be at least 1, got {self.batch_size}")
        if self.workers is not None and not 1 <= self.workers <= 64:
            raise OptionError(f"workers must lie in 1 … 64, got {self.workers}")


def plan(
    inputs: Sequence[str | Path],
    out: str | Path | None,
    *,
    suffix: str | None = None,
    overwrite: bool = False,
    passed_over: PassedOver | None = None,
    ending: str = COLOURED,
) -> list[Job]:
    """The jobs for `inputs`, checked before any work is done.

    What cannot be read among them, or is no photograph, stops nothing else.

    Args:
        inputs: files, folders (with all below them), and patterns such as `scans/**/*.tif`.
        out: a folder, in which the trees of the given folders are repeated; or, for one input
            file, the file to write, known by its suffix. Where None, every output lies beside
            its input: `scans-colour/` beside `scans/`, `old-colour.jpg` beside `old.jpg`. Results
            of that kind are then not taken for photographs.
        suffix: the format to write, such as `png`; by default each file's own.
        overwrite: whether outputs may exist.
        passed_over: takes note of all that gets no job.
        ending: what names outputs beside their inputs.

    Raises:
        InputError: nothing to do, an input that is not there, two inputs for one output, an
            output that is an input, or that exists; HEIC is asked for, without its extra.
        OptionError: a format that is not written.
    """
    chosen = None if suffix is None else find_format(suffix)
    if suffix is not None and chosen is None:
        raise OptionError(f"the format {suffix!r} is not written; {_written()}")
    passed = PassedOver() if passed_over is None else passed_over
    found = _collect(inputs, out, passed, ending)
    if not found:
        told = f" ({passed.line()})" if passed.line() else ""
        raise InputError(
            f"there are no images in {', '.join(map(str, inputs))}{told}; "
            f"read are {' '.join(sorted(_SUFFIXES))}"
        )
    file = None if out is None else _single_file(inputs, out, chosen)
    if FORMATS["HEIF"] in (chosen, None if file is None else find_format(file.suffix)):
        register_heif()
    if file is not None:
        jobs = [Job(found[0][0], file)]
    else:
        jobs = []
        for source, target in found:
            if chosen is not None and target.suffix.lower() not in chosen.suffixes:
                known = target.suffix.lower() in _SUFFIXES
                wanted = f".{(suffix or '').lower().removeprefix('.')}"
                stem = target.stem if known else target.name
                target = target.with_name(longest_name(stem, wanted))
            jobs.append(Job(source, target))
    _check_targets(jobs, overwrite)
    return jobs


def _written() -> str:
    return "written are " + ", ".join(s[1:] for form in FORMATS.values() for s in form.suffixes)


def _collect(
    inputs: Sequence[str | Path], out: str | Path | None, passed: PassedOver, ending: str
) -> list[tuple[Path, Path]]:
    """Every input file once, with its output in its own format."""
    found: dict[str, tuple[Path, Path]] = {}

    def add(path: Path, target: Path) -> None:
        found.setdefault(os.path.abspath(path), (path, target))  # noqa: PTH100 (keeps links)

    def add_file(path: Path) -> None:
        add(path, beside(path, ending + path.suffix) if out is None else Path(out) / path.name)

    def add_folder(folder: Path) -> None:
        place = beside_folder(folder, ending) if out is None else Path(out)
        results = os.path.realpath(place)
        images = find_images(folder, _SUFFIXES)
        passed.merge(images.passed_over)
        # Earlier results in a folder below are not photographs to colour.
        inside = results.startswith(os.path.realpath(folder) + os.sep)
        for path in images.files:
            if inside and os.path.realpath(path).startswith(results + os.sep):
                passed.add(RESULT, str(path))
                continue
            relative = path.relative_to(folder)
            if out is None and any(_is_result(folder / p) for p in relative.parents[:-1]):
                passed.add(EARLIER, str(path))
            else:
                add(path, place / relative)

    for given in inputs:
        path = Path(given)
        if os.path.isdir(path):  # noqa: PTH112 (pathlib's raises where permission is missing)
            add_folder(path)
        elif os.path.isfile(path):  # noqa: PTH113
            add_file(path)
        elif (matches := _matches(path)) is not None:
            if not matches:
                passed.add(NO_MATCH, str(path))
            images = choose_images(matches, _SUFFIXES)
            passed.merge(images.passed_over)
            for match in images.files:
                add_file(match)
        else:
            _refuse(path, passed)
    if out is not None:
        return list(found.values())
    # Where results lie beside photographs, the same command again must not colour them anew.
    names = {path.with_suffix("") for path, _ in found.values()}
    photographs = []
    for path, target in found.values():
        if _source_of(path.with_suffix("")) in names:
            passed.add(EARLIER, str(path))
        else:
            photographs.append((path, target))
    return photographs


def _source_of(name: Path) -> Path | None:
    """What a result is named after that lies beside it; None for another name."""
    for ending in (COLOURED, SHEET):
        source = name.name.removesuffix(ending)
        if source and source != name.name:
            return name.with_name(source)
    return None


def _is_result(folder: Path) -> bool:
    """Whether a folder holds the results of another beside it."""
    source = _source_of(folder)
    return source is not None and source.is_dir()


def beside_folder(folder: str | Path, ending: str) -> Path:
    """The folder beside another that its results go to where none is named: `scans-colour`.

    Raises:
        InputError: the folder has no name, as `/`.
    """
    named = Path(folder)
    if named.name in ("", ".."):
        named = Path(os.path.abspath(named))  # noqa: PTH100 (keeps links)
    if not named.name:
        raise InputError(f"{folder} has nothing beside it to write to; type -o and a folder")
    return named.with_name(longest_name(named.name, ending))


def _matches(pattern: Path) -> list[str] | None:
    """What a pattern matches, sorted; None where it is none.

    The folders that it begins with may have brackets in their names.
    """
    if os.path.lexists(pattern) or not glob.has_magic(str(pattern)):
        return None
    folder = pattern
    while not os.path.lexists(folder):
        folder = folder.parent
    start = "" if folder == Path() else glob.escape(str(folder))
    rest = pattern.relative_to(folder)
    matched = sorted(glob.glob(os.path.join(start, rest), recursive=True))  # noqa: PTH118, PTH207
    # With ** the folders are there for what is in them.
    return [m for m in matched if not os.path.isdir(m)] if "**" in rest.parts else matched  # noqa: PTH112


def _refuse(path: Path, passed: PassedOver) -> None:
    """Takes note of an input that is there and cannot be read, as `scans/*` brings them.

    Raises:
        InputError: it is not there.
    """
    try:
        path.lstat()
        path.stat()
        reason = "a pipe, socket or device"
    except OSError as error:
        if not os.path.lexists(path) and error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise InputError(f"{path}: there is no such file or folder") from None
        reason = error.strerror or str(error)
    passed.add(UNREADABLE, str(path), reason)


def _single_file(
    inputs: Sequence[str | Path], out: str | Path, chosen: Format | None
) -> Path | None:
    """The output file where `out` names one; None where it is a folder."""
    path = Path(out)
    lone = len(inputs) == 1 and os.path.isfile(inputs[0])  # noqa: PTH113
    if path.is_dir() or str(out).endswith(os.sep):
        return None
    if not lone:
        if path.exists():
            raise InputError(f"{out} is a file; several photographs need a folder: type another -o")
        return None
    if not path.suffix and not path.exists():
        return None
    form = find_format(path.suffix) if path.suffix else None
    if form is None:
        raise OptionError(
            f"{out}: this format is not written; {_written()}. For a folder type -o {out}{os.sep}"
        )
    if chosen is not None and form is not chosen:
        raise OptionError(f"--format {chosen.suffixes[0][1:]} and -o {out} do not agree")
    return path


def _check_targets(jobs: Sequence[Job], overwrite: bool) -> None:
    makers: dict[tuple[str, str], Path] = {}
    folders: dict[Path, str] = {}
    for job in jobs:
        # By way of links two folders may be one.
        if job.target.parent not in folders:
            folders[job.target.parent] = os.path.realpath(job.target.parent)
        place = (folders[job.target.parent], job.target.name)
        other = makers.setdefault(place, job.source)
        if other is not job.source:
            raise InputError(
                f"{other} and {job.source} would both become {job.target}; give the folder "
                "above them instead of files, which keeps its tree, or colour them one after "
                "the other into two folders"
            )
    existing = check_inputs_are_safe(jobs)
    for target in existing:
        if target.is_dir():
            raise InputError(f"{target} is a folder, where a file would be written")
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise InputError(
            f"{existing[0]}{more} exist{'' if more else 's'} already; "
            "type --overwrite, or another -o"
        )


def check_inputs_are_safe(jobs: Sequence[Job]) -> list[Path]:
    """The targets that exist; none of them is an input, by whatever name.

    Raises:
        InputError: one of them is.
    """
    existing = [job.target for job in jobs if os.path.exists(job.target)]  # noqa: PTH110
    if not existing:
        return []
    sources = {_identity(job.source): job.source for job in jobs if job.source.exists()}
    for target in existing:
        source = sources.get(_identity(target))
        if source is not None:
            raise InputError(
                f"{target} is the input {source} itself, which is never overwritten; "
                "type another -o"
            )
    return existing


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
