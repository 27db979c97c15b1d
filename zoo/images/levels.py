"""What the numbers of a file mean: which of them is white, and what lies beyond it.

Files say how many bits a sample has, but scans of 12 bits come in 16, and floating-point
numbers have no white at all. What is not declared is guessed where only one guess makes a
picture, and told; otherwise the file is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zoo.arrays import strips
from zoo.errors import InputError

_FLOAT_WHITES = (1, 255, 65535)
_DEEP_WHITES = (1023, 4095, 16383, 32767)

# Beyond white lie highlights and what sharpening and resampling overshoot: this many times white,
# and this share of the samples, where the white is 1; less where it is one guess among several.
_HIGHLIGHTS, _OVERSHOOT, _BEYOND = 8.0, 1.1, 0.01
_UNDERSHOOT = 0.1
_SAMPLED = 1 << 20


class Levels(NamedTuple):
    """Samples over the full range of 8 or 16 bits, with notes of how they got there."""

    values: npt.NDArray[Any]
    notes: tuple[str, ...] = ()


def levels_of_integers(
    values: npt.NDArray[Any], bits: int, declared: float | None = None
) -> Levels:
    """Integers of any depth as 8 or 16 bits.

    Args:
        values: bool, unsigned or signed, as stored.
        bits: the depth that the file declares.
        declared: the largest value, if the file declares it.

    Raises:
        InputError: what they mean is not known.
    """
    if values.dtype == bool:
        return Levels(values.astype(np.uint8) * np.uint8(255))
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    white = (1 << bits) - 1
    notes: tuple[str, ...] = ()
    if values.dtype.kind == "i":
        white >>= 1
        if low < 0:
            raise InputError(
                f"an image of signed numbers from {low} to {high}: "
                "save it with 8 or 16 bits a channel, black at 0"
            )
        if bits <= 16:
            notes = (f"its signed numbers are read with {white} as white",)
    if bits > 16 and high <= 65535:
        white, notes = 65535, (f"its {bits}-bit numbers, none above 65535, are read as 16 bits",)
    elif bits > 16 and high < white >> 4:
        raise InputError(
            f"a {bits}-bit image with values from {low} to {high}: "
            "save it with 8 or 16 bits a channel"
        )
    elif bits == 16 and declared in _DEEP_WHITES and high <= declared:
        white = int(declared)
        notes = (f"its white is {white}, as the file declares",)
    elif bits == 16 and not notes:
        notes = dark_note(high)
    if white == 255 or (white == 65535 and values.dtype != np.uint8):
        return Levels(values.astype(np.uint8 if white == 255 else np.uint16, copy=False), notes)
    top = 255 if bits <= 8 else 65535
    return Levels(_scaled(values, top / white, top), notes)


def dark_note(high: int) -> tuple[str, ...]:
    """A note where no sample of 16 bits comes near white: it may be a scan of fewer bits."""
    depth = high.bit_length()
    if not 8 < depth < 15:
        return ()
    return (
        f"no value is above {high} of 65535: the picture is dark, or of {depth} bits that "
        "its program did not scale to 16",
    )


def levels_of_floats(values: npt.NDArray[Any], declared: float | None = None) -> Levels:
    """Floating-point numbers as 16 bits; what lies a little beyond black or white is cut off.

    Raises:
        InputError: which number is white is not known.
    """
    white, notes = float_white(values, declared)
    return Levels(_scaled(values, 65535 / white, 65535), notes)


def float_white(
    values: npt.NDArray[Any], declared: float | None = None
) -> tuple[float, tuple[str, ...]]:
    """The white of a floating-point image: what is declared, or else 1, 255 or 65535.

    It is the first of them that nearly all values lie below, if the others are no more than
    highlights and overshoot.

    Raises:
        InputError: which number is white is not known.
    """
    finite = bool(np.isfinite(values.sum(dtype=np.float64))) or bool(np.isfinite(values).all())
    known = values if finite else values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    refusal = f"a floating-point image with values from {low:.4g} to {high:.4g}"
    if not finite:
        count = values.size - known.size
        raise InputError(
            f"{refusal} and {count} that are no numbers or infinite: fill them in first"
        )
    sample = known.reshape(-1)[:: max(1, known.size // _SAMPLED)]
    most = float(np.quantile(sample, 1 - _BEYOND)) if sample.size else 0.0
    whites = (declared,) if declared in (*_FLOAT_WHITES, *_DEEP_WHITES) else _FLOAT_WHITES
    white = next((white for white in whites if high <= white or most <= white), None)
    if white is not None:
        # Where nearly all values lie below 1, a white of 255 would be no picture.
        beyond = _HIGHLIGHTS if white == 1 else _OVERSHOOT
        if high <= white * beyond and low >= -_UNDERSHOOT * white:
            notes = [] if white == 1 else [f"its numbers are read with {white:g} as white"]
            if low < 0 or high > white:
                notes.append(
                    f"its values from {low:.6g} to {high:.6g} are cut off below 0 and above "
                    f"{white:g}"
                )
            return white, tuple(notes)
    raise InputError(f"{refusal}: scale it to [0, 1], or save it with 8 or 16 bits a channel")


def _scaled(values: npt.NDArray[Any], factor: float, top: int) -> npt.NDArray[Any]:
    result = np.empty(values.shape, np.uint8 if top == 255 else np.uint16)
    for rows in strips(len(values), values[0].size if len(values) else 1):
        strip = values[rows].astype(np.float64) * factor
        result[rows] = strip.round().clip(0, top)
    return result
