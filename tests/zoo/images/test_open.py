import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage
import skimage.color
from PIL import Image, ImageCms

from zoo.errors import InputError
from zoo.images.open import (
    MAX_PIXELS,
    is_grey,
    read_image,
    read_size,
    square_tile,
    to_grey,
    to_rgb,
)

CHELSEA = Path(skimage.__file__).parent / "data" / "chelsea.png"


@pytest.fixture(scope="module")
def chelsea():
    return np.asarray(Image.open(CHELSEA).convert("RGB"))


@pytest.fixture(scope="module")
def grey_values():
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def save(image, path, **options):
    image.save(path, **options)
    return path


# Modes


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "PA", "La", "RGBa"])
def test_every_8_bit_mode_gives_grey_values_back_exactly(grey_values, mode):
    image = Image.fromarray(grey_values)
    if mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    elif mode == "PA":
        image = image.convert("P").convert("PA")
    else:
        image = image.convert(mode)
    assert image.mode == mode
    np.testing.assert_array_equal(to_grey(image), grey_values)
    np.testing.assert_array_equal(to_rgb(image), np.stack([grey_values] * 3, -1))


def test_1_bit():
    bits = np.array([[0, 1, 1], [1, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(to_grey(Image.fromarray(bits)), bits * np.uint8(255))
    np.testing.assert_array_equal(to_rgb(Image.fromarray(bits))[..., 2], bits * np.uint8(255))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_files_are_scaled_not_clipped(tmp_path, suffix):
    deep = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    path = save(Image.fromarray(deep), tmp_path / f"deep.{suffix}")
    image = read_image(path)
    expected = np.round(deep / 257).astype(np.uint8)
    np.testing.assert_array_equal(to_grey(image), expected)
    np.testing.assert_array_equal(to_rgb(image)[..., 1], expected)


def test_big_endian_16_bit():
    deep = np.array([[0, 257, 65535]], dtype=">u2")
    image = Image.frombytes("I;16B", (3, 1), deep.tobytes())
    np.testing.assert_array_equal(to_grey(image), [[0, 1, 255]])


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_floats(grey_values, top):
    image = Image.fromarray((grey_values / 255 * top).astype(np.float32))
    assert image.mode == "F"
    np.testing.assert_array_equal(to_grey(image), grey_values)


@pytest.mark.parametrize(
    "values", [np.float32([[-1, 1]]), np.float32([[0, np.nan]]), np.int32([[0, 70000]])]
)
def test_unknown_ranges_are_refused(values):
    with pytest.raises(InputError, match="values from"):
        to_grey(Image.fromarray(values))


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_palette_files_are_not_read_as_indices(tmp_path, chelsea, transparency):
    palette = Image.fromarray(chelsea).quantize(256)
    expected = np.asarray(palette.convert("RGB"))
    options = {} if transparency is None else {"transparency": transparency}
    path = save(palette, tmp_path / "palette.png", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
        assert image.mode == "P"
        np.testing.assert_array_equal(to_rgb(image), expected)


def test_alpha_is_dropped_and_the_stored_colours_stay(chelsea):
    alpha = Image.new("L", (chelsea.shape[1], chelsea.shape[0]), 7)
    image = Image.fromarray(chelsea)
    image.putalpha(alpha)
    np.testing.assert_array_equal(to_rgb(image), chelsea)


def test_cmyk_jpeg_is_close_to_its_original(tmp_path, chelsea):
    cmyk = Image.fromarray(chelsea).convert("CMYK")
    image = read_image(save(cmyk, tmp_path / "cmyk.jpg", quality=95))
    assert image.mode == "CMYK"
    assert np.abs(to_rgb(image).astype(int) - chelsea).mean() < 4
    assert to_grey(image).shape == chelsea.shape[:2]


@pytest.mark.parametrize(("mode", "tolerance"), [("YCbCr", 2), ("HSV", 6)])
def test_other_colour_modes(chelsea, mode, tolerance):
    rgb = to_rgb(Image.fromarray(chelsea).convert(mode))
    assert np.abs(rgb.astype(int) - chelsea).mean() < tolerance


def test_lab_files(tmp_path, chelsea):
    lab = ImageCms.profileToProfile(
        Image.fromarray(chelsea),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    image = read_image(save(lab, tmp_path / "lab.tif"))
    assert image.mode == "LAB"
    assert np.abs(to_rgb(image).astype(int) - chelsea).mean() < 2


# Colour profiles


def swapped_profile():
    """An sRGB profile whose red and blue primaries are exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def test_an_embedded_profile_is_converted_to_srgb(tmp_path, chelsea):
    path = save(Image.fromarray(chelsea), tmp_path / "p.png", icc_profile=swapped_profile())
    found = to_rgb(read_image(path))
    assert np.abs(found.astype(int) - chelsea[..., ::-1]).max() <= 3


def test_an_srgb_profile_changes_nothing(tmp_path, chelsea):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(Image.fromarray(chelsea), tmp_path / "p.png", icc_profile=profile)
    np.testing.assert_array_equal(to_rgb(read_image(path)), chelsea)


# With names: the second one holds the time of day, and so would the test's own name.
@pytest.mark.parametrize(
    "profile", [b"nonsense" * 20, swapped_profile()[:300]], ids=["nonsense", "cut off"]
)
def test_a_broken_profile_is_ignored(chelsea, profile):
    image = Image.fromarray(chelsea)
    image.info["icc_profile"] = profile
    np.testing.assert_array_equal(to_rgb(image), chelsea)


# Grey


def test_colour_becomes_the_grey_of_its_lightness(chelsea):
    L = skimage.color.rgb2lab(chelsea)[..., 0]
    lab = np.stack([L, 0 * L, 0 * L], axis=-1)
    expected = np.round(skimage.color.lab2rgb(lab)[..., 1] * 255)
    assert np.abs(to_grey(Image.fromarray(chelsea)) - expected).max() <= 1


def test_is_grey_agrees_with_skimage(chelsea):
    almost = np.full((40, 40, 3), 128, dtype=np.uint8)
    one_pixel = almost.copy()
    one_pixel[3, 5] = (150, 120, 120)
    batch = np.stack([almost, one_pixel, chelsea[:40, :40], almost + np.uint8([3, 0, 0])])
    chroma = np.abs(skimage.color.rgb2lab(batch)[..., 1:]).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(is_grey(batch), chroma <= 5)
    assert is_grey(batch).tolist() == [True, False, False, True]


# Files


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_honoured(tmp_path, orientation, suffix):
    dark_top_left = np.full((16, 24), 255, dtype=np.uint8)
    dark_top_left[:8, :8] = 0
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation](dark_top_left)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(turned)).convert("RGB")
    path = save(image, tmp_path / f"turned.{suffix}", exif=exif.tobytes())
    grey = to_grey(read_image(path)) > 127
    np.testing.assert_array_equal(grey, dark_top_left > 127)


def test_damaged_exif_is_ignored(tmp_path, chelsea):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x07\0" * 3
    path = save(Image.fromarray(chelsea), tmp_path / "p.jpg", exif=exif)
    assert to_rgb(read_image(path)).shape == chelsea.shape


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "ppm"])
def test_truncated_files_are_named(tmp_path, chelsea, suffix):
    path = save(Image.fromarray(chelsea), tmp_path / f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\.{suffix}: ") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no image at all", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF", "not an image"),
    ],
)
def test_what_is_no_image(tmp_path, content, reason):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for read in (read_image, read_size):
        with pytest.raises(InputError, match=rf"x\.jpg: .*{reason}"):
            read(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="directory"):
        read_image(tmp_path)


def bomb(path, width, height):
    """A bitmap of a few bytes that claims to be large."""
    header = bytearray(save(Image.new("1", (8, 8)), path).read_bytes())
    header[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    path.write_bytes(header)
    return path


def test_decompression_bombs_are_errors_not_warnings(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    path = bomb(tmp_path / "bomb.bmp", 20_000, MAX_PIXELS // 20_000 + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"bomb\.bmp: 20000×10001 .* 200 megapixels"):
            read_image(path)
        assert read_size(bomb(path, 20_000, MAX_PIXELS // 20_000)) == (20_000, 10_000)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("name", ["flat.jpg", "subsampled.tif"])
def test_the_limit_of_pillow_is_not_met_by_a_second_decoding(name, chelsea, tmp_path, monkeypatch):
    pixels = chelsea[:64, :96].copy()
    pixels[48:, 80:] = 200  # where the end of a JPEG is flat, it is decoded again
    image = Image.fromarray(pixels)
    # tifffile does not decode YCbCr.
    save(image.convert("YCbCr") if name.endswith("tif") else image, tmp_path / name)
    expected = to_rgb(read_image(tmp_path / name))
    for limit in (4000, 1000):  # of which Pillow warns, and which it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(to_rgb(read_image(tmp_path / name)), expected)
        assert limit == Image.MAX_IMAGE_PIXELS


# Tiles


def test_square_tile_is_resize_then_centre_crop(chelsea):
    height, width = chelsea.shape[:2]
    wide = round(width * 64 / height)
    whole = Image.fromarray(chelsea).resize((wide, 64), Image.Resampling.LANCZOS)
    left = (wide - 64) // 2
    expected = np.asarray(whole)[:, left : left + 64].astype(int)
    assert np.abs(square_tile(chelsea, 64) - expected).max() <= 2


def test_square_tile_of_the_right_size_does_not_resample(chelsea):
    square = chelsea[:64, :64]
    assert square_tile(square, 64) is not None
    np.testing.assert_array_equal(square_tile(square, 64), square)
    np.testing.assert_array_equal(square_tile(chelsea[:64, :97], 64), chelsea[:64, 16:80])


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1), (5, 7), (1, 1)])
def test_square_tile_of_odd_shapes(shape):
    tile = square_tile(np.full((*shape, 3), 77, dtype=np.uint8), 32)
    assert tile.shape == (32, 32, 3)
    assert (tile == 77).all()
