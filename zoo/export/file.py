"""ONNX files of the zoo: writing one that was compared with `predict`, and opening one again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from zoo._version import __version__
from zoo.arrays import UInt8Array
from zoo.colorizer import Colorizer
from zoo.errors import ExportError, NotFittedError, WeightsError, ZooError
from zoo.export import parity
from zoo.export.graph import INPUT, OUTPUT, WholePrediction, write_graph
from zoo.files import atomic_path
from zoo.plugins import FILES, names
from zoo.prediction.engine import pixels_of_short_side
from zoo.prediction.working_size import Size, WorkingSize
from zoo.text import first_line, parse_json
from zoo.weights.file import Origin, StoredWeights, state_of

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = ".onnx"
LEAST_OPSET, OPSET, MOST_OPSET = 18, 18, 20
"""The versions of ONNX's operators: antialiased resizes came with 18, PyTorch writes up to 20."""

_KEY = "colorizer-zoo"
_FORMAT = 1
_LONGEST_SIDE = 4096
_KINDS: dict[str, type | UnionType] = {
    **dict.fromkeys(("model", "license", "source", "trained_on", "zoo_version"), str),
    "parameters": int,
    "size": list | None,
}


@dataclass(frozen=True)
class Exported:
    """An ONNX file of the zoo.

    Attributes:
        path: the file.
        metadata: what it says of itself: model, options, license, source, versions, sizes.
        differences: how far its pictures are from those of `predict`; empty for one that was
            opened.
    """

    path: Path
    metadata: dict[str, Any]
    differences: Sequence[parity.Difference] = ()


def export_onnx(
    colorizer: Colorizer,
    path: str | Path,
    *,
    working_size: WorkingSize = "auto",
    size: Size | None = None,
    opset: int = OPSET,
    weights: Literal["fp32", "fp16"] = "fp32",
    weights_sha256: str = "",
    sizes: Sequence[Size] = parity.SIZES,
) -> Exported:
    """Writes the whole of `predict` as one ONNX file, after it gave the same pictures.

    The file takes a picture H×W×3 in 8 bits of any size, its colours as their lightness, and gives
    it in colour at the same size.

    Args:
        colorizer: fitted.
        path: the file, `.onnx`.
        working_size: the short side in pixels that the network sees, as in `predict`.
        size: height and width, for a file that takes pictures of that size alone.
        opset: the version of ONNX's operators.
        weights: `fp16` stores kernels and matrices in half precision, for half the size; they are
            computed with in single precision.
        weights_sha256: the hash of the file that the weights came from, for the metadata.
        sizes: heights and widths of the photographs that it is compared on, where any is taken.

    Raises:
        NotFittedError: it has no weights.
        ExportError: the extra is missing, no such opset, it is an exported file itself, PyTorch
            cannot translate the method, or the file gives other pictures than `predict`. Nothing
            is written.
    """
    path = Path(path)
    check_request(path, size=size, opset=opset)
    if colorizer.info.name in names(FILES):
        raise ExportError(f"{colorizer.info.name} is an exported file already; copy the file")
    if not colorizer.is_fitted:
        raise NotFittedError(colorizer.info.name)
    import onnx

    stored = _stored(colorizer, half=weights == "fp16")
    # On the CPU in float32, as ONNX Runtime will compute.
    twin = type(colorizer)(colorizer.options, device="cpu", precision="fp32").restore(stored)
    name, short = twin.info.name, pixels_of_short_side(twin, working_size)
    metadata = {
        "format": _FORMAT,
        "model": name,
        "options": stored.options,
        "parameters": twin.parameter_count,
        "working_size": short,
        "size": size,
        "weights": weights,
        "weights_sha256": weights_sha256,
        **asdict(stored.origin),
        "trained_on": stored.taught,
        "code_license": twin.info.license,
        "zoo_version": __version__,
    }
    with atomic_path(path) as partial:
        write_graph(WholePrediction(twin, short), partial, opset=opset, size=size)
        model = onnx.load(str(partial))
        if weights == "fp16":
            _store_in_half(model)
        model.producer_name, model.producer_version = "colorizer-zoo", __version__
        entry = model.metadata_props.add()
        entry.key, entry.value = _KEY, json.dumps(metadata)
        onnx.save(model, str(partial))
        try:
            onnx.checker.check_model(str(partial))
            session = open_session(partial)
            differences = parity.compare(
                twin, lambda image: run(session, image), working_size, [size] * 3 if size else sizes
            )
        except ZooError:
            raise
        except Exception as error:
            raise ExportError(
                f"{name} cannot be exported: its file fails in ONNX Runtime: "
                f"{first_line(error)[:200]}"
            ) from error
        parity.check(name, differences)
    return Exported(path, metadata, differences)


