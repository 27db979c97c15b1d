"""Finding the photographs in folders, and saying what was passed over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from zoo.images import kinds
from zoo.images.open import IMAGE_SUFFIXES

# How files begin that are photographs whatever they are called.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")

UNLISTED, UNREADABLE = "unlisted", "unreadable"
LINK, HIDDEN, SPECIAL, OTHER = "link", "hidden", "special", "other"
RESULT, EARLIER, FOLDER, NO_MATCH = "result", "earlier", "folder", "no match"
_WORDS = {
    UNLISTED: ("folder that cannot be listed", "folders that cannot be listed"),
    UNREADABLE: ("entry that cannot be read", "entries that cannot be read"),
    LINK: ("symbolic link", "symbolic links"),
    HIDDEN: ("hidden file or folder", "hidden files and folders"),
    SPECIAL: ("pipe, socket or device", "pipes, sockets and devices"),
    OTHER: ("file of a kind that is not read", "files of kinds that are not read"),
    RESULT: ("file in the output folder", "files in the output folder"),
    EARLIER: ("earlier result beside its photograph", "earlier results beside their photographs"),
    FOLDER: ("folder that a pattern matches", "folders that a pattern matches"),
    NO_MATCH: ("pattern that matches nothing", "patterns that match nothing"),
}


@dataclass
class PassedOver:
    """What was passed over in a search for photographs: a number and an example of each kind.

    Attributes:
        failed: folders and entries that the system refused to show, with its reason.
    """

    failed: list[str] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, path: str, reason: str = "") -> None:
        """Takes note of a path."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        example = f"{path}: {reason}" if reason else path
        # The first in the order of the alphabet: the system's own order says nothing.
        self._examples[kind] = min(example, self._examples.get(kind, example))
        if reason:
            self.failed.append(example)

    def merge(self, other: PassedOver) -> None:
        """Adds what was passed over in another search."""
        self.failed += other.failed
        for kind, count in other._counts.items():
            example = other._examples[kind]
            self._counts[kind] = self._counts.get(kind, 0) + count
            self._examples[kind] = min(example, self._examples.get(kind, example))

    def line(self) -> str:
        """One line for people: `passed over: 2 symbolic links (such as scans/a.jpg)`; or empty."""
        parts = []
        for kind, (one, many) in _WORDS.items():
            if count := self._counts.get(kind):
                words = f"1 {one} (" if count == 1 else f"{count:,} {many} (such as "
                parts.append(f"{words}{self._examples[kind]})")
        return f"passed over: {', '.join(parts)}" if parts else ""


@dataclass
class Found:
    """The photographs found, and what was passed over.

    Attributes:
        files: sorted by their paths relative to the folder.
        passed_over: all else.
    """

    files: list[Path]
    passed_over: PassedOver


def find_images(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Found:
    """All image files in `folder` and below, by suffix or else by how they begin.

    Hidden files and folders are passed over, and so are symbolic links below `folder`: they may
    lead outside, in circles, or to a picture that is already counted. Nothing that cannot be
    read ends the search.
    """
    found: list[str] = []
    passed = PassedOver()
    unlisted = [os.fspath(folder)]
    while unlisted:
        parent = unlisted.pop()
        try:
            # Entries know what they are: a call for each of 100,000 files would take a second.
            with os.scandir(parent) as entries:
                for entry in entries:
                    _look_at(entry, suffixes, found, unlisted, passed)
        except OSError as error:
            passed.add(UNLISTED, parent, error.strerror or str(error))
    # By parts, so that the order does not depend on the separator: NUL is in no name.
    files = [Path(path) for path in sorted(found, key=lambda path: path.replace(os.sep, "\0"))]
    return Found(files, passed)


def choose_images(paths: Iterable[str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Found:
    """Those of the paths that are image files; links among them are followed."""
    files: list[Path] = []
    passed = PassedOver()
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 (a link to nothing, or in a circle)
            passed.add(LINK, path)
        elif os.path.isfile(path):  # noqa: PTH113
            if is_image(path, suffixes):
                files.append(Path(path))
            else:
                passed.add(OTHER, path)
        else:
            passed.add(FOLDER if os.path.isdir(path) else SPECIAL, path)  # noqa: PTH112
    return Found(files, passed)


def is_image(path: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether a regular file is one to read: by its suffix, or else by how it begins."""
    name = os.path.basename(path)  # noqa: PTH119 (there may be 100,000 of them)
    if name.lower().endswith(suffixes):
        return True
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            start = file.read(16)
    except OSError:
        return False
    if start.startswith(b"RIFF"):
        return start[8:12] == b"WEBP"
    if start.startswith(b"BM"):
        return len(start) == 16 and start[6:10] == b"\0\0\0\0"
    # Cameras' raw files begin like TIFFs, too, and are none to read: a name with a suffix decides.
    has_suffix = "." in name.strip(".")
    return start.startswith(_BEGINNINGS) or (not has_suffix and start.startswith(kinds.TIFF))


def _look_at(
    entry: os.DirEntry[str],
    suffixes: tuple[str, ...],
    found: list[str],
    unlisted: list[str],
    passed: PassedOver,
) -> None:
    try:
        if entry.name.startswith("."):
            passed.add(HIDDEN, entry.path)
        elif entry.is_symlink():
            passed.add(LINK, entry.path)
        elif entry.is_dir():
            unlisted.append(entry.path)
        elif not entry.is_file():
            passed.add(SPECIAL, entry.path)
        elif is_image(entry.path, suffixes):
            found.append(entry.path)
        else:
            passed.add(OTHER, entry.path)
    except OSError as error:
        passed.add(UNREADABLE, entry.path, error.strerror or str(error))
