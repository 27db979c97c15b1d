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
        "--verbose",
        "-v",
        help="Import each one in a process of its own; show its title and whether it works.",
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

# Of options that some commands have with another default.
FLOP_HELP = (
    "a FLOP is a floating-point operation, the same on every machine, a TFLOP 10^12 of them and a "
    "PFLOP 10^15"
)
CROP_SCALE_HELP = (
    "Cut random squares out of each training image: the smallest and largest side as a share of "
    "the image's, as 0.5,1; 1,1 is no cutting."
)
STORED_SIZE_HELP = (
    "Keep training images at this many pixels a side, larger than --size, so that crops can be cut "
    "out and shrunk to --size."
)


def named_files(texts: list[str] | None, lpips: Path | None) -> dict[str, Path]:
    """The files of weights that both options name, by metric.

    Raises:
        ZooError: a metric that is not installed or needs no file, or no file is named.
    """
    from zoo_benchmark.metrics.weights_files import read_named_files

    return read_named_files(texts or ()) | ({"lpips": lpips} if lpips is not None else {})
