"""Checks of predictions: sizes, containers, units, and what must not change on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zoo.colorizer import Colorizer
from zoo.errors import InputError
from zoo.prediction.working_size import WorkingSize
from zoo.testing import images
from zoo.testing.kit import Finding, Skipped, attempt, check
from zoo.testing.subject import Subject
from zoo.weights.file import open_weights

# How far 8-bit colours of the same image may lie apart in batches of other sizes.
_ROUNDING = {"cpu": 1, "cuda": 4, "mps": 4}
# What `predict` is tried with: images at their own size, and seen much smaller by the network.
_WORKING_SIZES: tuple[WorkingSize, ...] = ("full", 12)
# Mean and largest distance between the predictions of two devices, in units of ab.
_DEVICES_MEAN, _DEVICES_LARGEST = 0.5, 5.0


@check
def sizes(subject: Subject) -> None:
    """Images of any size are coloured at their own size: odd, 1×1, larger than trained."""
    colorizer, side = subject.fitted, subject.side
    change = (
        "say in the class what sides the network takes (minimum_size, multiple): the zoo pads to "
        "that and crops back; and give ab of the same height and width as L."
    )
    for height, width in ((33, 47), (1, 1), (1, 40), (2 * side + 5, side + 9)):
        grey = np.ascontiguousarray(_photograph(height, width))
        try:
            colours = [colorizer.predict(grey), *_at_working_sizes(colorizer, grey)]
            ab = colorizer.predict_ab(torch.full((1, 1, height, width), 50.0))
        except Exception as error:
            raise Finding(f"an image of {height}×{width} px raised: {error}.", change) from error
        shapes = {colour.shape for colour in colours}
        if shapes != {(height, width, 3)} or tuple(ab.shape) != (1, 2, height, width):
            raise Finding(
                f"an image of {height}×{width} px came back as {', '.join(map(str, shapes))} by "
                f"predict and {tuple(ab.shape)} by predict_ab.",
                change,
            )
        if not torch.isfinite(ab).all():
            raise Finding(f"ab of an image of {height}×{width} px holds NaN.", change)


def _at_working_sizes(colorizer: Colorizer, given: Any) -> list[Any]:
    return [colorizer.predict(given, working_size=size) for size in _WORKING_SIZES]


def _photograph(height: int, width: int) -> Any:
    image = Image.fromarray(images.photograph("chelsea")[..., 1])
    return np.asarray(image.resize((max(width, 300), max(height, 300))))[:height, :width]


@check
def containers(subject: Subject) -> None:
    """Every container comes back: PIL image, H×W, N×H×W, and lists of mixed sizes in order."""
    colorizer, greys = subject.fitted, subject.greys
    change = "leave predict to Colorizer and write forward(L) alone."

    def look(what: str, given: Any, result: Any, shape: tuple[int, ...]) -> None:
        wanted = Image.Image if isinstance(given, Image.Image) else np.ndarray
        array = np.asarray(result)
        if not isinstance(result, wanted) or array.shape != shape or array.dtype != np.uint8:
            raise Finding(
                f"{what} came back as {type(result).__name__} of {array.shape} {array.dtype}, "
                f"not as {wanted.__name__} of {shape} uint8.",
                change,
            )

    picture = Image.fromarray(greys[0])
    for what, given, shape in (
        ("an H×W array", greys[0], (*greys[0].shape, 3)),
        ("an N×H×W array", greys, (*greys.shape, 3)),
        ("an N×H×W array of one", greys[:1], (1, *greys[0].shape, 3)),
        ("an N×H×W array of none", greys[:0], (0, *greys[0].shape, 3)),
        ("a PIL image", picture, (*greys[0].shape, 3)),
        ("a PIL image in colour", picture.convert("RGB"), (*greys[0].shape, 3)),
    ):
        with attempt(subject, f"predicting {what}"):
            for result in (colorizer.predict(given), *_at_working_sizes(colorizer, given)):
                look(what, given, result, shape)
    if colorizer.predict([]) != []:
        raise Finding("an empty list did not come back as one.", change)
    mixed = [greys[0], Image.fromarray(greys[1, :20]), greys[2, 3:, :17], greys[3]]
    for size in _WORKING_SIZES:
        with attempt(subject, "predicting a list of mixed sizes"):
            results = colorizer.predict(mixed, working_size=size)
        if not isinstance(results, list) or len(results) != len(mixed):
            raise Finding(f"a list of 4 came back as {type(results).__name__}.", change)
        for number, (given, result) in enumerate(zip(mixed, results, strict=True)):
            look(f"item {number} of a list", given, result, (*np.asarray(given).shape, 3))
            alone = np.asarray(colorizer.predict(given, working_size=size)).astype(int)
            far = np.abs(alone - np.asarray(result)).max()
            if far > _ROUNDING[subject.device.type]:
                raise Finding(
                    f"item {number} of a list is not what the same image gives alone.",
                    f"see batch_mates first, should that fail; else {change}",
                )


@check
def wrong_input(subject: Subject) -> None:
    """Wrong units, types and shapes are refused with `InputError` and not guessed at."""
    colorizer = subject.fitted
    L, grey, colour = subject.lightness, subject.greys[0], subject.photographs
    tensors: dict[str, Any] = {
        "L in [0, 1]": L / 100,
        "8-bit grey as L": L * 2.55,
        "L centred on 0": L - 50,
        "L with NaN": torch.full_like(L, float("nan")),
        "L with three channels": L.expand(-1, 3, -1, -1),
        "L without a batch axis": L[0],
        "L in float64": L.double(),
        "L in integers": L.long(),
        "empty L": L[:, :, :0],
    }
    pictures: dict[str, Any] = {
        "a float image": grey.astype(np.float32),
        "an integer image": grey.astype(np.int64),
        "a boolean image": grey > 127,
        "a 16-bit array": grey.astype(np.uint16),
        "a colour array": colour[0],
        "an N×H×W×3 array": colour[:2],
        "a row of pixels": grey[0],
        "an empty image": grey[:0],
        "a stack of empty images": grey[None, :0],
        "a stack in a list": [grey[None]],
        "a colour array in a list": [colour[0]],
        "a file's name": "cat.jpg",
        "a file's name in a list": [grey, "cat.jpg"],
        "a tensor": torch.from_numpy(grey),
        "nothing": None,
    }
    sets: dict[str, Any] = {
        "a float training set": colour.astype(np.float32),
        "a grey training set": colour[..., 0],
        "channels first": colour.transpose(0, 3, 1, 2),
        "an empty training set": colour[:0],
        "a folder's name": "photos/",
    }
    calls: dict[str, Callable[[], object]] = {}
    for what, value in tensors.items():
        calls[f"predict_ab of {what}"] = lambda value=value: colorizer.predict_ab(value)  # type: ignore[misc]
        calls[f"predict_rgb of {what}"] = lambda value=value: colorizer.predict_rgb(value)  # type: ignore[misc]
    for what, value in pictures.items():
        calls[f"predict of {what}"] = lambda value=value: colorizer.predict(value)  # type: ignore[misc]
    for what, value in sets.items():
        calls[f"fit on {what}"] = lambda value=value: subject.fit(value, budget="1steps")  # type: ignore[misc]
    change = "leave predict, predict_ab, predict_rgb and fit to Colorizer, which checks its input."
    for what, call in calls.items():
        try:
            call()
        except InputError:
            continue
        except Exception as error:
            text = f"{what} raised {type(error).__name__} ({error}) instead of InputError."
            raise Finding(text, change) from error
        raise Finding(f"{what} was taken as if it were right.", change)


@check
def input_untouched(subject: Subject) -> None:
    """What is handed in is not written to: images, tensors, training sets."""
    colorizer, change = subject.fitted, "copy before writing: L = L - 50 and not L -= 50."
    L, greys, training = subject.lightness, subject.greys, subject.photographs
    picture = Image.fromarray(greys[0])
    colorizer.predict(greys)
    colorizer.predict(picture)
    for door in (colorizer.predict_ab, colorizer.predict_rgb):
        door(L)
        if not torch.equal(L, subject.lightness):
            raise Finding(f"{door.__name__} wrote into the L it was given.", change)
    if not np.array_equal(greys, subject.greys):
        raise Finding("predict wrote into the array it was given.", change)
    if not np.array_equal(np.asarray(picture), subject.greys[0]):
        raise Finding("predict wrote into the PIL image it was given.", change)
    subject.fit(training, budget="1steps")
    if not np.array_equal(training, subject.photographs):
        raise Finding("fit wrote into the training set it was given.", change)


@check
def batch_mates(subject: Subject) -> None:
    """An image gets the same colours alone as beside others."""
    L = subject.lab(subject.photographs[:, : subject.side, : subject.side])[0]
    together = subject.fitted.predict_ab(L)
    alone = torch.cat([subject.fitted.predict_ab(one[None]) for one in L])
    largest = float((together - alone).abs().max())
    if largest > subject.tolerance:
        raise Finding(
            f"ab of the same image, alone and in a batch of {len(L)}, differ by up to "
            f"{largest:.3g} ({subject.tolerance:g} is allowed).",
            "use nothing of the batch in forward: no statistics over its first axis, "
            "and normalisation in eval mode.",
        )


@check
def devices(subject: Subject) -> None:
    """CPU and GPU agree on the same weights, apart from rounding."""
    other = subject.other_device
    if other is None:
        raise Skipped("there is no GPU on this machine")
    L = subject.lightness
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        subject.fitted.save(path)
        with attempt(subject, f"predicting on {other}"):
            stored = open_weights(path, subject.cls)
            there = subject.new(other).restore(stored).predict_ab(L)
    difference = (subject.fitted.predict_ab(L) - there).abs()
    mean, largest = float(difference.mean()), float(difference.max())
    if mean > _DEVICES_MEAN or largest > _DEVICES_LARGEST:
        raise Finding(
            f"ab on {subject.device} and {other} differ by {mean:.3g} on average and "
            f"{largest:.3g} at most ({_DEVICES_MEAN:g} and {_DEVICES_LARGEST:g} are allowed).",
            "keep all that decides in float32 parameters and buffers of the network, and make "
            "new tensors on the device of L.",
        )
