"""The check of exported files: the pictures of `predict`, by another program."""

from __future__ import annotations

import tempfile
from pathlib import Path

from zoo.errors import ExportError
from zoo.export.file import check_extra, export_onnx
from zoo.testing.kit import Finding, Skipped, check
from zoo.testing.subject import Subject

# A pixel, odd sides, and a photograph that the network sees smaller: it is trained on some 32 px,
# and no working size is below 64.
_SIZES = ((1, 1), (33, 47), (150, 100))


@check
def exports(subject: Subject) -> None:
    """`zoo export` makes an ONNX file of it that paints the same pictures, whatever their size."""
    try:
        check_extra()
    except ExportError as error:
        raise Skipped(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_onnx(subject.fitted, Path(folder) / "model.onnx", sizes=_SIZES)
        except ExportError as error:
            raise Finding(
                f"{error}.",
                "let forward call operations that ONNX has, on tensors alone: no int(…), no item() "
                "and no branches on values; or declare it in known_failures.",
            ) from error
