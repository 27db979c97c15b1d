"""Pillow's own limit of sizes, put aside: the one of `zoo.images.open` is told to users."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_changing = threading.Lock()


@contextmanager
def any_size() -> Iterator[None]:
    """A block in which Pillow takes images of any size, for one thread after the other."""
    # Its limit is global: it warns from 89 megapixels on and refuses 179.
    with _changing:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
