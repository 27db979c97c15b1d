"""The colorizer that is used where none is named, and `zoo.colorize`, which needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from zoo.registry import load

if TYPE_CHECKING:
    from PIL import Image

    from zoo.arrays import UInt8Array
    from zoo.colorizer import Colorizer
    from zoo.prediction.working_size import WorkingSize


@overload
def colorize(
    images: str | Path | Image.Image, working_size: WorkingSize = "auto"
) -> Image.Image: ...
@overload
def colorize(images: UInt8Array, working_size: WorkingSize = "auto") -> UInt8Array: ...
@overload
def colorize(
    images: Sequence[UInt8Array | Image.Image], working_size: WorkingSize = "auto"
) -> list[UInt8Array | Image.Image]: ...
def colorize(images: Any, working_size: WorkingSize = "auto") -> Any:
    """Colours a black-and-white photograph with the weights that came along with the zoo.

    The network is loaded once per process, onto the fastest device here.

    Args:
        images: the path of a file; or what `Colorizer.predict` takes: a PIL image, an H×W or
            N×H×W uint8 array, or a list. A photograph in colour is taken as its lightness.
        working_size: what the network sees, in pixels of the short side; see
            `Colorizer.predict`.

    Returns:
        A PIL image for a path; otherwise the container that was given, as 8-bit RGB. PIL images
        are upright.

    Raises:
        InputError: no such file, no photograph, or the wrong kind, dtype or shape of images.
        WeightsError: the weights are missing from this installation, or damaged.
    """
    if isinstance(images, str | Path):
        from zoo.images.open import read_image

        images = read_image(Path(images).expanduser())
    return _default_colorizer().predict(images, working_size)


@cache
def _default_colorizer() -> Colorizer:
    from zoo.weights.published import DEFAULT

    return load(DEFAULT)
