"""Makes `samples.png`: what the models of a comparison make of the embedded photographs.

    python docs/samples.py runs/<time> docs/samples.png

Meant for a run on other images than these. Needs the run's folder, no network.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

import zoo
from zoo.color.lab import grey_to_L
from zoo.data.dataset import ImageSet
from zoo.images.open import square_tile, to_grey
from zoo.metric import Pictures
from zoo_benchmark.report.samples import Column, write_samples
from zoo_benchmark.run.trial_spec import WEIGHTS_FOLDER, slug
from zoo_datasets.photos import Photos

SIDE = 160


def main(run: Path, out: Path) -> None:
    """Colours the seven photographs, squared, with the first seed's weights of every model."""
    photographs = [square_tile(photo.pixels(), SIDE) for photo in Photos().manifest]
    pictures = ImageSet(np.stack(photographs), [photo.name for photo in Photos().manifest])
    greys = np.stack([to_grey(Image.fromarray(photograph)) for photograph in photographs])
    L = grey_to_L(torch.from_numpy(greys).unsqueeze(1))
    runs = pd.read_csv(run / "runs.csv").drop_duplicates("model").set_index("model")
    board = pd.read_csv(run / "leaderboard.csv")
    columns = []
    for row in board[board["model"] != "grey"].itertuples():
        model = str(row.model)
        if "@" in model:  # with given weights
            colorizer = zoo.load(model, precision="fp32")
        else:
            weights = run / WEIGHTS_FOLDER / f"{slug(model)}.safetensors"
            colorizer = zoo.load(str(runs.loc[model, "colorizer"]), weights, precision="fp32")
        # As they are scored: at their own size, and RGB as it was painted.
        colours = Pictures.from_unit_rgb(colorizer.predict_rgb(L)).rgb8.permute(0, 2, 3, 1)
        painted = [Image.fromarray(colour) for colour in colours.numpy()]
        columns.append(Column(model, f"LPIPS {row.lpips:.3f}", painted))
    write_samples(out, pictures, columns)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
