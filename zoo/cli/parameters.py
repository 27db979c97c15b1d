"""Options that several commands have, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]
LPIPSWeights = Annotated[
    Path | None,
    typer.Option(
        help="Short for --weights-file lpips=FILE: AlexNet (.pth or .safetensors), where there is "
        "no network. [env var: ZOO_LPIPS_WEIGHTS]",
    ),
]
WeightsFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--weights-file",
        help="METRIC=FILE: weights that a metric needs; may be repeated. "
        "[env var: ZOO_<METRIC>_WEIGHTS]",
    ),
]


def named_files(texts: list[str] | None, lpips: Path | None) -> dict[str, Path]:
    """The files of weights that both options name, by metric.

    Raises:
        ZooError: a metric that is not installed or needs no file, or no file is named.
    """
    from zoo_benchmark.metrics.weights_files import read_named_files

    return read_named_files(texts or ()) | ({"lpips": lpips} if lpips is not None else {})