def check_request(path: Path, *, size: Size | None = None, opset: int = OPSET) -> None:
    """Checks, before any work, that a file of these properties can be exported here.

    Raises:
        ExportError: the extra is missing; another suffix; no such opset or size.
    """
    if path.suffix != SUFFIX:
        raise ExportError(f"exported files end in {SUFFIX}; type {path}{SUFFIX}")
    if not LEAST_OPSET <= opset <= MOST_OPSET:
        raise ExportError(f"the opset must lie in {LEAST_OPSET} … {MOST_OPSET}, got {opset}")
    if size is not None and not all(1 <= side <= _LONGEST_SIDE for side in size):
        height, width = size
        raise ExportError(
            f"the sides of a fixed size must lie in 1 … {_LONGEST_SIDE}, got {width}×{height}"
        )
    check_extra()


def check_extra() -> None:
    """Checks that the extra `onnx` is installed.

    Raises:
        ExportError: it is not.
    """
    for module in ("onnx", "onnxruntime"):
        try:
            import_module(module)
        except ImportError as error:
            raise ExportError(
                f'ONNX files need {module} ({error}): type pip install "colorizer-zoo[onnx]"'
            ) from error


def open_session(path: Path | bytes) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime on the CPU for an exported file, or for its bytes.

    Raises:
        ExportError: the extra is missing.
        WeightsError: it is no ONNX file.
    """
    check_extra()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(
            path if isinstance(path, bytes) else str(path),
            options,
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:
        name = "the file" if isinstance(path, bytes) else str(path)
        raise WeightsError(f"{name} cannot be read as ONNX: {first_line(error)[:200]}") from error


def metadata_of(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """What an exported file says of itself.

    Raises:
        WeightsError: the zoo did not write it, or another version did.
    """
    text = session.get_modelmeta().custom_metadata_map.get(_KEY, "")
    try:
        metadata = parse_json(text)
    except ValueError:
        metadata = None
    planes = [(each.name, each.type) for each in (*session.get_inputs(), *session.get_outputs())]
    pictures = planes == [(INPUT, "tensor(uint8)"), (OUTPUT, "tensor(uint8)")]
    if not isinstance(metadata, dict) or not pictures:
        raise WeightsError("it was not written by zoo export, which exports models of the zoo")
    if metadata.get("format") != _FORMAT:
        raise WeightsError(
            f"it has format {metadata.get('format')}, this zoo reads {_FORMAT}; export it again"
        )
    wrong = [key for key, kind in _KINDS.items() if not isinstance(metadata.get(key), kind)]
    if wrong:
        raise WeightsError(f"it is damaged: its {wrong[0]} is {metadata.get(wrong[0])!r}")
    return metadata


def run(session: onnxruntime.InferenceSession, image: UInt8Array) -> UInt8Array:
    """The picture H×W×3 in colour, by an exported file."""
    (colour,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(image)})
    return np.asarray(colour, dtype=np.uint8)


def _stored(colorizer: Colorizer, *, half: bool) -> StoredWeights:
    """The weights of a colorizer as a file of them would hold them."""
    return StoredWeights(
        Path(colorizer.info.name),
        asdict(colorizer.options),
        colorizer.record,
        colorizer.origin or Origin(colorizer.info.license),
        _read=state_of(colorizer.net, half=half),
    )


def _store_in_half(model: Any) -> None:
    """Kernels and matrices in half precision, each with a cast behind it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        # Those that were rounded before; others, such as too large ones, stay as they are.
        if (halved != values).any():
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}_half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
