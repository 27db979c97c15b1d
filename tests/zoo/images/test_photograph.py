"""Photographs read with all that must be kept, and written: every format times every mode."""

import io
import struct
import subprocess
import sys
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps
from skimage import color, data

import zoo.images.open
from zoo.errors import InputError
from zoo.images.icc import srgb_profile
from zoo.images.metadata import Metadata, exif_bytes, fit_metadata
from zoo.images.photograph import read_photograph
from zoo.images.write import FORMATS, Layout, find_format, write_picture

ORIENTATION, EXIF = 0x0112, ExifTags.IFD.Exif.value


@pytest.fixture(scope="module")
def rgb():
    return np.ascontiguousarray(data.astronaut()[20:116, 150:278])


@pytest.fixture(scope="module")
def grey(rgb):
    return rgb[..., 1].copy()


def lightness(photograph):
    """CIE L by scikit-image, of the grey that was read."""
    top = np.iinfo(photograph.grey.dtype).max
    return color.rgb2lab(np.repeat(photograph.grey[..., None] / top, 3, axis=2))[..., 0]


def profile(space, tags):
    """A minimal ICC v2 display profile."""
    tags = {b"wptp" if k == b"wtpt" else k: v for k, v in tags.items()}
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def xyz(*values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))


def grey_profile(value=1.8):
    return profile(
        b"GRAY",
        {b"desc": b"desc" + bytes(90), b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": gamma(value)},
    )


def wide_profile(changes=None):
    # The primaries of Adobe RGB (1998), adapted to D50.
    primaries = {b"r": (0.6097, 0.3111, 0.0195), b"g": (0.2053, 0.6257, 0.0609)}
    primaries[b"b"] = (0.1492, 0.0632, 0.7446)
    tags = {b"desc": b"desc" + bytes(90), b"wtpt": xyz(0.9642, 1, 0.8249)}
    for name, values in primaries.items():
        tags |= {name + b"XYZ": xyz(*values), name + b"TRC": gamma(2.2)}
    return profile(b"RGB ", tags | (changes or {}))


# Lightness


KINDS = {
    "1-bit": lambda rgb: Image.fromarray(rgb[..., 1] > 100),
    "L": lambda rgb: Image.fromarray(rgb[..., 1]),
    "LA": lambda rgb: Image.fromarray(rgb[..., 1]).convert("LA"),
    "P": lambda rgb: Image.fromarray(rgb).quantize(32),
    "RGB": Image.fromarray,
    "RGBA": lambda rgb: Image.fromarray(np.dstack([rgb, rgb[..., 1]])),
    "CMYK": lambda rgb: Image.fromarray(rgb).convert("CMYK"),
}


IMPOSSIBLE = {("png", "CMYK"), ("bmp", "LA"), ("bmp", "CMYK")}
IMPOSSIBLE |= {("jpg", kind) for kind in ("LA", "P", "RGBA")}


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (suffix, kind)
        for suffix in ("png", "tif", "jpg", "bmp", "webp")
        for kind in KINDS
        if (suffix, kind) not in IMPOSSIBLE
    ],
)
def test_lightness_of_every_mode_in_every_format(kind, suffix, rgb, tmp_path):
    path = tmp_path / f"x.{suffix}"
    image = KINDS[kind](rgb)
    options = {"webp": {"lossless": True, "exact": True}}.get(suffix, {})
    image.save(path, **options)
    stored = Image.open(path)
    photograph = read_photograph(path)
    expected = color.rgb2lab(np.asarray(stored.convert("RGBA").convert("RGB")))[..., 0]
    if stored.mode in ("RGBA", "LA"):
        expected = color.rgb2lab(np.asarray(stored.convert("RGBA"))[..., :3])[..., 0]
    np.testing.assert_allclose(lightness(photograph), expected, atol=0.01)
    assert photograph.bits == 8
    assert (photograph.alpha is not None) == (stored.mode in ("LA", "RGBA"))
    if kind in ("1-bit", "L", "LA") and stored.mode in ("1", "L", "LA"):
        assert photograph.grey.dtype == np.uint8


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey(order, grey, tmp_path):
    deep = grey.astype(np.uint16) * 257 - (grey > 9) * np.uint16(100)
    tifffile.imwrite(tmp_path / "x.tif", deep, byteorder=order)
    tifffile.imwrite(tmp_path / "inverse.tif", 65535 - deep, photometric="miniswhite")
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(deep))
    for name in ("x.tif", "x.png", "inverse.tif"):
        photograph = read_photograph(tmp_path / name)
        np.testing.assert_array_equal(photograph.grey, deep)
        assert (photograph.grey.dtype, photograph.bits) == (np.uint16, 16)
        assert photograph.alpha is None
        assert ExifTags.Base.ImageDescription.value not in photograph.metadata.exif


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.png", {}),
        ("plain.tif", {}),
        ("lzw.tif", {"compression": "lzw", "predictor": True}),
        ("deflate.tif", {"compression": "zlib"}),
        ("planes.tif", {"planarconfig": "separate"}),
    ],
)
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_is_not_cut_to_8_bits(name, options, channels, rgb, tmp_path):
    fine = np.random.default_rng(0).integers(0, 256, (*rgb.shape[:2], 4))
    deep = (np.dstack([rgb, rgb[..., 0]]).astype(np.uint16) * 256 + fine).astype(np.uint16)
    deep = np.ascontiguousarray(deep[..., :channels])
    if name.endswith("png"):
        (tmp_path / name).write_bytes(imagecodecs.png_encode(deep))
    else:
        extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
        given = deep.transpose(2, 0, 1) if "planarconfig" in options else deep
        tifffile.imwrite(tmp_path / name, given, photometric="rgb", **options, **extra)
    photograph = read_photograph(tmp_path / name)
    expected = color.rgb2lab(deep[..., :3] / 65535)[..., 0]
    np.testing.assert_allclose(lightness(photograph), expected, atol=0.004)
    assert photograph.bits == 16
    if channels == 4:
        np.testing.assert_array_equal(photograph.alpha, deep[..., 3])


