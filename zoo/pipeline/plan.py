"""The plan of colouring files: what is made of which, and the settings."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.errors import InputError, OptionError, OutputError
from zoo.images.open import HEIC_SUFFIXES, IMAGE_SUFFIXES, find_images
from zoo.images.write import FORMATS, Format, find_format
from zoo.prediction.working_size import WorkingSize, check_working_size

MOST_SATURATION = 3.0


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
    out: str | Path,
    *,
    suffix: str | None = None,
    overwrite: bool = False,
) -> list[Job]:
    """The jobs for `inputs`, checked before any work is done.

    Args:
        inputs: files, folders (with all below them), and patterns such as `scans/**/*.tif`.
        out: a folder, in which the trees of the given folders are repeated; or, for one input
            file, the file to write, known by its suffix.
        suffix: the format to write, such as `png`; by default each file's own.
        overwrite: whether outputs may exist.

    Raises:
        InputError: nothing to do, an input that is not there, two inputs for one output, an
            output that is an input, or that exists.
        OptionError: a format that is not written.
    """
    chosen = None if suffix is None else find_format(suffix)
    if suffix is not None and chosen is None:
        raise OptionError(f"the format {suffix!r} is not written; {_written()}")
    found = _collect(inputs, Path(out))
    if not found:
        raise InputError(
            f"there are no images in {', '.join(map(str, inputs))}; "
            f"read are {' '.join(sorted({*IMAGE_SUFFIXES, *HEIC_SUFFIXES}))}"
        )
    file = _single_file(inputs, out, chosen)
    if file is not None:
        jobs = [Job(found[0][0], file)]
    else:
        jobs = []
        for source, relative in found:
            target = Path(out) / relative
            if chosen is not None and target.suffix.lower() not in chosen.suffixes:
                target = target.with_suffix(f".{(suffix or '').lower().removeprefix('.')}")
            jobs.append(Job(source, target))
    _check_targets(jobs, overwrite)
    return jobs


def _written() -> str:
    return "written are " + ", ".join(s[1:] for form in FORMATS.values() for s in form.suffixes)


def _collect(inputs: Sequence[str | Path], out: Path) -> list[tuple[Path, Path]]:
    """Every input file once, with its place below the output folder."""
    suffixes = (*IMAGE_SUFFIXES, *HEIC_SUFFIXES)
    found: dict[str, tuple[Path, Path]] = {}
    results = os.path.realpath(out)

    def add(path: Path, relative: Path) -> None:
        found.setdefault(os.path.abspath(path), (path, relative))  # noqa: PTH100 (keeps links)

    def add_folder(folder: Path) -> None:
        # Earlier results in a folder below are not photographs to colour.
        inside = results.startswith(os.path.realpath(folder) + os.sep)
        for path in find_images(folder, suffixes):
            if not (inside and os.path.realpath(path).startswith(results + os.sep)):
                add(path, path.relative_to(folder))

    for given in inputs:
        path = Path(given)
        if path.is_dir():
            add_folder(path)
        elif path.exists() or not glob.has_magic(str(given)):
            if not path.exists():
                raise InputError(f"{given}: there is no such file or folder")
            add(path, Path(path.name))
        else:
            for match in sorted(glob.glob(str(given), recursive=True)):  # noqa: PTH207
                matched = Path(match)
                if matched.is_file() and matched.name.lower().endswith(suffixes):
                    add(matched, Path(matched.name))
    return list(found.values())


def _single_file(
    inputs: Sequence[str | Path], out: str | Path, chosen: Format | None
) -> Path | None:
    """The output file where `out` names one; None where it is a folder."""
    path = Path(out)
    lone = len(inputs) == 1 and Path(inputs[0]).is_file()
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
    existing = [job.target for job in jobs if job.target.exists()]
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


def check_folders_are_writable(targets: Iterable[Path]) -> None:
    """Tries to write where the folders of these files are, or will be.

    Raises:
        OutputError: nothing can be written there.
    """
    places = set()
    for folder in {target.parent for target in targets}:
        place = folder
        while not os.path.lexists(place):
            place = place.parent
        places.add(place)
    for place in sorted(places):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise OutputError(
                f"nothing can be written to {place}: {error.strerror}; type another -o"
            ) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
