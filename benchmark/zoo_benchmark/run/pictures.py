"""Sets of pictures that are kept: the file of one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from zoo.data.dataset import ImageSet
from zoo.errors import InputError
from zoo.files import atomic_path
from zoo.text import one_line

_MOST_BYTES = 2 << 30


def write_pictures(path: Path, pictures: ImageSet) -> None:
    """Writes images with their ids, atomically; `read_pictures` reads them."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, images=pictures.images, ids=np.array(pictures.ids, dtype=str))


def read_pictures(path: Path) -> ImageSet | None:
    """What `write_pictures` wrote; None where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    if flaw := pictures_flaw(path):
        raise InputError(f"{path} {flaw}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return ImageSet(stored["images"], [str(i) for i in stored["ids"]])
    # Whatever the readers behind np.load raise, it means the same to the user.
    except Exception as error:
        raise InputError(f"{path} {_reason(error)}") from error


def pictures_flaw(path: Path, like: ImageSet | None = None) -> str:
    """The flaw of a file of pictures by what it declares, as a clause; empty where there is none.

    Args:
        path: the file; one that is not there has no flaw.
        like: pictures of which it must hold as many, as large, with the same ids.
    """
    if not path.is_file():
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
                return f"declares more than {_MOST_BYTES >> 30} GiB"
            with archive.open("images.npy") as member:
                np.lib.format.read_magic(member)
                shape, _, kind = np.lib.format.read_array_header_1_0(member)
        with np.load(path, allow_pickle=False) as stored:
            ids = stored["ids"]
    except Exception as error:
        return _reason(error)
    square = len(shape) == 4 and shape[1] == shape[2] > 0 and shape[3] == 3
    if not square or kind != np.uint8 or ids.ndim != 1 or not 0 < len(ids) == shape[0]:
        return f"holds no pictures with their ids: {kind} of shape {shape}"
    if like is not None and (shape != like.images.shape or [str(i) for i in ids] != like.ids):
        return "holds other pictures than the run keeps"
    return ""


def _reason(error: Exception) -> str:
    return f"cannot be read: {one_line(str(error))[:200] or type(error).__name__}"
