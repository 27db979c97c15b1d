"""Makes `colour.jpg` and `historic.jpg`: photographs in grey, and coloured by `unet_timm@release`.

    python docs/colour.py docs

Needs no network: the photographs are those that scikit-image and scikit-learn ship, and those of
`docs/historic`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from skimage import data

import zoo
from zoo.arrays import UInt8Array
from zoo.images.open import to_grey
from zoo_datasets.photos import Photos

SIZE = (300, 240)
HISTORIC = Path(__file__).parent / "historic"


def main(out: Path) -> None:
    """Writes both into a folder."""
    embedded = [photo.pixels() for photo in Photos().manifest]
    draw([*embedded, data.camera()], 2).save(out / "colour.jpg", quality=88)
    historic = [np.asarray(Image.open(file)) for file in sorted(HISTORIC.iterdir())]
    draw(historic, 1).save(out / "historic.jpg", quality=88)


def draw(photographs: Sequence[UInt8Array], columns: int) -> Image.Image:
    """Each photograph grey on the left and coloured on the right, in columns of pairs."""
    colorizer = zoo.load("unet_timm", weights="release", device="cpu", precision="fp32")
    pairs = []
    for pixels in photographs:
        grey = to_grey(Image.fromarray(pixels))
        colour = colorizer.predict(grey, working_size=96)
        fitted = [ImageOps.fit(Image.fromarray(p).convert("RGB"), SIZE) for p in (grey, colour)]
        pairs.append(np.hstack(fitted))
    rows = len(pairs) // columns
    drawn = [np.vstack(pairs[start : start + rows]) for start in range(0, len(pairs), rows)]
    return Image.fromarray(np.hstack(drawn))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
