"""Sets of pictures that are kept: the file of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.dataset import ImageSet
from zoo.files import atomic_path


def write_pictures(path: Path, pictures: ImageSet) -> None:
    """Writes images with their ids, atomically; `read_pictures` reads them."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, images=pictures.images, ids=np.array(pictures.ids, dtype=str))


def read_pictures(path: Path) -> ImageSet | None:
    """What `write_pictures` wrote; None where there is no such file."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return ImageSet(stored["images"], [str(i) for i in stored["ids"]])
