"""The field's test sets, read from the official folder or archive: nothing to train on.

Papers score every file of a split, prepared in one of three ways. Names are generated, or read
from a list, and all of them must be there before anything is decoded.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from os import cpu_count, walk
from pathlib import Path, PurePosixPath
from typing import ClassVar

from zoo.arrays import UInt8Array
from zoo.data.dataset import Dataset, DatasetInfo, ImageSet, Progress, Split
from zoo.data.tiles import cached_tiles, key_of, scan_files, why_no_tile
from zoo.errors import DataError, InputError
from zoo.images.open import (
    PIL_BILINEAR,
    PLAIN_BILINEAR,
    SQUARE_CROP,
    SQUASHED,
    prepared_tile,
    read_image,
    to_rgb,
)

_AT_ONCE = 64
_THREADS = min(8, cpu_count() or 1)
_NAMED = 3
_LARGEST_FILE = 1 << 28  # bytes of one image in an archive


@dataclass(frozen=True)
class FieldSplit:
    """A split of the field.

    Attributes:
        count: how many files it has.
        crop: as `DatasetInfo.crop` says it.
        resize: as `DatasetInfo.resize` says it.
        names: its files, in order; None where a list must be brought.
    """

    count: int
    crop: str
    resize: str
    names: Callable[[], list[str]] | None


def _numbered(pattern: str, count: int) -> Callable[[], list[str]]:
    return lambda: [pattern % number for number in range(1, count + 1)]


class EvaluationSet(Dataset):
    """A test set of the field, from the folder or archive that its makers give out.

    The argument is `PATH[,split=NAME][,list=FILE]`. In a folder, files are looked for in all
    folders below it; links to files are followed. A split that is a set of numbered files, such
    as COCO's, is complete when the number of files of the right form is right.
    """

    splits: ClassVar[Mapping[str, FieldSplit]]
    """The splits by name, the usual one first."""

    pattern: ClassVar[str]
    """The form of a file's name, as a regular expression."""

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        path, options = _read_options(self.info.name, argument)
        self.path = Path(path).expanduser()
        usual = next(iter(self.splits))
        if "list" in options:
            usual = next((n for n, each in self.splits.items() if each.names is None), usual)
        self.split = options.get("split", usual)
        if self.split not in self.splits:
            raise DataError(
                f"{self.info.name} has no split {self.split!r}; "
                f"type split={' or split='.join(self.splits)}"
            )
        chosen = self.splits[self.split]
        if (chosen.names is None) != ("list" in options):
            wanted = (
                "needs its list of files: add ,list=FILE"
                if chosen.names is None
                else ("has no list of files: leave list= out")
            )
            raise DataError(f"split={self.split} of {self.info.name} {wanted}")
        if not self.path.exists():
            raise DataError(f"{self.info.name}: {str(self.path)!r} does not exist")
        self._there = _find(self.path, re.compile(self.pattern))
        if chosen.names is not None:
            self.files = chosen.names()
        else:
            self.files = self._read_list(Path(options["list"]).expanduser(), chosen.count)
        if not self.files:  # all files of the right form
            self.files = sorted(self._there)
        self._check(chosen.count)

    @property
    def facts(self) -> DatasetInfo:
        """The crop and the kernel of the split."""
        chosen = self.splits[self.split]
        return replace(self.info, crop=chosen.crop, resize=chosen.resize)

    def _check(self, count: int) -> None:
        missing = [name for name in self.files if name not in self._there]
        if missing or len(self.files) != count:
            found = len(self.files) - len(missing)
            named = f": without {_few(missing)}" if missing else ""
            raise DataError(
                f"{self.info.name}: {self.path} holds {found:,} of the {count:,} files of "
                f"split={self.split}{named}"
            )

    def _read_list(self, file: Path, count: int) -> list[str]:
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the list {file}: {error}") from error
        # A line may have folders in front, and a class behind.
        names = [PurePosixPath(line.split()[0]).name for line in lines if line.strip()]
        wrong = [name for name in names if not re.fullmatch(self.pattern, name)]
        twice = len(names) - len(set(names))
        if wrong:
            raise DataError(
                f"the list {file} is not of {self.info.name}: {_few(wrong)} is no such file"
            )
        if len(names) != count or twice:
            again = f", {twice:,} of them twice" if twice else ""
            raise DataError(
                f"the list {file} names {len(names):,} files{again}; "
                f"split={self.split} has {count:,} different ones"
            )
        return names

    def _load(self, split: Split, size: int, progress: Progress | None) -> ImageSet:
        """The whole split, grey images included; ids are the files' names."""
        if split == "train":
            raise DataError(
                f"dataset {self.info.name!r} is for evaluation only: it has no training images; "
                "score trained weights with --budget none, or name another --dataset"
            )
        chosen = self.splits[self.split]
        content: object
        if self.path.is_dir():
            files = [Path(self._there[name]) for name in self.files]
            content, known = key_of(scan_files(files, progress))
        else:
            status = self.path.stat()
            content = [str(self.path.resolve()), status.st_size, status.st_mtime_ns]
            known = True

        def make() -> Iterator[UInt8Array | str]:
            tile = partial(_tile, side=size, crop=chosen.crop, kernel=chosen.resize)
            with self._opened() as place, ThreadPoolExecutor(_THREADS) as pool:
                for start in range(0, len(self.files), _AT_ONCE):
                    some = [place(name) for name in self.files[start : start + _AT_ONCE]]
                    yield from pool.map(tile, some)

        key = ["evaluation", self.info.name, self.split, chosen.crop, chosen.resize, content]
        if not self.path.is_dir():
            key.append(list(self.files))
        tiles = cached_tiles(key, size, make, len(self.files), progress, keep_grey=True, keep=known)
        if tiles.skipped:
            position, reason = tiles.skipped[0]
            raise DataError(
                f"{self.info.name}: {len(tiles.skipped):,} of {len(self.files):,} files of "
                f"split={self.split} cannot be read, such as {self.files[position]} ({reason})"
            )
        return ImageSet(tiles.images, list(self.files), grey_left_out=True)

    @contextmanager
    def _opened(self) -> Iterator[Callable[[str], Path]]:
        """What gives the path of a file by its name, out of an archive one block at a time."""
        if self.path.is_dir():
            yield lambda name: Path(self._there[name])
            return
        with _archive(self.path) as (_, read), tempfile.TemporaryDirectory() as scratch:
            written: deque[Path] = deque()

            def place(name: str) -> Path:
                if len(written) == _AT_ONCE:  # the block before has been read
                    written.popleft().unlink()
                written.append(Path(scratch) / name)
                written[-1].write_bytes(read(self._there[name]))
                return written[-1]

            yield place


