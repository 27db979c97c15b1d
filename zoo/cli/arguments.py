"""Options that several commands share."""

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
        help="AlexNet's features for LPIPS (.pth or .safetensors), where there is no network.",
        envvar="ZOO_LPIPS_WEIGHTS",
        show_envvar=True,
    ),
]
