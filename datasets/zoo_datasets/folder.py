"""Any tree of image files as a dataset: `folder:PATH`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

from zoo.data.dataset import Dataset, DatasetInfo, ImageSet, Progress, Split
from zoo.data.tiles import FileFacts, file_tiles, scan_files
from zoo.errors import DataError, InputError
from zoo.images.find import find_images
from zoo.images.open import IMAGE_SUFFIXES, RESIZE_KERNEL, SQUARE_CROP, read_size

TEST_SHARE = 0.1
"""The share of an undivided folder's files that go to the test split."""

SMALL_FOLDER = 100
"""The size below which an undivided folder gets at least one colour image on each side."""


class Folder(Dataset):
    """The images below a folder, divided as its subfolders say or by their content.

    With `train/` and `test/` (or `val/`) in the folder, these are the splits; files beside them
    do not count, and `val/` does not either where there is a `test/`. A `test/` or `val/` alone
    will do where nothing is trained. Any other folder, one with a `train/` alone included, is
    divided by the hash of each file's content: a tenth goes to the test split, at least one
    image. The division stays when files are renamed or added, and identical files land on the
    same side.

    Files that cannot be read are skipped and named; images that are grey already are left out
    of both splits and named. Images smaller than the tiles are enlarged. What else lies in the
    folder is passed over, and counted with the training split.
    """

    info = DatasetInfo(
        name="folder",
        title="A folder of your own images",
        license="yours to know",
        source="a folder on this machine",
        native_size=64,
        argument="PATH",
        crop=SQUARE_CROP,
        resize=RESIZE_KERNEL,
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.root = root = Path(argument).expanduser()
        if not root.exists():
            raise DataError(f"folder {str(root)!r} does not exist")
        if not root.is_dir():
            raise DataError(f"{str(root)!r} is a file, not a folder; name the folder it lies in")
        train = root / "train"
        tests = [root / name for name in ("test", "val") if (root / name).is_dir()]
        self.splits: dict[Split, list[Path]] | None = None
        self._passed_over: dict[Split, str] = {}
        if tests and train.is_dir():
            self.splits = {
                "train": self._images(train, "train"),
                "test": self._images(tests[0], "test"),
            }
            self.files = self.splits["train"] + self.splits["test"]
        elif tests:
            # Enough where nothing is trained.
            self.splits = {"test": self._images(tests[0], "test")}
            self.files = self.splits["test"]
        else:
            self.files = self._images(root, "train")
        for files in self.splits.values() if self.splits else [self.files]:
            _require_readable(files)
        self._contents: list[FileFacts] | None = None

    def _load(self, split: Split, size: int, progress: Progress | None) -> ImageSet:
        """Tiles of one split; ids are the paths relative to the folder.

        Every tile is the centre square of its image, reduced. Test tiles have `size`; training
        tiles are larger by an eighth, unless an image of the split is too small for that.
        """
        facts = None
        if self.splits and split not in self.splits:
            alone = self.files[0].relative_to(self.root).parts[0]
            raise DataError(
                f"folder {str(self.root)!r} has a {alone}/ but no train/ beside it; add one, or "
                f"type --dataset folder:{self.root / alone} to divide that folder itself"
            )
        if self.splits:
            files = self.splits[split]
        else:
            contents = self._look_into_all(progress)
            test = self._test_contents(contents, size, progress)
            # What cannot be opened at all is named with the training split.
            inside = [(fact.sha256 in test) == (split == "test") for fact in contents]
            files, facts = list(compress(self.files, inside)), list(compress(contents, inside))
        images = tiles_of_files(self.root, files, split, size, progress, facts)
        if not len(images):
            hint = "" if self.splits else "; to be divided, it needs at least two images in colour"
            raise DataError(
                f"folder {str(self.root)!r} has no colour images for the {split} split: of its "
                f"{len(files)} files {len(images.grey)} are grey already and "
                f"{len(images.skipped)} cannot be read{hint}"
            )
        return replace(images, passed_over=self._passed_over.get(split, ""))

    def _images(self, folder: Path, split: Split) -> list[Path]:
        found = find_images(folder)
        self._passed_over[split] = found.passed_over.line()
        if not found.files:
            told = f"; {found.passed_over.line()}" if found.passed_over.line() else ""
            raise DataError(
                f"folder {str(folder)!r} holds no images ({' '.join(IMAGE_SUFFIXES)}); "
                f"hidden files and symbolic links in it are not followed{told}"
            )
        return found.files

    def _look_into_all(self, progress: Progress | None) -> list[FileFacts]:
        # Once, for both splits.
        if self._contents is None:
            self._contents = scan_files(self.files, progress)
        return self._contents

    def _test_contents(
        self, contents: Sequence[FileFacts], size: int, progress: Progress | None
    ) -> set[str]:
        """The hashes of the files that go to the test split."""
        known = sorted({fact.sha256 for fact in contents if fact.short_side})
        test = {sha256 for sha256 in known if is_test(sha256)}
        usable = known
        if len(known) < SMALL_FOLDER:
            # Here chance may leave one side with nothing, or with grey images only.
            kept = file_tiles(self.files, size, progress, contents).kept
            usable = sorted({contents[position].sha256 for position in kept})
        testable = [sha256 for sha256 in usable if sha256 in test]
        if not testable:
            test.update(usable[:1])
        elif len(testable) == len(usable) > 1:
            test.remove(usable[-1])
        return test


def tiles_of_files(
    root: Path,
    files: Sequence[Path],
    split: Split,
    size: int,
    progress: Progress | None = None,
    facts: Sequence[FileFacts] | None = None,
) -> ImageSet:
    """Files below `root` as an image set, from the cache of decoded images.

    `facts` is what `scan_files` says of the files, if it has been asked.
    """
    facts = scan_files(files, progress) if facts is None else facts
    room = size + size // 8
    has_room = all(fact.short_side >= room for fact in facts if fact.short_side)
    side = room if split == "train" and has_room else size
    # As text: of 100,000 paths, pathlib would take seconds.
    above = f"{root.as_posix().rstrip('/')}/"
    names = [file.as_posix().removeprefix(above) for file in files]
    tiles = file_tiles(files, side, progress, facts)
    return ImageSet(
        tiles.images,
        [names[position] for position in tiles.kept],
        skipped=[(names[position], reason) for position, reason in tiles.skipped],
        grey=[names[position] for position in tiles.grey],
        grey_left_out=True,
    )


def _require_readable(files: Sequence[Path]) -> None:
    """Checks that one header can be read, which is enough; anything else is left to `open`."""
    first = None
    for file in files:
        try:
            read_size(file)
            return
        except InputError as error:
            first = first or error
    raise DataError(f"none of {len(files)} image files can be read; the first: {first}")


def is_test(sha256: str) -> bool:
    """Whether what has this hash goes to the test split: so does a tenth of all hashes."""
    return int(sha256[:8], 16) / 2**32 < TEST_SHARE