def _tile(file: Path, *, side: int, crop: str, kernel: str) -> UInt8Array | str:
    try:
        return prepared_tile(to_rgb(read_image(file)), side, crop, kernel)
    except InputError as error:
        return why_no_tile(file, error)


def _read_options(dataset: str, argument: str) -> tuple[str, dict[str, str]]:
    """The path, and the options behind it; a comma in the path stays."""
    options: dict[str, str] = {}
    while match := re.search(r",(split|list)=([^,]*)$", argument):
        if match[1] in options:
            raise DataError(f"dataset {dataset!r} is given {match[1]}= twice; leave one out")
        options[match[1]] = match[2]
        argument = argument[: match.start()]
    return argument, options


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _find(path: Path, pattern: re.Pattern[str]) -> dict[str, str]:
    """Where each file of the right form is, by its name: its path, or its name in the archive."""
    if path.is_dir():
        places = [f"{folder}/{name}" for folder, _, names in walk(path) for name in names]
    else:
        with _archive(path) as (members, _):
            places = members
    found: dict[str, str] = {}
    for place in places:
        name = place.rpartition("/")[2]
        if pattern.fullmatch(name):
            if name in found:
                raise DataError(f"{path} holds {name} twice: {found[name]} and {place}")
            found[name] = place
    return found


@contextmanager
def _archive(path: Path) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """An archive's members, and what reads one."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                yield [m.filename for m in packed.infolist()], packed.read
        else:
            with tarfile.open(path, "r:") as tar:
                members = {m.name: m for m in tar if m.isfile()}

                def read(name: str) -> bytes:
                    file = tar.extractfile(members[name])
                    assert file is not None
                    return file.read(_LARGEST_FILE)

                yield list(members), read
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} is neither a folder nor a whole tar or zip file ({error}); "
            "name the official folder or archive"
        ) from error


_info = partial(
    DatasetInfo,
    native_size=256,
    argument="PATH",
    crop=SQUASHED,
    resize=PLAIN_BILINEAR,
    grey_chroma=-1.0,
)
_IMAGENET = "ILSVRC2012_val_%08d.JPEG"


class ImageNetVal(EvaluationSet):
    """The validation images of ILSVRC2012: `ILSVRC2012_img_val.tar`, or its files in folders."""

    info = _info(
        name="imagenet_val",
        title="ImageNet validation, in the splits of papers (evaluation only)",
        license="non-commercial research; the images belong to their authors",
        source="ILSVRC2012_img_val.tar, or a folder with its files",
    )
    pattern = r"ILSVRC2012_val_\d{8}\.JPEG"
    splits: ClassVar = {
        "val50k": FieldSplit(50_000, SQUASHED, PLAIN_BILINEAR, _numbered(_IMAGENET, 50_000)),
        "val5k": FieldSplit(5_000, SQUARE_CROP, PIL_BILINEAR, _numbered(_IMAGENET, 5_000)),
        "ctest10k": FieldSplit(10_000, SQUASHED, PIL_BILINEAR, None),
    }


class COCOVal(EvaluationSet):
    """The validation images of COCO 2017: `val2017.zip`, or its folder."""

    info = _info(
        name="coco_val",
        title="COCO val2017 (evaluation only)",
        license="the images belong to their authors, under licenses of Flickr",
        source="val2017.zip, or a folder with its files",
    )
    pattern = r"\d{12}\.jpg"
    # COCO's numbers have gaps: every file of that form counts, and their number is checked.
    splits: ClassVar = {"coco_stuff": FieldSplit(5_000, SQUASHED, PLAIN_BILINEAR, list)}


class ADE20K(EvaluationSet):
    """The validation images of ADE20K: `ADEChallengeData2016.zip`, or its folder."""

    info = _info(
        name="ade20k",
        title="ADE20K validation (evaluation only)",
        license="BSD-3-Clause, for research; the images belong to their authors",
        source="ADEChallengeData2016.zip, or a folder with its files",
    )
    pattern = r"ADE_val_\d{8}\.jpg"
    splits: ClassVar = {
        "ade20k": FieldSplit(2_000, SQUASHED, PLAIN_BILINEAR, _numbered("ADE_val_%08d.jpg", 2_000))
    }
