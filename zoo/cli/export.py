"""`zoo export`: a colorizer as one ONNX file that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo.cli.console import make_console, make_table, print_json
from zoo.cli.parameters import JsonFlag, Model, Overwrite
from zoo.errors import InputError, OptionError, WeightsError


def export(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="The ONNX file to write: model.onnx.")],
    weights: Annotated[
        str | None,
        typer.Option(
            help="What the colorizer has learnt: a file that zoo fit or zoo bench wrote, or a "
            "name that zoo weights list shows. unet_timm@release names both."
        ),
    ] = None,
    working_size: Annotated[
        str,
        typer.Option(
            help="Short side in pixels at which the network sees a picture; or full: the picture's "
            "own; or auto: the size that the weights were trained at."
        ),
    ] = "auto",
    size: Annotated[
        str | None,
        typer.Option(
            help="Take pictures of this width and height alone, as 1024x768. [default: any]"
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, from 18 to 20.")] = 18,
    precision: Annotated[
        str,
        typer.Option(
            help="Numbers that weights are stored in: fp32, or fp16 for half the size; both are "
            "computed with in fp32."
        ),
    ] = "fp32",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a colorizer as one file for ONNX Runtime.

    A picture goes in, the same picture in colour comes out.

    It is run on photographs of several sizes first, and not written where its colours are not
    those of zoo colorize. Needs the extra onnx: pip install "colorizer-zoo[onnx]".

    Example: zoo export unet_timm --weights release -o unet.onnx
    """
    from dataclasses import asdict

    from zoo.cli.colorize import parse_working_size
    from zoo.export import export_onnx
    from zoo.export.file import check_request
    from zoo.files import check_writable
    from zoo.prediction.working_size import check_working_size
    from zoo.registry import colorizer_class, name_and_weights, restored
    from zoo.weights.download import file_sha256
    from zoo.weights.file import find_weights
    from zoo.weights.published import bundled

    fixed, shown = _parse_size(size), parse_working_size(working_size)
    check_working_size(shown)
    check_request(out, size=fixed, opset=opset)
    if out.is_dir():
        raise InputError(f"{out} is a folder; name another -o")
    if out.exists() and not overwrite:
        raise InputError(f"{out} is there already; name another -o, or --overwrite")
    if precision not in ("fp32", "fp16"):
        raise OptionError(f"the precision of weights is fp32 or fp16, got {precision!r}")
    check_writable([out])
    name, found = name_and_weights(model, weights)
    cls = colorizer_class(name)
    if found is None and cls.info.learns:
        came_along = " and ".join(weights.label for weights in bundled(name))
        raise WeightsError(
            f"{name} needs weights: type --weights FILE.safetensors, as zoo fit and zoo bench "
            "write them, or a name of zoo weights list"
            + (f"; {came_along} came along" if came_along else "")
        )
    stored = None if found is None else find_weights(found, cls)
    how = {"device": "cpu", "precision": "fp32"}
    colorizer = cls(**how).ready() if stored is None else restored(cls, stored, **how)
    stored_as: Literal["fp32", "fp16"] = "fp16" if precision == "fp16" else "fp32"
    written = export_onnx(
        colorizer,
        out,
        working_size=shown,
        size=fixed,
        opset=opset,
        weights=stored_as,
        weights_sha256="" if stored is None else file_sha256(stored.path),
    )
    if as_json:
        print_json(
            {
                "file": str(out),
                **written.metadata,
                "differences": [*map(asdict, written.differences)],
            }
        )
        return
    columns = ("pixels off by more than 1", "most levels off")
    table = make_table("compared with predict at", *columns, right=columns)
    for each in written.differences:
        height, width = each.size
        table.add_row(f"{width}×{height} px", f"{each.share:.4%}", str(each.levels))
    make_console().print(table)
    typer.echo(f"written to {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width out of WIDTHxHEIGHT.

    Raises:
        OptionError: it is something else.
    """
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise OptionError(f"--size takes WIDTHxHEIGHT, as 1024x768, got {text!r}")
    return int(height), int(width)
