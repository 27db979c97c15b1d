"""Makes the pictures of `methods.md` out of the embedded photographs.

    OMP_NUM_THREADS=1 python docs/pictures.py docs/pictures

Some minutes on one core. All budgets are in steps, so one kind of processor makes the same pictures
again. No network.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import zoo
from zoo.color.lab import grey_to_L
from zoo.colorizer import Colorizer
from zoo.data.dataset import ImageSet
from zoo.diagnose.learning_rate import range_test
from zoo.diagnose.overfit import initializations, overfit, prepare_overfit
from zoo.diagnose.overfit_plot import plot_overfit
from zoo.diagnose.prior_plot import plot_prior
from zoo.files import atomic_path
from zoo.images.open import square_tile, to_grey
from zoo.metric import Pictures
from zoo.registry import colorizer_class
from zoo.training.budget import Budget
from zoo.training.prior import prior_of_images
from zoo_benchmark.report.samples import Column, write_samples
from zoo_datasets.photos import Photos

TRAINING_SIDE, SHOWN_SIDE, OVERFIT_SIDE = 64, 160, 128
SHOWN = ("astronaut", "coffee", "flower")
STEPS = {
    "fc_generator": 600,
    "residual_encoder_vgg16": 150,
    "zhang_classifier": 200,
    "zhang_rebalanced": 200,
    "gan_discriminator": 150,
}
GRIDS = {
    "fc.png": ["fc_generator"],
    "residual.png": ["residual_encoder_vgg16"],
    "classes.png": ["zhang_classifier", "zhang_rebalanced"],
    "gan.png": ["zhang_classifier", "gan_discriminator"],
}
TEMPERATURES = (0.0, 0.38, 1.0)
OVERFIT, OVERFIT_STEPS = "zhang_rebalanced", 100
SWEPT, SWEEP_STEPS = "zhang_classifier", 100
# Enough for a page, and for a repository to keep.
COLOURS, WIDEST = 256, 1200


def main(out: Path) -> None:
    """Writes every picture into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    train = Photos().open("train", TRAINING_SIDE)
    shown = photographs(SHOWN, SHOWN_SIDE)
    greys = np.stack([to_grey(Image.fromarray(truth)) for truth in shown.images])

    prior = prior_of_images(train.images, size=TRAINING_SIDE)
    plot_prior(out / "prior.png", prior, 0.5, "the embedded photographs")
    draw_overfit(out / "overfit.png")
    draw_sweep(out / "lr-find.png", train)

    trained = {model: train_on(model, train) for model in STEPS}
    columns = {
        model: Column(model, f"{STEPS[model]} steps", painted(colorizer, greys))
        for model, colorizer in trained.items()
    }
    for name, models in GRIDS.items():
        write_samples(out / name, shown, [columns[model] for model in models])
    trained["zhang_rebalanced"].save(out / "zhang_rebalanced.safetensors")
    write_samples(out / "temperature.png", shown, annealed(out, greys))
    (out / "zhang_rebalanced.safetensors").unlink()
    for name in ("prior.png", "overfit.png", "lr-find.png", *GRIDS, "temperature.png"):
        shrink(out / name)


def photographs(names: Sequence[str], side: int) -> ImageSet:
    """Embedded photographs, each its centre square reduced to `side`."""
    chosen = {photo.name: photo for photo in Photos().manifest}
    return ImageSet(np.stack([square_tile(chosen[n].pixels(), side) for n in names]), names)


def train_on(model: str, images: ImageSet) -> Colorizer:
    """The model's small preset, fitted for its number of steps."""
    cls = colorizer_class(model)
    colorizer = cls(cls.preset("small"), device="cpu", precision="fp32")
    colorizer.fit(images, budget=f"{STEPS[model]}steps", size=TRAINING_SIDE)
    return colorizer


def painted(colorizer: Colorizer, greys: np.ndarray) -> list[Image.Image]:
    """What a colorizer makes of N×H×W grey pictures: at their own size, RGB as it was painted."""
    L = grey_to_L(torch.from_numpy(greys).unsqueeze(1))
    colours = Pictures.from_unit_rgb(colorizer.predict_rgb(L)).rgb8.permute(0, 2, 3, 1)
    return [Image.fromarray(colour) for colour in colours.numpy()]


def annealed(out: Path, greys: np.ndarray) -> list[Column]:
    """A column for each temperature of the decoder, the weights the same."""
    columns = []
    for temperature in TEMPERATURES:
        colorizer = zoo.load(
            "zhang_rebalanced",
            out / "zhang_rebalanced.safetensors",
            device="cpu",
            precision="fp32",
            temperature=temperature,
        )
        columns.append(Column(f"T = {temperature:g}", "", painted(colorizer, greys)))
    return columns


def draw_overfit(path: Path) -> None:
    """One photograph learnt by heart, from PyTorch's initialization and from Xavier's."""
    (tile,) = photographs(["astronaut"], OVERFIT_SIDE).images
    fits = [
        overfit(
            prepare_overfit(OVERFIT, OVERFIT_SIDE, initialization=name, device="cpu"),
            tile,
            Budget.parse(f"{OVERFIT_STEPS}steps"),
        )
        for name in initializations(OVERFIT, "both", {})
    ]
    plot_overfit(path, tile, fits, f"{OVERFIT}: astronaut")


def draw_sweep(path: Path, images: ImageSet) -> None:
    """A learning-rate range test of one model."""
    cls = colorizer_class(SWEPT)
    colorizer = cls(cls.preset("small"), device="cpu", precision="fp32")
    range_test(colorizer, images, steps=SWEEP_STEPS).plot(path, f"{SWEPT}: range test")


def shrink(path: Path) -> None:
    """Makes a picture small enough for a web page and for a repository."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    with atomic_path(path) as partial:
        picture.quantize(COLOURS).save(partial, format="png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
