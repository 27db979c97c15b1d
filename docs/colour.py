"""Makes `colour.jpg`: photographs in grey, and in the colours of the weights that come along.

    python docs/colour.py docs/colour.jpg

Needs no network: the photographs are those that scikit-image and scikit-learn ship.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from skimage import data

import zoo
from zoo.images.open import to_grey
from zoo_datasets.photos import Photos

SIZE = (300, 240)


def main(out: Path) -> None:
    """Each photograph grey on the left and coloured on the right, in two columns of pairs."""
    colorizer = zoo.load("unet_timm", weights="release", device="cpu", precision="fp32")
    shown = {photo.name: photo.pixels() for photo in Photos().manifest} | {"camera": data.camera()}
    pairs = []
    for pixels in shown.values():
        grey = to_grey(Image.fromarray(pixels))
        colour = colorizer.predict(grey, working_size=96)
        fitted = [ImageOps.fit(Image.fromarray(p).convert("RGB"), SIZE) for p in (grey, colour)]
        pairs.append(np.hstack(fitted))
    half = len(pairs) // 2
    columns = [np.vstack(pairs[:half]), np.vstack(pairs[half:])]
    Image.fromarray(np.hstack(columns)).save(out, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
