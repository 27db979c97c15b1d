"""`zoo bench`: colorizers trained under equal budgets and compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import StageBars, make_console, say
from zoo.cli.parameters import (
    CROP_SCALE_HELP,
    FLOP_HELP,
    STORED_SIZE_HELP,
    Device,
    JsonFlag,
    LPIPSWeights,
    Precision,
    WeightsFiles,
    named_files,
)


def bench(
    models: Annotated[
        str,
        typer.Option(
            help="Which colorizers: all, or NAME[,NAME…]; options of one follow its name, as "
            "zhang_rebalanced:width=0.5,batch_size=8. NAME@WEIGHTS is not trained but scored as it "
            "is, with a file or a name that zoo weights list shows: unet_timm@release."
        ),
    ] = "all",
    protocol: Annotated[
        str,
        typer.Option(
            help="The rules of the comparison: a name that zoo protocols shows, or a TOML file."
        ),
    ] = "quick@1",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Images to train and test on: photos, cifar10, folder:PATH, or another that "
            "zoo datasets shows. [default: the protocol's]"
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="What the training of each colorizer may cost: 20s, 10min, 500steps, 50kimages "
            "or 2PFLOP; or none, where all of them come with weights; "
            f"{FLOP_HELP}. [default: the protocol's]"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the square images in pixels. [default: the protocol's]"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Size of the networks: small for laptops, or paper as they were published. "
            "[default: the protocol's]"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How often each colorizer is trained, each time with other random numbers. "
            "[default: the protocol's]"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the random numbers that decide the first weights and the images' order. "
            "[default: the protocol's]"
        ),
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            "--lr",
            help="Learning rates: options (each colorizer's own), or find (each searches its "
            "own, inside its budget). [default: the protocol's]",
        ),
    ] = None,
    input_variety: Annotated[
        bool | None,
        typer.Option(
            "--input-variety/--no-input-variety",
            help="Train on blurred, noisy, faded, specked and JPEG-compressed inputs among the "
            "clean ones; the colours to be learnt stay. [default: the protocol's]",
        ),
    ] = None,
    crop_scale: Annotated[
        str | None,
        typer.Option(help=f"{CROP_SCALE_HELP} [default: the protocol's]"),
    ] = None,
    stored_size: Annotated[
        int | None,
        typer.Option(help=f"{STORED_SIZE_HELP} [default: the protocol's]"),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Which metrics, as psnr,lpips. [default: the protocol's]"),
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            help="Score each trained colorizer on changed inputs, too: all, or NAME[,NAME…] of "
            "those that zoo conditions lists, as jpeg75,noise2. [default: the protocol's]"
        ),
    ] = None,
    references: Annotated[
        bool,
        typer.Option(
            "--references/--no-references",
            help="Add rows to compare with: images left grey, and the best that is possible.",
        ),
    ] = True,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results; a run that was stopped goes on in its folder. "
            "[default: runs/<time>]"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Changes an option of one colorizer, as zhang_rebalanced.width=0.5; "
            "zoo info NAME lists them. May be repeated.",
        ),
    ] = None,
    weights_file: WeightsFiles = None,
    lpips_weights: LPIPSWeights = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds after which a colorizer counts as hanging and is stopped. "
            "[default: 1.5 budgets and half an hour; a day where the budget is not a time]"
        ),
    ] = None,
    throughput: Annotated[
        bool,
        typer.Option(
            "--throughput/--no-throughput",
            help="Also measure how many images a second each colorizer predicts.",
        ),
    ] = True,
    jobs: Annotated[int, typer.Option(help="How many colorizers are trained at a time.")] = 1,
    executor: Annotated[
        str,
        typer.Option(
            help="Where to train: local (this computer), or ray[=ADDRESS] (a Ray cluster; needs "
            "pip install colorizer-zoo[ray])."
        ),
    ] = "local",
    force: Annotated[
        list[str] | None,
        typer.Option(
            help="The name of a colorizer to train again although its results are there. "
            "May be repeated."
        ),
    ] = None,
    collect_only: Annotated[
        bool,
        typer.Option("--collect-only", help="Train nothing; show the table of what is finished."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train colorizers under equal budgets and compare them.

    Those with weights (NAME@WEIGHTS) are scored as they are, and stand apart.

    The exit code is 1 where a colorizer failed; the others are compared all the same.

    Example: zoo bench --models zhang_rebalanced,unet_timm --dataset folder:photos/ --budget 10min
    """
    from zoo.cli.report import show_results
    from zoo.training.variety import read_crop_scale
    from zoo_benchmark.bench import run_bench
    from zoo_benchmark.settings import BenchSettings

    wanted = BenchSettings(
        models=models,
        protocol=protocol,
        dataset=dataset,
        budget=budget,
        size=size,
        preset=preset,
        seeds=seeds,
        seed=seed,
        learning_rate=learning_rate,
        input_variety=input_variety,
        crop_scale=None if crop_scale is None else read_crop_scale(crop_scale),
        stored_size=stored_size,
        references=references,
        device=device,
        precision=precision,
        out=out,
        settings=settings or (),
        metrics=metrics,
        conditions=conditions,
        weights_files=named_files(weights_file, lpips_weights),
        timeout=timeout,
        throughput=throughput,
        jobs=jobs,
        executor=executor,
        force=force or (),
        collect_only=collect_only,
        command=("zoo", *sys.argv[1:]),
    )
    with StageBars(make_console(stderr=True)) as bars:
        comparison = run_bench(wanted, bars)
    show_results(comparison, as_json=as_json)
    for label, reason in comparison.failures:
        say(f"error: {label} failed: {reason}", err=True)
    if comparison.interrupted:
        say("interrupted: the table holds what was finished", err=True)
        raise typer.Exit(130)
    if comparison.failures:
        raise typer.Exit(1)