def test_16_bit_grey_with_alpha(grey, tmp_path):
    deep = np.dstack([grey, grey[::-1]]).astype(np.uint16) * 257
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(deep))
    photograph = read_photograph(tmp_path / "x.png")
    np.testing.assert_array_equal(photograph.grey, deep[..., 0])
    np.testing.assert_array_equal(photograph.alpha, deep[..., 1])


def test_heic(rgb, tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    Image.fromarray(rgb).save(tmp_path / "x.heic", quality=100)
    stored = np.asarray(Image.open(tmp_path / "x.heic").convert("RGB"))
    photograph = read_photograph(tmp_path / "x.heic")
    np.testing.assert_allclose(lightness(photograph), color.rgb2lab(stored)[..., 0], atol=0.01)


def test_heic_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(InputError, match=r"pip install 'colorizer-zoo\[heic\]'"):
        read_photograph(tmp_path / "x.heic")


# Alpha, orientation, profiles


def test_transparency_of_palettes_and_keys(rgb, grey, tmp_path):
    Image.fromarray(rgb).quantize(16).save(tmp_path / "p.png", transparency=3)
    Image.fromarray(grey).save(tmp_path / "l.png", transparency=int(grey[5, 5]))
    for name in ("p.png", "l.png"):
        expected = np.asarray(Image.open(tmp_path / name).convert("RGBA"))[..., 3]
        assert expected.min() == 0
        np.testing.assert_array_equal(read_photograph(tmp_path / name).alpha, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp", "deep.tif", "deep.png"])
def test_orientation(name, orientation, grey, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    layers = np.dstack([grey, grey, grey, grey[::-1]])
    image = Image.fromarray(layers)
    image.save(tmp_path / "pillow.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "pillow.png")))
    deep, path = layers.astype(np.uint16) * 257, tmp_path / name
    if name == "deep.tif":
        tags = [(ORIENTATION, 3, 1, orientation)]
        extra = {"extrasamples": ["unassalpha"], "resolution": (300, 150), "resolutionunit": 2}
        tifffile.imwrite(path, deep, photometric="rgb", extratags=tags, **extra)
    elif name == "deep.png":
        plain = imagecodecs.png_encode(deep)
        block = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        block = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
        path.write_bytes(plain[:33] + block + plain[33:])
    else:
        lossless = {"lossless": True, "exact": True} if name == "x.webp" else {}
        image.save(path, exif=exif, dpi=(300, 150), **lossless)
    photograph = read_photograph(path)
    assert photograph.bits == (16 if name.startswith("deep") else 8)
    scale = 257 if photograph.bits == 16 else 1
    np.testing.assert_allclose(photograph.grey / 257, upright[..., 0], atol=0.02)
    np.testing.assert_array_equal(photograph.alpha // scale, upright[..., 3])
    assert ORIENTATION not in photograph.metadata.exif
    if name in ("x.png", "x.tif", "deep.tif"):
        expected = (150, 300) if orientation > 4 else (300, 150)
        assert photograph.metadata.dpi == pytest.approx(expected, abs=0.1)


def test_pages_that_are_left_out_are_told(grey, tmp_path):
    pages = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    photograph = read_photograph(tmp_path / "x.tif")
    np.testing.assert_array_equal(photograph.grey, grey)
    assert photograph.notes == ("the first of its 2 images is taken",)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_is_left_out(rgb, tmp_path):
    broken = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\xff\x01\x12\0\x03"
    Image.fromarray(rgb).save(tmp_path / "x.jpg", exif=broken)
    photograph = read_photograph(tmp_path / "x.jpg")
    assert photograph.size == (96, 128)
    assert exif_bytes(photograph.metadata.exif)


@pytest.mark.parametrize("value", [1.0, 1.8, 2.6])
def test_profile_of_a_grey_image(value, tmp_path):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 8, axis=0)
    icc = grey_profile(value)
    Image.fromarray(ramp).save(tmp_path / "x.png", icc_profile=icc)
    tifffile.imwrite(tmp_path / "x.tif", ramp.astype(np.uint16) * 257, iccprofile=icc)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = ImageCms.profileToProfile(
            Image.fromarray(ramp), io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    expected = np.asarray(expected)[..., 1].astype(float)
    assert np.abs(expected - ramp).max() > 5
    for name in ("x.png", "x.tif"):
        photograph = read_photograph(tmp_path / name)
        # lcms is coarse in the shadows, where a table of 8 bits is steep; the formula is not.
        bright = expected > 60
        np.testing.assert_allclose((photograph.grey / 257)[bright], expected[bright], atol=1)
        luminance = (ramp / 255) ** (round(value * 256) / 256)
        white = np.array([0.95047, 1.0, 1.08883])
        formula = color.xyz2rgb(luminance[..., None] * white)[..., 1]
        np.testing.assert_allclose(photograph.grey / 65535, formula, atol=1e-4)
        assert photograph.has_profile


def test_parametric_curve_of_srgb_changes_nothing(tmp_path):
    parts = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    curve = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(p * 65536) for p in parts))
    icc = profile(b"GRAY", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": curve})
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "x.png", icc_profile=icc)
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.png").grey, ramp)


@pytest.mark.parametrize("cut", [0, 100, 131, 140, 180])
def test_a_broken_profile_is_ignored(cut, grey, tmp_path):
    Image.fromarray(grey).save(tmp_path / "x.png", icc_profile=grey_profile()[:cut] or b"x")
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.png").grey, grey)


def flat_curve(kind):
    """A parametric curve that has no slope, where ICC.1 divides by it."""
    parts = (2.2, 0, 0.1, 0.1)[: kind + 2]
    numbers = (round(part * 65536) for part in parts)
    return b"para" + bytes(4) + struct.pack(f">HH{len(parts)}i", kind, 0, *numbers)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_grey_profile_that_divides_by_zero_is_ignored(kind, grey, tmp_path):
    icc = profile(b"GRAY", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": flat_curve(kind)})
    Image.fromarray(grey).save(tmp_path / "x.png", icc_profile=icc)
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.png").grey, grey)


@pytest.mark.parametrize(
    ("tag", "content"), [(b"TRC", flat_curve(1)), (b"XYZ", xyz(0.3, 0, 0.3))], ids=["TRC", "XYZ"]
)
def test_a_colour_profile_that_divides_by_zero_is_left_to_littlecms(tag, content, rgb, tmp_path):
    icc = wide_profile({channel + tag: content for channel in (b"r", b"g", b"b")})
    Image.fromarray(rgb).save(tmp_path / "x.png", icc_profile=icc)
    deep = rgb.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "x.tif", deep, photometric="rgb", iccprofile=icc)
    expected = read_photograph(tmp_path / "x.png").grey
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.tif").grey, expected)


def test_profile_of_8_and_16_bit_colour(rgb, tmp_path):
    icc = wide_profile()
    Image.fromarray(rgb).save(tmp_path / "x.png", icc_profile=icc)
    tifffile.imwrite(
        tmp_path / "x.tif", rgb.astype(np.uint16) * 257, photometric="rgb", iccprofile=icc
    )
    converted = ImageCms.profileToProfile(
        Image.fromarray(rgb), io.BytesIO(icc), ImageCms.createProfile("sRGB")
    )
    expected = color.rgb2lab(np.asarray(converted))
    inside = (np.asarray(converted) > 0).all(2) & (np.asarray(converted) < 255).all(2)
    assert inside.mean() > 0.5
    assert np.abs(expected[..., 0] - color.rgb2lab(rgb)[..., 0])[inside].max() > 1
    np.testing.assert_allclose(
        lightness(read_photograph(tmp_path / "x.png")), expected[..., 0], atol=0.01
    )
    # Without lcms's 8 bits, and with Y of the profile's white instead of sRGB's.
    deep = lightness(read_photograph(tmp_path / "x.tif"))
    np.testing.assert_allclose(deep[inside], expected[..., 0][inside], atol=1.5)
    assert np.abs(deep - expected[..., 0])[inside].mean() < 0.3


# What is refused


def test_bad_files_are_named_with_a_reason(tmp_path, rgb, monkeypatch):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(rgb).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    deep = imagecodecs.png_encode(rgb.astype(np.uint16) * 257)
    (tmp_path / "deep.png").write_bytes(deep[: len(deep) // 2])
    for name in ("empty.jpg", "text.png", "cut.png", "deep.png", "missing.png"):
        with pytest.raises(InputError, match=rf"{name}: \w+"):
            read_photograph(tmp_path / name)
    (tmp_path / "bomb.png").write_bytes(whole)
    monkeypatch.setattr(zoo.images.open, "MAX_PIXELS", 1000)
    with pytest.raises(InputError, match=r"bomb\.png: 128×96 pixels are more than"):
        read_photograph(tmp_path / "bomb.png")


# Writing


def noise_on(rgb, channels, bits):
    values = np.dstack([rgb, rgb[::-1, :, 0]])[..., :channels]
    if bits == 8:
        return np.ascontiguousarray(values)
    fine = np.random.default_rng(1).integers(0, 256, values.shape)
    return (values * np.uint16(256) + fine).astype(np.uint16)


def layout_of(pixels, **changes):
    height, width, channels = pixels.shape
    return Layout(height, width, channels, pixels.dtype.itemsize * 8, **changes)


def described():
    return {
        ExifTags.Base.Artist.value: "Ansel",
        ExifTags.Base.ImageDescription.value: "Half Dome",
        EXIF: {
            ExifTags.Base.DateTimeOriginal.value: "1927:04:10 12:00:00",
            ExifTags.Base.ExposureTime.value: 0.5,
            ExifTags.Base.ColorSpace.value: 2,
            ExifTags.Base.ExifImageWidth.value: 7,
        },
        ExifTags.IFD.GPSInfo.value: {1: "N", 2: (37.0, 44.0, 46.0)},
    }


@pytest.mark.parametrize("rows", [1, 7, 96, 1000])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_png_and_tiff_hold_exactly_what_they_were_given(
    suffix, channels, bits, rows, rgb, tmp_path
):
    pixels = noise_on(rgb, channels, bits)
    path = tmp_path / f"x.{suffix}"
    strips = (pixels[top : top + rows] for top in range(0, len(pixels), rows))
    write_picture(path, find_format(suffix), layout_of(pixels), strips)
    if suffix == "png":
        back = imagecodecs.png_decode(path.read_bytes())
        other = np.asarray(Image.open(path))
    else:
        back = tifffile.imread(path)
        other = imagecodecs.tiff_decode(path.read_bytes())
    np.testing.assert_array_equal(back, pixels)
    if bits == 8 or suffix == "tif":
        np.testing.assert_array_equal(other, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 7)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_of_one_row_or_column(suffix, shape, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = tmp_path / f"x.{suffix}"
    write_picture(path, find_format(suffix), layout_of(pixels), (row[None] for row in pixels))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_file_says_comes_back_in_every_format(name, rgb, tmp_path):
    form = FORMATS[name]
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / f"x{form.suffixes[0]}"
    metadata, _ = fit_metadata(
        Metadata(described(), (300.0, 300.0)), form.name, form.holds, form.block
    )
    layout = layout_of(rgb, metadata=metadata, profile=True)
    write_picture(path, form, layout, [rgb[:50], rgb[50:]])
    image = Image.open(path)
    assert image.format == name
    assert image.mode == "RGB"
    assert image.size == (128, 96)
    error = np.abs(np.asarray(image).astype(int) - rgb)
    assert error.mean() < (3 if name in ("JPEG", "WEBP", "HEIF") else 1e-9)
    if name in ("JPEG", "PNG", "TIFF", "BMP"):
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    if name in ("BMP", "PPM"):
        return
    assert image.info["icc_profile"] == srgb_profile()
    found = image.getexif()
    assert found.get(ORIENTATION, 1) == 1
    assert found[ExifTags.Base.Artist.value] == "Ansel"
    inner = found.get_ifd(EXIF)
    assert inner[ExifTags.Base.DateTimeOriginal.value] == "1927:04:10 12:00:00"
    assert inner[ExifTags.Base.ExposureTime.value] == 0.5
    assert inner[ExifTags.Base.ColorSpace.value] == 1  # sRGB
    assert inner[ExifTags.Base.ExifImageWidth.value] == 128
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[2] == (37.0, 44.0, 46.0)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "heic"])
def test_alpha_is_written(suffix, rgb, tmp_path):
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    pixels = noise_on(rgb, 4, 8)
    path = tmp_path / f"x.{suffix}"
    write_picture(path, find_format(suffix), layout_of(pixels), [pixels])
    back = np.asarray(Image.open(path))
    assert back.shape == pixels.shape
    np.testing.assert_allclose(back[..., 3].astype(int), pixels[..., 3], atol=8)


def test_heic_is_written_by_a_process_that_has_read_none(rgb, tmp_path):
    opener = pytest.importorskip("pillow_heif").register_heif_opener
    Image.fromarray(rgb).save(tmp_path / "x.png")
    program = (
        "import sys; import numpy as np; from pathlib import Path; from PIL import Image;"
        "from zoo.images.write import FORMATS, Layout, write_picture;"
        "pixels = np.asarray(Image.open(sys.argv[1])); height, width = pixels.shape[:2];"
        "layout = Layout(height=height, width=width, channels=3, bits=8);"
        "write_picture(Path(sys.argv[2]), FORMATS['HEIF'], layout, [pixels])"
    )
    paths = [tmp_path / "x.png", tmp_path / "x.heic"]
    subprocess.run([sys.executable, "-c", program, *paths], check=True)
    opener()
    written = np.asarray(Image.open(tmp_path / "x.heic")).astype(int)
    assert np.abs(written - rgb).mean() < 3


def test_jpeg_keeps_its_colours_at_full_resolution(rgb, tmp_path):
    write_picture(tmp_path / "x.jpg", FORMATS["JPEG"], layout_of(rgb), [rgb])
    image = Image.open(tmp_path / "x.jpg")
    assert {layer[1:3] for layer in image.layer} == {(1, 1)}


def test_formats_that_cannot_hold_it_say_so(tmp_path):
    with pytest.raises(InputError, match=r"grey only.*--format png"):
        find_format(".PGM")
    assert find_format("gif") is None
    with pytest.raises(InputError, match=r"WEBP holds at most 16383 px a side.*--format png"):
        write_picture(tmp_path / "x.webp", FORMATS["WEBP"], Layout(1, 20_000, 3, 8), [])


def test_exif_block_of_nothing_is_readable():
    block = Image.Exif()
    block.load(exif_bytes({}))
    assert not dict(block)
