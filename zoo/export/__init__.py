"""Colorizers as files that other programs run: ONNX with the whole of `predict` in it."""

from zoo.export.file import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
