"""The commands around training: what can be typed; each one's work is in a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.parameters import (
    Device,
    JsonFlag,
    LPIPSWeights,
    Precision,
    WeightsFiles,
    named_files,
)

Settings = Annotated[list[str] | None, typer.Option("--set", help="option=value; may be repeated.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]


def add_training_commands(app: typer.Typer) -> None:
    """Makes them commands of `app`."""
    app.command("fit")(fit)
    app.command("lr-find")(lr_find)
    app.command("prior")(prior)
    app.command("overfit")(overfit)


def fit(
    model: Annotated[str, typer.Argument(help="A colorizer, as zoo list names it.")],
    data: Annotated[str, typer.Option(help="folder:PATH, or another dataset; see zoo datasets.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The weights, a .safetensors file.")],
    budget: Annotated[str, typer.Option(help="30min, 2h, 5000steps, 50kimages, …")] = "10min",
    size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels. [default: the dataset's]")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="small or paper. [default: small]")] = None,
    settings: Settings = None,
    initial: Annotated[
        str | None,
        typer.Option("--init", help="Weights to start from: a file, or a published name."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that was stopped.")
    ] = False,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    metrics: Annotated[
        str, typer.Option(help="Of held-out images: NAME[,NAME…].")
    ] = "psnr,lpips,colourfulness",
    weights_file: WeightsFiles = None,
    lpips_weights: LPIPSWeights = None,
    learning_rate: Annotated[
        str, typer.Option("--lr", help="options, or find: searched inside the budget.")
    ] = "options",
    seed: Annotated[int, typer.Option(help="Of weights and images' order.")] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a colorizer on your own images and save its weights."""
    from zoo.cli.fit import Request, fit_command

    code = fit_command(
        Request(
            model=model,
            data=data,
            budget=budget,
            out=out,
            size=size,
            preset=preset,
            settings=settings or (),
            initial=initial,
            resume=resume,
            checkpoint_every=checkpoint_every,
            metrics=metrics,
            weights_files=named_files(weights_file, lpips_weights),
            learning_rate=learning_rate,
            seed=seed,
            device=device,
            precision=precision,
            overwrite=overwrite,
            as_json=as_json,
        )
    )
    if code:
        raise typer.Exit(code)


def lr_find(
    model: Annotated[str, typer.Argument(help="A colorizer, as zoo list names it.")],
    dataset: Annotated[str, typer.Option(help="As zoo bench takes it.")] = "photos",
    size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels. [default: the dataset's]")
    ] = None,
    preset: Annotated[str, typer.Option(help="small or paper.")] = "small",
    settings: Settings = None,
    steps: Annotated[int, typer.Option(help="Of the sweep.")] = 100,
    lowest: Annotated[float, typer.Option("--from", help="The first learning rate.")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", help="The last one.")] = 1.0,
    device: Device = "auto",
    precision: Precision = "auto",
    seed: Annotated[int, typer.Option(help="Of weights and images' order.")] = 0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The plot. [default: lr-<model>.png]")
    ] = None,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Find a learning rate: sweep it, watch the loss, plot both."""
    from zoo.cli.lr_find import Request, lr_find_command

    lr_find_command(
        Request(
            model=model,
            dataset=dataset,
            size=size,
            preset=preset,
            settings=settings or (),
            steps=steps,
            lowest=lowest,
            highest=highest,
            device=device,
            precision=precision,
            seed=seed,
            out=out,
            overwrite=overwrite,
            as_json=as_json,
        )
    )


def prior(
    data: Annotated[str, typer.Argument(help="Images, as --dataset of zoo bench takes them.")],
    size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels. [default: the dataset's]")
    ] = None,
    neighbours: Annotated[
        int, typer.Option(help="Bins that a colour is spread over by the soft encoding.")
    ] = 5,
    sigma: Annotated[
        float, typer.Option(help="Of the soft encoding's Gaussian, in units of ab.")
    ] = 5.0,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The table; the plot has the same name.")
    ] = Path("prior.csv"),
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Count how common each colour is in a training set, for class rebalancing."""
    from zoo.cli.prior import Request, prior_command

    prior_command(
        Request(
            data=data,
            size=size,
            neighbours=neighbours,
            sigma=sigma,
            out=out,
            overwrite=overwrite,
            as_json=as_json,
        )
    )


def overfit(
    model: Annotated[str, typer.Argument(help="A colorizer, as zoo list names it.")],
    image: Annotated[Path, typer.Argument(help="A photograph in colour.")],
    initialization: Annotated[
        str | None,
        typer.Option("--init", help="default, xavier or both. [default: the model's own]"),
    ] = None,
    budget: Annotated[str, typer.Option(help="Per initialization: 200steps, 2min, …")] = "200steps",
    size: Annotated[int, typer.Option(help="Side in pixels that the image is reduced to.")] = 128,
    preset: Annotated[str, typer.Option(help="small or paper.")] = "small",
    settings: Settings = None,
    device: Device = "auto",
    precision: Precision = "auto",
    seed: Annotated[int, typer.Option(help="Of the weights.")] = 0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The picture. [default: overfit-<model>.png]")
    ] = None,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Fit one image and see how far it gets, with the colour error at object edges."""
    from zoo.cli.overfit import Request, overfit_command

    overfit_command(
        Request(
            model=model,
            image=image,
            initialization=initialization,
            budget=budget,
            size=size,
            preset=preset,
            settings=settings or (),
            device=device,
            precision=precision,
            seed=seed,
            out=out,
            overwrite=overwrite,
            as_json=as_json,
        )
    )
