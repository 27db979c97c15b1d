"""Conversion of what users have (arrays, PIL images, lists, datasets) to arrays, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from zoo.arrays import UInt8Array
from zoo.data.dataset import Dataset, ImageSet
from zoo.errors import InputError
from zoo.images.open import square_tile, to_rgb, upright
from zoo.images.photograph import Plane, lightness_plane

# Training crops that the user gives no size for are at most this large.
_LARGEST_DEFAULT_CROP = 256


@dataclass(frozen=True)
class TrainingSet:
    """The images that a colorizer is trained on.

    Attributes:
        images: square tiles, with the manifest's ids, source and license.
        size: side in pixels of the crops that are taken from them.
    """

    images: ImageSet
    size: int


def training_set(
    data: Any, size: int | None, multiple: int, minimum: int = 1, stored_size: int | None = None
) -> TrainingSet:
    """The training set, square, and the side of the crops taken from it.

    Args:
        data: as `Colorizer.fit` takes it.
        size: the wanted crop; where None a dataset's own size, or the images' short side, at
            most 256, rounded down to `multiple`.
        multiple: what the network wants sides to be a multiple of.
        minimum: the smallest side that it takes; smaller images are enlarged to it.
        stored_size: the least side to keep images at, for crops that are made smaller later;
            where None that of the crops.

    Raises:
        InputError: no images, a wrong dtype or shape, or a size that the network cannot take.
    """
    smallest = check_size(size, multiple, minimum)
    if isinstance(data, Dataset):
        if size is None:
            # Not by the tiles that come, which are larger, and whose margin is for random crops.
            size = _crop_within(data.info.native_size, multiple, smallest)
        data = data.open("train", stored_size or size)
    given = data if isinstance(data, ImageSet) else None
    if given is not None:
        data = given.images
    if isinstance(data, np.ndarray) and data.ndim == 4:
        _check_colour(data, "data", ndim=4)
        images: UInt8Array | list[UInt8Array] = data
    elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
        images = [_colour_array(image, f"data[{i}]") for i, image in enumerate(data)]
    else:
        raise InputError(
            "fit takes N×H×W×3 uint8, a list of H×W×3 uint8 arrays or PIL images, or a dataset; "
            f"got {_describe(data)}"
        )
    if len(images) == 0:
        raise InputError("fit was given no images; give at least one")

    shortest = min(min(image.shape[:2]) for image in images)
    if size is None:
        size = _crop_within(min(shortest, _LARGEST_DEFAULT_CROP), multiple, smallest)
    stored = stored_size or size
    if isinstance(images, np.ndarray) and images.shape[1] == images.shape[2] >= stored:
        tiles = images  # squares of one size are tiles already
    else:
        # An eighth of margin gives room for random crops, where every image has that much.
        side = stored + stored // 8 if shortest >= stored + stored // 8 else stored
        tiles = np.stack([square_tile(image, side) for image in images])
    if given is None:
        return TrainingSet(ImageSet(tiles, [str(i) for i in range(len(tiles))]), size)
    return TrainingSet(given if tiles is given.images else replace(given, images=tiles), size)


def check_size(size: int | None, multiple: int, minimum: int) -> int:
    """The smallest training crop that a network takes; `size` must be one that it takes.

    Raises:
        InputError: it is not.
    """
    smallest = -(-max(minimum, 1) // multiple) * multiple
    if size is not None and (size < smallest or size % multiple):
        raise InputError(
            f"training crops of {size} px do not suit the network; give a multiple of {multiple} "
            f"from {smallest} on, such as {_crop_within(size, multiple, smallest)}"
        )
    return smallest


def _crop_within(side: int, multiple: int, smallest: int) -> int:
    """The largest crop that a network takes out of a side, or the smallest that it takes."""
    return max(smallest, side // multiple * multiple)


def open_greys(images: Any) -> tuple[list[Plane], Callable[[list[UInt8Array]], Any]]:
    """Grey planes H×W out of what `predict` was given, and how to pack the results.

    Raises:
        InputError: a wrong kind, dtype or shape.
    """
    if isinstance(images, Image.Image):
        return [_grey(images, "images")], lambda colours: Image.fromarray(colours[0])
    if isinstance(images, np.ndarray) and images.ndim == 3:
        if images.shape[2] == 3:
            raise InputError(
                f"predict takes grey images; {_describe(images)} looks like one in colour. "
                "Give H×W, or Image.fromarray(array), which is taken as its lightness"
            )
        _check_uint8(images, "images")
        if len(images) == 0:
            return [], lambda _: np.zeros((*images.shape, 3), np.uint8)
        return list(images), np.stack
    if isinstance(images, np.ndarray):
        return [_grey(images, "images")], lambda colours: colours[0]
    if isinstance(images, list | tuple):
        is_pil = [isinstance(image, Image.Image) for image in images]

        def pack(colours: list[UInt8Array]) -> list[UInt8Array | Image.Image]:
            return [
                Image.fromarray(colour) if pil else colour
                for colour, pil in zip(colours, is_pil, strict=True)
            ]

        return [_grey(image, f"images[{i}]") for i, image in enumerate(images)], pack
    raise InputError(
        "predict takes a PIL image, an H×W or N×H×W uint8 array, or a list of those; "
        f"got {_describe(images)}"
    )


def _colour_array(image: Any, where: str) -> UInt8Array:
    if isinstance(image, Image.Image):
        return to_rgb(upright(image))
    if not isinstance(image, np.ndarray):
        raise InputError(f"{where} must be a PIL image or an array, got {_describe(image)}")
    return _check_colour(image, where, ndim=3)


def _check_colour(array: UInt8Array, where: str, ndim: int) -> UInt8Array:
    layout = "N×H×W×3" if ndim == 4 else "H×W×3"
    if array.ndim != ndim or array.shape[-1] != 3:
        raise InputError(f"{where} must be {layout} uint8 in colour, got {_describe(array)}")
    return _check_uint8(array, where)


def _grey(image: Any, where: str) -> Plane:
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise InputError(f"{where} must not be empty, got {image.width}×{image.height} pixels")
        return lightness_plane(upright(image))
    if not isinstance(image, np.ndarray):
        raise InputError(f"{where} must be a PIL image or an array, got {_describe(image)}")
    if image.ndim != 2:
        raise InputError(f"{where} must be grey H×W uint8, got {_describe(image)}")
    return _check_uint8(image, where)


def _check_uint8(array: UInt8Array, where: str) -> UInt8Array:
    if array.dtype != np.uint8:
        raise InputError(
            f"{where} must be uint8 in 0 … 255, got {_describe(array)}; "
            "convert with skimage.util.img_as_ubyte"
        )
    if 0 in array.shape[-3 if array.shape[-1] == 3 else -2 :]:
        raise InputError(f"{where} must not be empty, got {_describe(array)}")
    return array


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__}"
