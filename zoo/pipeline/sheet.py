"""Sheets of photographs: each in grey, and as several colorizers see it, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.arrays import UInt8Array, strips, to_8_bits
from zoo.colorizer import Colorizer
from zoo.errors import InputError, OutputError
from zoo.files import atomic_path, check_writable
from zoo.images.open import resize
from zoo.images.photograph import Plane, read_photograph
from zoo.images.write import Layout, find_format, write_picture
from zoo.pipeline.plan import Job, Settings, check_inputs_are_safe
from zoo.pipeline.run import Event, Report, is_disk_trouble, reason_of
from zoo.prediction.engine import as_seen, pixels_of_short_side, predict_chroma
from zoo.prediction.merge import coloured_images

TILE = 512
"""The longest side of a picture on a sheet, in pixels; no photograph is enlarged to it."""

_ACROSS = 4
_MARGIN, _GAP, _LINE = 16, 12, 24
_FONT_SIZE = 16
_BACKGROUND, _INK = (255, 255, 255), (30, 30, 30)


def draw_sheets(
    models: Mapping[str, Colorizer],
    jobs: Sequence[Job],
    settings: Settings,
    on_event: Callable[[Event], None],
) -> Report:
    """Draws a sheet of each photograph; one that cannot be is reported, and the rest go on.

    Args:
        models: the colorizers, fitted, by the labels of their pictures.
        jobs: photographs, and the sheets to write.
        settings: of these `working_size`, `saturation` and `overwrite`.
        on_event: called for every event as it happens.

    Raises:
        InputError: before any work: an output is an input.
        OutputError: an output's folder cannot be written to, or the disk is full. What was
            finished is whole.
    """
    start = time.perf_counter()
    check_inputs_are_safe(jobs)
    check_writable(job.target for job in jobs)
    outcomes = []
    for job in jobs:
        stopped = False
        try:
            had_colour = _draw(models, job, settings)
            outcomes.append(Event("done", job, had_colour=had_colour))
        except Exception as error:
            outcomes.append(Event("failed", job, reason_of(error, job)))
            stopped = is_disk_trouble(error)
        on_event(outcomes[-1])
        if stopped:
            raise OutputError(f"nothing more can be written to {job.target.parent}; stopped")
    return Report(outcomes, time.perf_counter() - start)


def sheet(pictures: Mapping[str, UInt8Array]) -> UInt8Array:
    """Pictures H×W×3 of one size in rows of at most four, each below its label."""
    height, width = next(iter(pictures.values())).shape[:2]
    font = ImageFont.load_default(_FONT_SIZE)
    rows = math.ceil(len(pictures) / _ACROSS)
    across = math.ceil(len(pictures) / rows)
    wide = max(width, *(math.ceil(font.getlength(label)) for label in pictures)) + _GAP
    high = _LINE + height + _GAP
    size = (2 * _MARGIN - _GAP + across * wide, 2 * _MARGIN - _GAP + rows * high)
    drawn = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(drawn)
    for number, (label, picture) in enumerate(pictures.items()):
        left, top = _MARGIN + number % across * wide, _MARGIN + number // across * high
        pen.text((left, top), label, _INK, font)
        drawn.paste(Image.fromarray(picture), (left, top + _LINE))
    return np.asarray(drawn)


def _draw(models: Mapping[str, Colorizer], job: Job, settings: Settings) -> bool:
    """Writes a sheet; gives back whether the photograph was in colour."""
    if job.target.exists() and not settings.overwrite:
        raise InputError(f"{job.target} exists already; type --overwrite, or another -o")
    form = find_format(job.target.suffix)
    assert form is not None
    photograph = read_photograph(job.source)
    plane = photograph.grey
    tile = to_8_bits(plane)
    scale = min(1.0, TILE / max(plane.shape))
    size = (max(1, round(plane.shape[0] * scale)), max(1, round(plane.shape[1] * scale)))
    tile = tile if tile.shape == size else resize(tile, size)
    pictures = {"grey": np.repeat(tile[:, :, None], 3, axis=2)}
    for label, colorizer in models.items():
        try:
            pictures[label] = _answer(colorizer, plane, tile, settings)
        except Exception as error:
            raise InputError(f"{label}: {reason_of(error, job)}") from error
    pixels = sheet(pictures)
    height, width = pixels.shape[:2]
    layout = Layout(height=height, width=width, channels=3, bits=8)
    with atomic_path(job.target) as partial:
        write_picture(partial, form, layout, (pixels[rows] for rows in strips(height, width)))
    return photograph.has_colour


def _answer(colorizer: Colorizer, plane: Plane, tile: Plane, settings: Settings) -> UInt8Array:
    """A tile of the photograph with the chroma that the whole of it would be given."""
    short = pixels_of_short_side(colorizer, settings.working_size)
    seen, (height, width) = as_seen(colorizer, plane, short)
    chroma = predict_chroma(colorizer, [seen])[:, :, :height, :width].float() * settings.saturation
    picture: UInt8Array = coloured_images([tile], chroma)[0]
    return picture
