"""Makes `conditions.png`: a photograph under all conditions, and what three networks make of it.

    python docs/conditions.py PLAIN.safetensors VARIED.safetensors docs/conditions.png

Both files are of `unet_timm`: trained on inputs as they are, and on varied ones. The third network
is the one that comes along.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import zoo
from zoo import registry
from zoo.arrays import UInt8Array
from zoo.colorizer import Colorizer
from zoo.metric import Pictures
from zoo_benchmark.conditions import CONDITIONS, Condition
from zoo_benchmark.run.scoring import paint_under

SIDE, SHOWN = 64, 96
PHOTOGRAPH = "china"
GAP, LEFT, TOP = 4, 84, 22


def main(plain: Path, varied: Path, out: Path) -> None:
    """Rows of inputs and of what each network made of them; a column for each condition."""
    photographs = registry.open_dataset("photos").showcase(16, SIDE)
    number = photographs.ids.index(PHOTOGRAPH)
    source = Pictures.from_array(photographs.images[number : number + 1])
    networks = {
        "input": None,
        "as they are": zoo.load("unet_timm", weights=plain, device="cpu", precision="fp32"),
        "varied": zoo.load("unet_timm", weights=varied, device="cpu", precision="fp32"),
        "release": zoo.load("unet_timm", weights="release", device="cpu", precision="fp32"),
    }
    step = SHOWN + GAP
    size = (LEFT + len(CONDITIONS) * step, TOP + len(networks) * step)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, condition in enumerate(CONDITIONS.values()):
        left = LEFT + column * step
        pen.text((left, 3), condition.name, "black", font)
        for row, network in enumerate(networks.values()):
            picture = Image.fromarray(_cell(condition, source, network))
            picture = picture.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left, TOP + row * step))
    for row, name in enumerate(networks):
        pen.text((2, TOP + row * step + SHOWN // 2 - 8), name, "black", font)
    sheet.save(out)


def _cell(condition: Condition, source: Pictures, network: Colorizer | None) -> UInt8Array:
    if network is None:
        grey = condition.inputs(source.rgb8.permute(0, 2, 3, 1).numpy())[0]
        return np.repeat(grey[:, :, None], 3, axis=2)
    return paint_under(condition, network, source).rgb8[0].permute(1, 2, 0).numpy()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
