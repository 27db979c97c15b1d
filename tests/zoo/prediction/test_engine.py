"""`predict` and `zoo colorize` are one engine: the same pixels, at the same working size."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms
from skimage import color, data
from torch import nn

import zoo
from zoo.colorizer import Colorizer, Info
from zoo.errors import InputError, OptionError
from zoo.pipeline.plan import Job, Settings
from zoo.pipeline.run import colorize_files
from zoo.prediction.merge import coloured_images
from zoo.prediction.working_size import pad_edges, suited_working_size


class Ramps(Colorizer):
    """Chroma that rises from left to right; notes the shapes that it is given."""

    info = Info("ramps", "Ramps", "none", "MIT")
    minimum_size, multiple = 8, 4

    def __init__(self):
        super().__init__(device="cpu", precision="fp32")
        self.shapes = []
        self.net, self._fitted = self.build(), True

    def build(self):
        return nn.Identity()

    def forward(self, L):
        self.shapes.append(tuple(L.shape))
        ramp = torch.linspace(-20, 20, L.shape[3]).expand(len(L), 1, *L.shape[2:])
        return torch.cat((ramp + L / 10, 5 - ramp), dim=1)


class Suited(Ramps):
    info = replace(Ramps.info, working_size=96)


class Paints(Ramps):
    info = replace(Ramps.info, output="rgb")

    def forward(self, L):
        self.shapes.append(tuple(L.shape))
        return torch.tensor([0.7, 0.4, 0.3])[None, :, None, None].expand(len(L), 3, *L.shape[2:])


def colorized(colorizer, path, tmp_path, **settings):
    """The file as `zoo colorize` writes it."""
    target = tmp_path / "out" / path.name
    report = colorize_files(colorizer, [Job(path, target)], Settings(overwrite=True, **settings))
    assert not report.failures
    return np.asarray(Image.open(target))


PICTURES = {
    "grey": data.camera()[100:271, 60:293],
    "colour": data.astronaut()[20:187, 90:205],
    "small": data.coffee()[100:133, 200:247, 0],
}


# One engine


@pytest.mark.parametrize("working_size", ["auto", "full", 75])
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_files_arrays_and_pictures_get_the_same_pixels(
    name, picture, working_size, fitted, tmp_path
):
    colorizer, pixels = fitted(name), PICTURES[picture]
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    expected = colorized(colorizer, path, tmp_path, working_size=working_size)
    with Image.open(path) as image:
        found = np.asarray(colorizer.predict(image, working_size))
    np.testing.assert_array_equal(found, expected)
    if pixels.ndim == 2:
        np.testing.assert_array_equal(colorizer.predict(pixels, working_size), expected)
        # The frames of a film, too, and items of a list.
        (frame,) = colorizer.predict(pixels[None], working_size, batch_size="auto")
        np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("kind", ["I;16", "LA", "CMYK", "profile"])
def test_every_kind_of_picture_has_the_lightness_of_its_file(kind, tmp_path):
    path, grey = tmp_path / "x.tif", PICTURES["grey"]
    if kind == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 250)
    else:
        mode = "L" if kind == "profile" else kind
        image = Image.fromarray(PICTURES["colour"]).convert(mode)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if kind == "profile":
        profile = linear_grey_profile()
    image.save(path, **({"icc_profile": profile} if kind == "profile" else {}))
    written = colorized(Ramps(), path, tmp_path)[..., :3]
    with Image.open(path) as image:
        found = np.asarray(Ramps().predict(image))
        assert kind != "profile" or (Ramps().predict(np.asarray(image)) != found).any()
    if kind == "I;16":
        # Written with all its bits; Pillow shows the upper eight of them.
        assert np.abs(found.astype(int) - written).max() <= 1
    else:
        np.testing.assert_array_equal(found, written)


def linear_grey_profile() -> bytes:
    """An ICC profile of grey in proportion to luminance."""
    curve = b"curv" + bytes(4) + (0).to_bytes(4, "big")
    white = (
        b"XYZ "
        + bytes(4)
        + b"".join(int(v * 65536).to_bytes(4, "big") for v in (0.9642, 1, 0.8249))
    )
    table, content = b"", b""
    start = 128 + 4 + 2 * 12
    for name, tag in ((b"kTRC", curve), (b"wtpt", white)):
        table += name + (start + len(content)).to_bytes(4, "big") + len(tag).to_bytes(4, "big")
        content += tag
    body = (2).to_bytes(4, "big") + table + content
    header = bytearray(128)
    header[0:4] = (128 + len(body)).to_bytes(4, "big")
    header[8], header[36:40] = 2, b"acsp"
    header[12:24] = b"mntrGRAYXYZ "
    return bytes(header) + body


def test_sixteen_bits_stay_in_the_file(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(PICTURES["grey"].astype(np.uint16) * 250).save(path)
    colorize_files(Ramps(), [Job(path, tmp_path / "out.png")])
    with Image.open(path) as image:
        found = Ramps().predict(image)
    assert (found.mode, found.size) == ("RGB", image.size)
    import imagecodecs

    deep = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert deep.dtype == np.uint16
    assert np.abs(np.asarray(found) - deep / 257).max() <= 0.51


def test_an_independent_reference_agrees():
    grey, short = PICTURES["grey"], 40
    colorizer = Ramps()
    found = colorizer.predict(grey, short)
    size = (round(233 * short / 171), short)
    small = Image.fromarray(grey.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    L = color.rgb2lab(np.repeat(np.clip(small, 0, 255)[..., None] / 255, 3, axis=2))[..., 0]
    ab = colorizer.predict_ab(
        torch.from_numpy(np.pad(L, ((0, 0), (0, 1)), "edge")).float()[None, None]
    )
    assert colorizer.shapes == [(1, 1, 40, 56)] * 2
    ab = F.interpolate(ab[:, :, :, :55], size=grey.shape, mode="bilinear", align_corners=False)
    lightness = color.rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
    expected = color.lab2rgb(np.dstack([lightness, ab[0].permute(1, 2, 0).double().numpy()]))
    assert np.abs(found - 255 * expected).max() <= 0.51 + 0.05


def test_full_is_the_network_at_the_size_of_the_photograph():
    grey = PICTURES["grey"]
    colorizer = Ramps()
    found = colorizer.predict(grey, "full")
    assert colorizer.shapes == [(1, 1, 172, 236)]
    L = color.rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
    rgb = colorizer.predict_rgb(torch.from_numpy(L).float()[None, None])[0].permute(1, 2, 0)
    assert np.abs(found - 255 * rgb.numpy()).max() <= 0.51


def test_painters_of_rgb_give_their_chroma_and_predict_rgb_what_they_painted():
    grey = np.tile(np.arange(90, 160, dtype=np.uint8), (70, 1))
    colorizer = Paints()
    lab = color.rgb2lab(colorizer.predict(grey))
    painted = color.rgb2lab([[[0.7, 0.4, 0.3]]])[0, 0]
    assert np.abs(lab[..., 1:] - painted[1:]).max() < 1
    kept = color.rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
    assert np.abs(lab[..., 0] - kept).max() < 0.4
    rgb = colorizer.predict_rgb(torch.full((1, 1, 9, 9), 50.0))
    assert torch.equal(rgb, torch.tensor([0.7, 0.4, 0.3])[None, :, None, None].expand(1, 3, 9, 9))


# The working size


@pytest.mark.parametrize(
    ("shape", "working_size", "seen"),
    [
        ((300, 200), 100, (152, 100)),  # 150, padded
        ((300, 200), 200, (300, 200)),
        ((300, 200), 201, (300, 200)),  # never enlarged
        ((300, 200), "full", (300, 200)),
        ((600, 512), "auto", (300, 256)),
        ((30, 20), "auto", (32, 20)),
        ((1, 2000), 64, (8, 2000)),
        ((3, 5), 8, (8, 8)),
    ],
)
def test_the_network_sees_the_working_size(shape, working_size, seen):
    colorizer = Ramps()
    colour = colorizer.predict(np.resize(data.camera(), shape), working_size)
    assert colour.shape == (*shape, 3)
    assert colorizer.shapes == [(1, 1, *seen)]


@pytest.mark.parametrize(
    ("shape", "working_size", "seen"),
    [
        ((600, 200), "auto", (96, 96)),
        ((600, 90), "auto", (96, 92)),  # 90, padded; never enlarged
        ((50, 40), "auto", (52, 40)),
        ((600, 200), 128, (128, 128)),
        ((600, 200), "full", (600, 200)),
    ],
)
def test_a_squashing_method_sees_squares(shape, working_size, seen, tmp_path):
    class Squashed(Suited):
        info = replace(Suited.info, squashed=True)

    image = np.resize(data.camera(), shape)
    colorizer = Squashed()
    colour = colorizer.predict(image, working_size)
    assert colour.shape == (*shape, 3)
    assert colorizer.shapes == [(1, 1, *seen)]
    Image.fromarray(image).save(tmp_path / "scan.png")
    written = colorized(Squashed(), tmp_path / "scan.png", tmp_path, working_size=working_size)
    np.testing.assert_array_equal(written, colour)


def test_auto_is_declared_or_as_trained_or_256():
    assert suited_working_size(None, 176) == 176
    assert suited_working_size(None, 32) == 64
    assert suited_working_size(None, None) == 256
    assert suited_working_size(32, 176) == 32
    colorizer = Ramps()
    assert colorizer.working_size == 256
    colorizer.record = SimpleNamespace(size=176)
    assert colorizer.working_size == 176
    assert Suited().working_size == 96
    declared = Suited()
    declared.predict(data.camera())
    assert declared.shapes == [(1, 1, 96, 96)]


def test_a_half_trained_network_sees_what_it_is_trained_on(new, tiles):
    colorizer, seen = new("zhang_rebalanced"), []

    def look(feed):
        with colorizer.evaluating():
            seen.append((feed.size, colorizer.working_size))

    colorizer.fit(tiles, budget="1steps", size=48, on_step=look)
    assert seen == [(48, 64)]
    colorizer.fit(np.resize(tiles, (4, 96, 96, 3)), budget="1steps", size=96, on_step=look)
    assert seen[1:] == [(96, 96)]


def test_a_working_size_may_be_a_number_of_numpy(greys):
    expected = Ramps().predict(greys, 16)
    np.testing.assert_array_equal(Ramps().predict(greys, np.int64(16)), expected)
    assert Settings(working_size=np.int64(16)).working_size == 16


@pytest.mark.parametrize("working_size", [0, -1, 7, 4097, 64.0, np.int64(7), "large", None])
def test_a_working_size_that_is_none(working_size, greys):
    with pytest.raises(OptionError, match=f"got {working_size}; try 256"):
        Ramps().predict(greys, working_size)
    with pytest.raises(OptionError, match=f"got {working_size}; try 256"):
        Settings(working_size=working_size)


# Batches and memory


def test_sizes_with_the_same_padding_share_a_pass_and_get_what_each_gets_alone():
    grey = data.camera()
    pictures = [grey[: 99 - i, : 90 + i] for i in range(4)] + [grey[5:104, 7:97], grey[:60, :50]]
    colorizer = Ramps()
    together = colorizer.predict(pictures, "full", batch_size=8)
    assert [shape[0] for shape in colorizer.shapes] == [4, 1, 1]
    for picture, colour in zip(pictures, together, strict=True):
        np.testing.assert_array_equal(Ramps().predict(picture, "full"), colour)


def test_strips_of_many_photographs_are_those_of_each():
    planes = [np.ascontiguousarray(data.camera()[i : i + 50, 30:91]) for i in range(3)]
    ab = 20 * torch.randn(3, 2, 13, 17, generator=torch.Generator().manual_seed(0))
    whole = coloured_images(planes, ab)
    assert whole.shape == (3, 50, 61, 3)
    for pixels in (1, 400, 3 * 61 * 7):
        np.testing.assert_array_equal(coloured_images(planes, ab, pixels), whole)
    for plane, chroma, colour in zip(planes, ab, whole, strict=True):
        np.testing.assert_array_equal(coloured_images([plane], chroma[None])[0], colour)


def test_edges_are_repeated():
    planes = torch.arange(24).reshape(2, 1, 3, 4)
    expected = np.pad(planes.numpy(), ((0, 0), (0, 0), (0, 2), (0, 5)), "edge")
    np.testing.assert_array_equal(pad_edges(planes, (5, 9)), expected)
    assert pad_edges(planes, (3, 4)) is planes


def test_an_empty_picture_is_refused():
    with pytest.raises(InputError, match="images must not be empty, got 0×5 pixels"):
        Ramps().predict(Image.new("L", (0, 5)))
