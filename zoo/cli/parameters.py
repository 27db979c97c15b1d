"""Options and arguments that several commands have, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Argument(help="The colorizer's name, as zoo list shows it: zhang_rebalanced.")
]
Run = Annotated[Path, typer.Argument(help="The folder of results that zoo bench wrote.")]

Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Import each one in a process of its own, and say if it works."
    ),
]
JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print the results as JSON, for other programs to read.")
]
Device = Annotated[
    str,
    typer.Option(
        help="Where to compute: cpu, cuda (cuda:1 is the second GPU), mps, "
        "or auto for the fastest one here."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Numbers to compute in: fp32 (most exact), bf16 (faster on newer hardware), "
        "or auto for what suits the device."
    ),
]
Preset = Annotated[
    str,
    typer.Option(help="Size of the network: small for laptops, or paper as it was published."),
]
Size = Annotated[
    int | None,
    typer.Option(help="Side of the square training images in pixels. [default: the dataset's own]"),
]
Seed = Annotated[
    int,
    typer.Option(
        help="Seed of the random numbers that decide the first weights and the images' order."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Changes an option of the colorizer, as width=0.5; zoo info NAME lists them. "
        "May be repeated.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace output files that are there already.")
]
LPIPSWeights = Annotated[
    Path | None,
    typer.Option(
        help="Short for --weights-file lpips=FILE: a file with AlexNet's weights (.pth or "
        ".safetensors), where they cannot be downloaded. [or ZOO_LPIPS_WEIGHTS]",
    ),
]
WeightsFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--weights-file",
        help="A file of weights that a metric needs, as lpips=alexnet.pth, where it cannot be "
        "downloaded. May be repeated. [or ZOO_<METRIC>_WEIGHTS]",
    ),
]


def named_files(texts: list[str] | None, lpips: Path | None) -> dict[str, Path]:
    """The files of weights that both options name, by metric.

    Raises:
        ZooError: a metric that is not installed or needs no file, or no file is named.
    """
    from zoo_benchmark.metrics.weights_files import read_named_files

    return read_named_files(texts or ()) | ({"lpips": lpips} if lpips is not None else {})
