"""Rarer kinds of files, above all TIFF: what is read is what another library reads."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from skimage import color

import zoo.images.open
from zoo.errors import InputError
from zoo.images.open import read_image, read_size, to_grey
from zoo.images.photograph import read_photograph


@pytest.fixture(scope="module")
def grey(rgb):
    return rgb[..., 1].copy()


@pytest.fixture(scope="module")
def deep(rgb):
    """H×W×2: 16-bit grey and alpha, with all their bits."""
    fine = np.random.default_rng(0).integers(0, 256, (*rgb.shape[:2], 2))
    return (rgb[..., :2].astype(np.uint16) * 256 + fine).astype(np.uint16)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "byteorder": ">"},
        {"planarconfig": "separate"},
        {"photometric": "miniswhite"},
        {"tile": (32, 32)},
    ],
)
def test_16_bit_grey_with_alpha_from_tiff(options, deep, tmp_path):
    path = tmp_path / "x.tif"
    given = deep.copy()
    if options.get("photometric"):
        given[..., 0] = 65535 - given[..., 0]
    if "planarconfig" in options:
        given = given.transpose(2, 0, 1)
    usual = {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tags = {"iccprofile": b"x" * 200, "resolution": (300, 150), "resolutionunit": 2}
    tifffile.imwrite(path, given, **(usual | tags | options))
    photograph = read_photograph(path)
    np.testing.assert_array_equal(photograph.grey, deep[..., 0])
    np.testing.assert_array_equal(photograph.alpha, deep[..., 1])
    assert (photograph.bits, photograph.alpha.dtype, photograph.notes) == (16, np.uint16, ())
    assert photograph.has_profile
    assert photograph.metadata.dpi == (300, 150)
    assert read_size(path) == (128, 96)
    # The other door leads to the same picture in 8 bits.
    np.testing.assert_allclose(to_grey(read_image(path)), deep[..., 0] / 257, atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_grey_with_alpha_is_turned_upright(orientation, deep, tmp_path):
    path = tmp_path / "x.tif"
    tags = [(274, 3, 1, orientation, True)]
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, deep, extrasamples=["unassalpha"], extratags=tags, **options)
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    small = (deep >> 8).astype(np.uint8)
    Image.fromarray(small).save(buffer, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    photograph = read_photograph(path)
    np.testing.assert_array_equal(photograph.grey >> 8, upright[..., 0])
    np.testing.assert_array_equal(photograph.alpha >> 8, upright[..., 1])
    again = np.asarray(read_image(path))
    np.testing.assert_allclose(again.astype(int), upright, atol=1)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_that_is_multiplied_in_is_divided_out(channels, rgb, tmp_path):
    colours = rgb[..., 1:2] if channels == 2 else rgb
    alpha = np.linspace(1, 65535, rgb.shape[1]).astype(np.uint16)
    alpha = np.broadcast_to(alpha[None, :, None], (*rgb.shape[:2], 1))
    full = colours.astype(np.uint16) * 257
    mixed = np.dstack([(full.astype(np.float64) * alpha / 65535).round().astype(np.uint16), alpha])
    photometric = "minisblack" if channels == 2 else "rgb"
    options = {"photometric": photometric, "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "x.tif", mixed, extrasamples=["assocalpha"], **options)
    photograph = read_photograph(tmp_path / "x.tif")
    np.testing.assert_array_equal(photograph.alpha, alpha[..., 0])
    expected = color.rgb2lab(np.repeat(full, 3, axis=2) / 65535 if channels == 2 else full / 65535)
    found = color.rgb2lab(np.repeat(photograph.grey[..., None] / 65535, 3, axis=2))
    solid = alpha[..., 0] > 20_000
    np.testing.assert_allclose(found[..., 0][solid], expected[..., 0][solid], atol=0.02)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 4])
def test_an_extra_channel_of_unknown_meaning_is_no_alpha(channels, bits, rgb, tmp_path):
    # Scanners put infrared there.
    pixels = np.dstack([rgb[..., 1:2] if channels == 2 else rgb, rgb[..., 0]])
    pixels = pixels if bits == 8 else pixels.astype(np.uint16) * 257
    photometric = "minisblack" if channels == 2 else "rgb"
    options = {"photometric": photometric, "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "x.tif", pixels, extrasamples=["unspecified"], **options)
    photograph = read_photograph(tmp_path / "x.tif")
    assert photograph.alpha is None
    assert photograph.bits == bits
    assert photograph.notes == ("its extra channel, not declared as alpha, is left out",)


def test_a_second_sample_that_is_no_alpha_is_left_out_of_floats_too(rgb, tmp_path):
    two = rgb[..., :2].astype(np.float32) / 255
    tifffile.imwrite(tmp_path / "x.tif", two, photometric="minisblack", planarconfig="contig")
    photograph = read_photograph(tmp_path / "x.tif")
    np.testing.assert_array_equal(photograph.grey, rgb[..., 0].astype(int) * 257)
    assert photograph.notes == ("its extra channel, not declared as alpha, is left out",)


def test_16_bit_grey_tiff_with_alpha_keeps_the_limit_of_size(deep, tmp_path, monkeypatch):
    path = tmp_path / "x.tif"
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, deep, extrasamples=["unassalpha"], **options)
    path.with_name("cut.tif").write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"cut\.tif: damaged or truncated"):
        read_photograph(path.with_name("cut.tif"))
    monkeypatch.setattr(zoo.images.open, "MAX_PIXELS", 1000)
    with pytest.raises(InputError, match="128×96 pixels are more than"):
        read_photograph(path)


@pytest.mark.parametrize("key", [True, False])
def test_16_bit_grey_png_with_a_transparent_value(key, deep, tmp_path):
    grey, value = deep[..., 0].copy(), int(deep[40, 50, 0])
    plain = imagecodecs.png_encode(grey)
    content = b"tRNS" + struct.pack(">H", value)
    if key:
        end = struct.pack(">I", imagecodecs.zlib_crc32(content))
        plain = plain[:33] + struct.pack(">I", 2) + content + end + plain[33:]
    (tmp_path / "x.png").write_bytes(plain)
    photograph = read_photograph(tmp_path / "x.png")
    np.testing.assert_array_equal(photograph.grey, grey)
    if key:
        np.testing.assert_array_equal(photograph.alpha, np.where(grey == value, 0, 65535))
        assert photograph.alpha.min() == 0
    else:
        assert photograph.alpha is None


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("compression", ["group4", "group3", "tiff_ccitt", "packbits", None])
def test_1_bit_tiff_of_faxes(compression, white_is_zero, grey, tmp_path):
    black_and_white = grey > 100
    image = Image.fromarray(black_and_white)
    if white_is_zero:
        image.save(tmp_path / "x.tif", compression=compression, tiffinfo={262: 0})
    else:
        image.save(tmp_path / "x.tif", compression=compression)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        stored = file.asarray()
        assert int(file.pages.first.photometric) == (0 if white_is_zero else 1)
    expected = 255 * (stored.astype(np.uint8) ^ white_is_zero)
    photograph = read_photograph(tmp_path / "x.tif")
    np.testing.assert_array_equal(photograph.grey, expected)
    assert (photograph.bits, set(np.unique(photograph.grey))) == (8, {0, 255})


@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero_in_8_bits(order, grey, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", 255 - grey, photometric="miniswhite", byteorder=order)
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.tif").grey, grey)


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_floating_point_keeps_16_bits(top, deep, tmp_path):
    values = (deep[..., 0] / 65535 * top).astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", values)
    photograph = read_photograph(tmp_path / "x.tif")
    assert (photograph.grey.dtype, photograph.bits) == (np.uint16, 16)
    assert np.abs(photograph.grey.astype(int) - deep[..., 0]).max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -30, 70_000])
def test_floating_point_of_an_unknown_range(value, grey, tmp_path):
    values = grey.astype(np.float32)
    values[3, 3] = value
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises(InputError, match=r"x\.tif: a floating-point image with values from"):
        read_photograph(tmp_path / "x.tif")


def test_palettes_with_an_alpha_of_each_colour(rgb, tmp_path):
    image = Image.fromarray(rgb).quantize(16)
    levels = bytes(range(0, 256, 16))
    image.save(tmp_path / "x.png", transparency=levels)
    photograph = read_photograph(tmp_path / "x.png")
    np.testing.assert_array_equal(photograph.alpha, np.frombuffer(levels, np.uint8)[image])
    expected = color.rgb2lab(np.asarray(image.convert("RGB")))[..., 0]
    found = color.rgb2lab(np.repeat(photograph.grey[..., None] / 65535, 3, axis=2))[..., 0]
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_cmyk(name, rgb, tmp_path):
    # Ink by the plain formula; Adobe's JPEGs store its complement, TIFFs do not.
    paper = rgb.max(axis=2, keepdims=True).astype(float)
    ink = np.dstack([255 * (1 - rgb / np.maximum(paper, 1)), 255 - paper]).round().astype(np.uint8)
    path = tmp_path / name
    if name == "x.jpg":
        stored = imagecodecs.jpeg8_encode(
            255 - ink, level=100, colorspace="CMYK", outcolorspace="CMYK"
        )
        adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
        path.write_bytes(stored if b"Adobe" in stored[:40] else stored[:2] + adobe + stored[2:])
    else:
        tifffile.imwrite(path, ink, photometric="separated")
    expected = color.rgb2lab(rgb)[..., 0]
    photograph = read_photograph(path)
    found = color.rgb2lab(np.repeat(photograph.grey[..., None] / 65535, 3, axis=2))[..., 0]
    error = np.abs(found - expected)
    assert error.mean() < (1 if name == "x.jpg" else 0.3)
    assert photograph.alpha is None


def cmyk_profile(darkest):
    """A profile whose table (`lut8`, ICC.1 10.10) knows only white paper and full black ink."""
    grid = np.zeros((2, 2, 2, 2, 3), np.uint8)
    C, M, Y, K = np.indices((2, 2, 2, 2))
    light = 100 - (100 - darkest) * np.maximum(K, (C + M + Y) / 3)
    grid[..., 0], grid[..., 1:] = np.round(light * 2.55), 128
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    table += bytes(range(256)) * 4 + grid.tobytes() + bytes(range(256)) * 3
    table += bytes(-len(table) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", 144 + len(table), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    entry = struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    return head.ljust(128, b"\0") + entry + table


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_profile_of_cmyk(name, rgb, tmp_path):
    icc = cmyk_profile(darkest=30)
    image = Image.fromarray(rgb).convert("CMYK")
    image.save(tmp_path / name, icc_profile=icc, **({"quality": 100} if name == "x.jpg" else {}))
    with Image.open(tmp_path / name) as stored:
        pixels = np.asarray(stored).astype(int)
        converted = ImageCms.profileToProfile(
            stored, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    found = read_photograph(tmp_path / name)
    lightness = color.rgb2lab(np.repeat(found.grey[..., None] / 65535, 3, axis=2))[..., 0]
    np.testing.assert_allclose(lightness, color.rgb2lab(np.asarray(converted))[..., 0], atol=0.01)
    black = pixels[..., 3] > 250
    plain = color.rgb2lab(np.asarray(Image.open(tmp_path / name).convert("RGB")))[..., 0]
    assert np.abs(lightness - plain).mean() > 3
    if black.any():
        assert abs(lightness[black].mean() - 30) < 2


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits(bits, grey, tmp_path):
    levels = grey >> (8 - bits)
    packed = imagecodecs.packints_encode(levels.reshape(-1), bits)
    head = [(256, 4, 128), (257, 4, 96), (258, 3, bits), (259, 3, 1), (262, 3, 1)]
    head += [(273, 4, 8), (277, 3, 1), (278, 4, 96), (279, 4, len(packed))]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<H2x" if kind == 3 else "<I", value)
        for tag, kind, value in head
    )
    directory = struct.pack("<H", len(head)) + entries + bytes(4)
    start = struct.pack("<I", 8 + len(packed))
    (tmp_path / "x.tif").write_bytes(b"II*\0" + start + bytes(packed) + directory)
    expected = levels.astype(int) * 255 // (2**bits - 1)
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.tif").grey, expected)
