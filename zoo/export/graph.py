"""The whole of `predict` as one network of PyTorch, and its translation to ONNX.

The graph takes a picture H×W×3 in 8 bits and gives one of the same size: grey, lightness, the
copy that the network sees, its padding, the network, the enlarged chroma, the merge, rounding. It
calls the functions that `predict` calls; only sizes are computed anew, with tensors, since the
graph must compute them too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.color.lab import grey_to_L, rgb_to_grey, rgb_to_lab
from zoo.colorizer import Colorizer
from zoo.errors import ExportError
from zoo.prediction.merge import merged
from zoo.prediction.working_size import pad_edges, resized
from zoo.text import kind_and_line

INPUT, OUTPUT = "image", "colour"
"""The names of the graph's input and output: H×W×3 uint8 both."""


class WholePrediction(nn.Module):
    """`predict` of one picture, H×W×3 uint8 to the same.

    Args:
        colorizer: fitted, on the CPU in float32.
        working_size: the short side in pixels, or both of them where `info.squashed`, that the
            network sees at most; None for any.
    """

    def __init__(self, colorizer: Colorizer, working_size: int | None) -> None:
        super().__init__()
        self.net, self._colorizer, self._working_size = colorizer.net, colorizer, working_size

    def forward(self, image: Tensor) -> Tensor:
        """The picture in colour."""
        full = torch.stack([torch.as_tensor(side) for side in image.shape[:2]])
        # As photographs in colour are read: 16 bits of lightness, of which the network sees 8.
        grey = (rgb_to_grey(image.permute(2, 0, 1)[None]) * 65535).round()
        coarse = ((grey + 128) / 257).floor().to(torch.uint8)
        seen = self._seen_size(full)
        copy = grey_to_L(resized(coarse, _sides(seen)))
        output = self._colorizer.forward(pad_edges(copy, _sides(self._padded_size(seen))))
        ab = rgb_to_lab(output)[1] if self._colorizer.paints_rgb else output
        ab = ab[:, :, : seen[0], : seen[1]]
        chroma = F.interpolate(ab, size=_sides(full), mode="bilinear", align_corners=False)
        return merged(grey_to_L(grey / 65535), chroma, 8)[0]

    def _seen_size(self, full: Tensor) -> Tensor:
        if self._working_size is None:
            return full
        if self._colorizer.info.squashed:
            return full.clamp_max(self._working_size)
        scale = (self._working_size / full.min().double()).clamp_max(1)
        return (full * scale).round().long().clamp_min(1)

    def _padded_size(self, seen: Tensor) -> Tensor:
        multiple = self._colorizer.multiple
        wanted = seen.clamp_min(self._colorizer.minimum_size)
        return (wanted + multiple - 1) // multiple * multiple


def _sides(size: Tensor) -> Any:
    return [size[0], size[1]]


def write_graph(
    network: WholePrediction, path: Path, *, opset: int, size: tuple[int, int] | None
) -> None:
    """Writes the graph of `network` to an ONNX file.

    Args:
        network: the whole prediction.
        path: the file.
        opset: the version of ONNX's operators.
        size: height and width, where only pictures of that size are to be taken.

    Raises:
        ExportError: PyTorch cannot translate it.
    """
    height, width = size or (96, 80)
    example = torch.arange(height * width * 3).remainder(251).to(torch.uint8)
    free = None if size else {name: {0: "height", 1: "width"} for name in (INPUT, OUTPUT)}
    try:
        with _more_operators(opset), warnings.catch_warnings(), torch.no_grad(), _silence():
            # The tracer warns of every size that Python sees; the comparison afterwards is
            # what finds one that was fixed by mistake.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.eval(),
                (example.view(height, width, 3),),
                str(path),
                # The newer exporter reasons about sizes symbolically: minutes for one network.
                dynamo=False,
                # Batch-norms stay apart: merged into kernels they would change half precision.
                training=torch.onnx.TrainingMode.PRESERVE,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=opset,
                dynamic_axes=free,
            )
    except Exception as error:
        raise ExportError(
            f"{network._colorizer.info.name} cannot be exported: PyTorch cannot translate its "
            f"forward: {kind_and_line(error)[:240]}"
        ) from error


@contextmanager
def _more_operators(opset: int) -> Iterator[None]:
    """Teaches the exporter what it cannot translate, or translates wrongly."""
    from torch.onnx import (  # type: ignore[attr-defined]
        register_custom_op_symbolic,
        unregister_custom_op_symbolic,
    )

    symbolics = {
        "aten::_upsample_bilinear2d_aa": _resize_symbolic("linear"),
        "aten::_upsample_bicubic2d_aa": _resize_symbolic("cubic"),
        "aten::vdot": lambda g, one, other: g.op("MatMul", one, other),  # of spectral norms
        "aten::mT": _transposed,
        "aten::linspace": _linspace,
    }
    for name, symbolic in symbolics.items():
        register_custom_op_symbolic(name, symbolic, opset)
    try:
        yield
    finally:
        for name in symbolics:
            unregister_custom_op_symbolic(name, opset)


def _silence() -> AbstractContextManager[object]:
    """A block in which the exporter does not print the graph that it fails at, line by line."""
    return mock.patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True)


def _transposed(g: Any, matrices: Any) -> Any:
    from torch.onnx import symbolic_helper as helper

    *others, rows, columns = range(helper._get_tensor_rank(matrices) or 2)
    return g.op("Transpose", matrices, perm_i=[*others, columns, rows])


def _linspace(g: Any, start: Any, end: Any, steps: Any, *_: Any) -> Any:
    # PyTorch's own translation divides by zero where there is one step.
    zero, one = (g.op("Constant", value_t=torch.tensor(n)) for n in (0, 1))
    first, last = (g.op("Cast", value, to_i=1) for value in (start, end))  # float32
    intervals = g.op("Cast", g.op("Max", g.op("Sub", steps, one), one), to_i=1)
    counted = g.op("Cast", g.op("Range", zero, steps, one), to_i=1)
    step = g.op("Div", g.op("Sub", last, first), intervals)
    return g.op("Add", g.op("Mul", counted, step), first)


def _resize_symbolic(mode: str) -> Any:
    def symbolic(g: Any, plane: Any, size: Any, align_corners: Any, *_: Any) -> Any:
        from torch.onnx import symbolic_helper as helper

        batch_and_channels = g.op(
            "Slice",
            g.op("Shape", plane),
            *(g.op("Constant", value_t=torch.tensor([n])) for n in (0, 2)),
        )
        sides = size
        if helper._is_packed_list(size):
            sides = g.op(
                "Concat",
                *(
                    g.op("Reshape", side, g.op("Constant", value_t=torch.tensor([1])))
                    for side in helper._unpack_list(size)
                ),
                axis_i=0,
            )
        sides = g.op("Cast", sides, to_i=7)  # int64
        none = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        return g.op(
            "Resize",
            plane,
            none,
            none,
            g.op("Concat", batch_and_channels, sides, axis_i=0),
            mode_s=mode,
            antialias_i=1,
            exclude_outside_i=1,  # as PyTorch does: weights beyond the border count nothing
            cubic_coeff_a_f=-0.5,
            coordinate_transformation_mode_s="half_pixel",
        )

    return symbolic
