"""What files declare of their numbers is followed, refused with the true reason, or told."""

import io
import os
import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import color, data

from zoo.data.tiles import file_tiles
from zoo.errors import InputError
from zoo.images.metadata import Metadata
from zoo.images.open import read_image, read_size, to_grey, to_rgb
from zoo.images.photograph import read_photograph
from zoo.images.write import FORMATS, Layout, write_picture

GREY = data.camera()[::8, ::8].copy()
RGB = data.astronaut()[::8, ::8].copy()
UNIT = GREY / 255


def read(path):
    """The lightness plane as numbers up to 1; the other door must show the same, in 8 bits."""
    photograph = read_photograph(path)
    plane = photograph.grey / np.iinfo(photograph.grey.dtype).max
    np.testing.assert_allclose(to_grey(read_image(path)) / 255, plane, atol=0.6 / 255)
    return plane, photograph


# TIFF: numbers


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (UNIT, ""),
        (UNIT.astype(np.float16), ""),
        (np.where(UNIT > 0.98, 1.0004, UNIT), "cut off below 0 and above 1"),
        (np.where(UNIT < 0.01, -0.002, UNIT), "cut off below 0 and above 1"),
        (UNIT * 255, "read with 255 as white"),
        (np.where(UNIT > 0.98, 256.5, UNIT * 255), "cut off below 0 and above 255"),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_keep_their_lightness(values, told, order, tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, values, byteorder=order, compression="lzw")
    plane, photograph = read(path)
    np.testing.assert_allclose(plane, UNIT, atol=0.021)
    assert np.abs(plane - UNIT).mean() < 0.001
    assert told in " ".join(photograph.notes)
    assert bool(photograph.notes) == bool(told)


def test_one_bright_spot_does_not_make_the_picture_black(tmp_path):
    values = UNIT.copy()
    values[3, 3] = 200
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises(InputError, match=r"a floating-point image with values from .* to 200"):
        read_photograph(tmp_path / "x.tif")


def test_floating_point_colour(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", (RGB / 255).astype(np.float32), photometric="rgb")
    plane, _ = read(tmp_path / "x.tif")
    lightness = color.rgb2lab(np.repeat(plane[..., None], 3, axis=2))[..., 0]
    np.testing.assert_allclose(lightness, color.rgb2lab(RGB)[..., 0], atol=0.01)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_every_depth(bits, tmp_path):
    white = (1 << bits) - 1
    values = (UNIT * white).round().astype(np.uint8 if bits < 8 else np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, bitspersample=bits)
    plane, photograph = read(tmp_path / "x.tif")
    np.testing.assert_allclose(plane, values / white, atol=0.002)
    assert photograph.notes == ()


@pytest.mark.parametrize("declared", [True, False])
def test_12_bits_in_16(declared, tmp_path):
    values = (UNIT * 4095).round().astype(np.uint16)
    tags = [(341, 3, 1, 4095, True)] if declared else []
    tifffile.imwrite(tmp_path / "x.tif", values, extratags=tags)
    plane, photograph = read(tmp_path / "x.tif")
    np.testing.assert_allclose(plane, values / (4095 if declared else 65535), atol=0.0001)
    what = "its white is 4095" if declared else "no value is above 4095 of 65535"
    assert what in photograph.notes[0]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_signed_and_long_numbers(dtype, tmp_path):
    white = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "x.tif", (UNIT * white).astype(dtype))
    plane, _ = read(tmp_path / "x.tif")
    np.testing.assert_allclose(plane, UNIT, atol=1 / 120)
    if dtype is np.int16:
        tifffile.imwrite(tmp_path / "x.tif", (UNIT * 100 - 50).astype(dtype))
        with pytest.raises(InputError, match="signed numbers from"):
            read_photograph(tmp_path / "x.tif")


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "miniswhite", "byteorder": ">"},
        {"bigtiff": True, "byteorder": ">"},
        {"compression": "zstd", "predictor": True},
        {"compression": "jpeg2000"},
        {"tile": (16, 16), "compression": "packbits"},
    ],
)
def test_layouts_of_16_bit_grey(options, tmp_path):
    deep = GREY.astype(np.uint16) * 257
    given = 65535 - deep if "photometric" in options else deep
    tifffile.imwrite(tmp_path / "x.tif", given, **options)
    photograph = read_photograph(tmp_path / "x.tif")
    np.testing.assert_array_equal(photograph.grey, deep)
    assert photograph.notes == ()


def test_associated_alpha_of_8_bits_is_divided_out(tmp_path):
    half = np.dstack([RGB // 2, np.full_like(GREY, 128)])
    tifffile.imwrite(
        tmp_path / "x.tif", half, photometric="rgb", extrasamples=["assocalpha"], byteorder=">"
    )
    assert np.abs(to_rgb(read_image(tmp_path / "x.tif")).astype(int) - RGB).max() <= 2
    assert set(np.unique(read_photograph(tmp_path / "x.tif").alpha)) == {128}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"photometric": "cfa"}, "raw data of a camera's sensor"),
        ({"photometric": "mask", "subfiletype": 4}, "a transparency mask"),
        ({"photometric": 32844}, "pixels in LogL"),
    ],
)
def test_what_is_no_photograph_is_refused_by_its_name(options, reason, tmp_path):
    given = GREY > 100 if "subfiletype" in options else GREY
    tifffile.imwrite(tmp_path / "x.tif", given, **options)
    with pytest.raises(InputError, match=rf"x\.tif: a TIFF that holds {reason}"):
        read_photograph(tmp_path / "x.tif")


def test_inks_other_than_cyan_magenta_and_yellow_are_refused(tmp_path):
    inks, tags = np.dstack([RGB, GREY]), [(332, 3, 1, 2, True)]
    tifffile.imwrite(tmp_path / "x.tif", inks, photometric="separated", extratags=tags)
    with pytest.raises(InputError, match="inks other than"):
        read_photograph(tmp_path / "x.tif")


@pytest.mark.parametrize("zeros", [True, False])
def test_a_jpeg_inside_of_a_tiff_that_was_cut_off_is_refused(zeros, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (256, 256)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", noise, rowsperstrip=64, compression="jpeg")
    whole = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(whole[:-5000] + bytes(5000 * zeros))
    with pytest.raises(InputError, match="damaged or truncated"):
        read_photograph(tmp_path / "x.tif")


# TIFF: pictures


def pages(path, *given):
    with tifffile.TiffWriter(path) as file:
        for pixels, options in given:
            file.write(pixels, photometric="minisblack", **options)


SMALL = GREY[::4, ::4].copy()
REDUCED = {"subfiletype": 1}


@pytest.mark.parametrize(
    ("given", "size", "told"),
    [
        ([(SMALL, REDUCED), (GREY, {})], 64, "its first picture is a preview, 16×16; 64×64 is"),
        ([(SMALL, REDUCED | {"subifds": 1}), (GREY, {})], 64, "first picture is a preview"),
        ([(GREY, {"subifds": 1}), (SMALL, REDUCED)], 64, ""),
        ([(SMALL, REDUCED)], 16, "the file holds only a preview"),
        ([(SMALL, {}), (GREY, {})], 16, "the first of its 2 images is taken"),
        ([(GREY, {}), (SMALL, REDUCED), (GREY, {})], 64, "the first of its 2 images"),
    ],
)
def test_the_picture_is_taken_and_not_its_preview(given, size, told, tmp_path):
    pages(tmp_path / "x.tif", *given)
    photograph = read_photograph(tmp_path / "x.tif")
    assert photograph.size == read_size(tmp_path / "x.tif") == (size, size)
    np.testing.assert_array_equal(photograph.grey, GREY if size == 64 else SMALL)
    assert told in " ".join(photograph.notes)
    assert bool(photograph.notes) == bool(told)


def test_many_chained_pages_take_no_time(tmp_path):
    count, tags = 20_000, {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 4, 279: 16}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    page = struct.pack("<H", len(tags)) + body
    content = b"II*\0" + struct.pack("<I", 8)
    content += b"".join(page + struct.pack("<I", 8 + (len(page) + 4) * i) for i in range(1, count))
    (tmp_path / "x.tif").write_bytes(content + page + bytes(4))
    start = time.perf_counter()
    assert "more than 1000" in read_photograph(tmp_path / "x.tif").notes[0]
    assert time.perf_counter() - start < 2


def test_tags_of_another_type_cost_no_picture(tmp_path):
    tags = [(34675, 2, 0, "no profile", True), (700, 3, 2, (1, 4000), True)]
    tifffile.imwrite(tmp_path / "x.tif", RGB, photometric="rgb", extratags=tags)
    np.testing.assert_array_equal(to_rgb(read_image(tmp_path / "x.tif")), RGB)
    assert not read_photograph(tmp_path / "x.tif").has_profile


def test_resolution_per_centimetre_and_pixels_that_are_not_square(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", GREY, resolution=(100, 50), resolutionunit=3)
    assert read_photograph(tmp_path / "x.tif").metadata.dpi == (254, 127)
    tifffile.imwrite(tmp_path / "x.tif", GREY, resolution=(2, 1), resolutionunit=1)
    photograph = read_photograph(tmp_path / "x.tif")
    assert photograph.metadata.dpi is None
    assert photograph.notes == ("its pixels are not square (2:1), which is not kept",)


# EXIF


def block_of(gps, orientation, kind=3):
    """An EXIF block, big-endian, with Make, an orientation of any type, and one GPS tag."""
    value = struct.pack(">H" if kind == 3 else ">I", orientation).ljust(4, b"\0")
    entries = [struct.pack(">HHI6s", 0x10F, 2, 6, b"")[:8] + struct.pack(">I", 50)]
    entries += [struct.pack(">HHI", 0x112, kind, 1) + value]
    entries += [struct.pack(">HHII", 0x8825, 4, 1, 56)]
    main = struct.pack(">H", 3) + b"".join(entries) + bytes(4)
    assert 8 + len(main) == 50
    inner = struct.pack(">H", 1) + struct.pack(">HHI", *gps[:3]) + struct.pack(">I", 74) + bytes(4)
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + main + b"Canon\0" + inner + gps[3]


def with_exif(path, block):
    buffer = io.BytesIO()
    Image.fromarray(GREY[:, :32].copy()).save(buffer, "JPEG", quality=95)
    jpeg = buffer.getvalue()
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:])


@pytest.mark.parametrize("kind", [3, 4])
def test_one_odd_tag_costs_neither_orientation_nor_the_others(kind, tmp_path):
    path = tmp_path / "x.jpg"
    with_exif(path, block_of((7, 2, 9, b"12:10:05\0"), 6, kind))
    photograph = read_photograph(path)
    assert photograph.size == (32, 64)
    assert read_image(path).size == (64, 32)
    assert photograph.metadata.exif == {0x10F: "Canon"}
    assert photograph.notes == ("its EXIF tag GPSTimeStamp is left out: damaged",)


def test_an_orientation_that_does_not_exist_is_upright(tmp_path):
    with_exif(tmp_path / "x.jpg", block_of((29, 2, 11, b"2020:01:02\0"), 77))
    photograph = read_photograph(tmp_path / "x.jpg")
    assert photograph.size == (64, 32)
    assert photograph.metadata.exif[0x8825] == {29: "2020:01:02"}


def test_damaged_exif_is_told(tmp_path):
    with_exif(tmp_path / "x.jpg", b"Exif\0\0XX" + bytes(40))
    photograph = read_photograph(tmp_path / "x.jpg")
    assert photograph.notes == ("its EXIF is left out: it is damaged",)


# PNG


def png(path, pixels, bits, colour, *chunks):
    rows = [
        np.packbits(np.unpackbits(row[:, None].astype(np.uint8), axis=1)[:, 8 - bits :]).tobytes()
        if bits < 8
        else row.astype(">u2" if bits == 16 else np.uint8).tobytes()
        for row in pixels
    ]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, colour, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", head), *chunks, (b"IDAT", packed), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + check
    path.write_bytes(content)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_every_depth(bits, tmp_path):
    values = (UNIT * ((1 << bits) - 1)).round().astype(np.uint16)
    key = int(values[5, 5])
    png(tmp_path / "x.png", values, bits, 0, (b"tRNS", struct.pack(">H", key)))
    photograph = read_photograph(tmp_path / "x.png")
    np.testing.assert_array_equal(photograph.alpha == 0, values == key)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.45455])
def test_gamma_of_png(gamma, channels, bits, tmp_path):
    stored = GREY.astype(np.uint16) * (257 if bits == 16 else 1)
    pixels = stored if channels == 1 else np.dstack([stored] * 3)
    declared = (b"gAMA", struct.pack(">I", round(gamma * 100_000)))
    png(tmp_path / "x.png", pixels, bits, 0 if channels == 1 else 2, declared)
    photograph = read_photograph(tmp_path / "x.png")
    light = UNIT ** (1 / gamma)
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    found = photograph.grey / np.iinfo(photograph.grey.dtype).max
    # 2.2 is what sRGB is called in old files, and read as such.
    np.testing.assert_allclose(found, UNIT if gamma == 0.45455 else srgb, atol=0.006)
    png(tmp_path / "x.png", pixels, bits, 0 if channels == 1 else 2, declared, (b"sRGB", b"\0"))
    found = read_photograph(tmp_path / "x.png").grey
    np.testing.assert_allclose(found / np.iinfo(found.dtype).max, UNIT, atol=0.001)


def test_display_p3_by_its_code_and_hdr_is_told(tmp_path):
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    png(tmp_path / "x.png", red, 8, 2, (b"cICP", bytes([12, 13, 0, 1])))
    found = read_photograph(tmp_path / "x.png")
    # sRGB (1, −0.2267, −0.1501) once clipped is its own red; unclipped Y is 0.2290.
    assert 0.2 < (found.grey[0, 0] / 65535) < 0.56
    png(tmp_path / "x.png", red, 8, 2, (b"cICP", bytes([9, 16, 0, 1])))
    assert "HDR" in read_photograph(tmp_path / "x.png").notes[0]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("blue", [(47000, 46500), (47001, 46500), (47000, 0)])
def test_primaries_of_png_that_span_no_colours_are_ignored(blue, bits, tmp_path):
    pixels = RGB.astype(np.uint16) * (257 if bits == 16 else 1)
    png(tmp_path / "plain.png", pixels, bits, 2)
    # Red, green and blue on a line, or nearly: what is computed of them is none, or too large.
    places = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, *blue)
    png(tmp_path / "x.png", pixels, bits, 2, (b"cHRM", places))
    expected = read_photograph(tmp_path / "plain.png").grey
    np.testing.assert_array_equal(read_photograph(tmp_path / "x.png").grey, expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_16_bit_colour_is_rounded_to_8_bits(suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16, 3)).astype(np.uint16)
    if suffix == "png":
        path.write_bytes(imagecodecs.png_encode(deep))
    elif suffix == "tif":
        tifffile.imwrite(path, deep, photometric="rgb")
    else:
        path.write_bytes(b"P6\n16 16\n65535\n" + deep.astype(">u2").tobytes())
    np.testing.assert_array_equal(to_rgb(read_image(path)), np.round(deep / 257))
    assert read_photograph(path).bits == 16


# JPEG


@pytest.fixture(scope="module", params=[False, True], ids=["baseline", "progressive"])
def jpeg(request):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(RGB, (2, 2, 1))).save(buffer, "JPEG", progressive=request.param)
    return buffer.getvalue()


@pytest.mark.parametrize("tail", [b"", bytes(4000), b"\0\0\1\x0aSEFH" + b"x1\xff9" * 80])
def test_a_jpeg_without_its_end_marker_is_whole(tail, jpeg, tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg[:-2] + tail)
    found = to_rgb(read_image(tmp_path / "x.jpg"))
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(jpeg))))


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("tail", [b"", bytes(20_000)])
def test_a_jpeg_that_was_cut_off_is_refused(kept, tail, jpeg, tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg[: int(len(jpeg) * kept)] + tail)
    with pytest.raises(InputError, match=r"x\.jpg: damaged or truncated"):
        read_photograph(tmp_path / "x.jpg")


def test_a_jpeg_that_was_cut_off_and_closed_is_refused(tmp_path):
    image = Image.fromarray(np.tile(RGB, (2, 2, 1)))
    image.save(tmp_path / "x.jpg")
    whole = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    with pytest.raises(InputError, match="its data end before the picture does"):
        read_image(tmp_path / "x.jpg")


def test_a_flat_corner_is_no_cut(tmp_path):
    white = np.tile(RGB, (2, 2, 1))
    white[-40:] = 255
    Image.fromarray(white).save(tmp_path / "x.jpg")
    expected = np.asarray(Image.open(tmp_path / "x.jpg"))
    np.testing.assert_array_equal(to_rgb(read_image(tmp_path / "x.jpg")), expected)


# Content, not suffix; size


@pytest.mark.parametrize(
    ("form", "reason"),
    [("GIF", "a GIF file"), ("JPEG2000", "a JPEG 2000 file"), ("AVIF", "an AVIF file")],
)
def test_other_formats_are_called_by_their_name(form, reason, tmp_path):
    if not (Image.init() and form in Image.SAVE):
        pytest.skip(f"this Pillow does not write {form}")
    Image.fromarray(RGB).save(tmp_path / "x.jpg", form)
    with pytest.raises(InputError, match=rf"x\.jpg: not an image of a format .* but {reason}"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "HEIF"])
def test_content_counts_and_not_the_suffix(kind, tmp_path):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.fromarray(RGB).save(tmp_path / "x.jpg", kind)
    assert read_photograph(tmp_path / "x.jpg").format == kind
    assert read_image(tmp_path / "x.jpg").size == (64, 64)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(InputError, match=r"x\.jpg: a FIFO, not a file"):
        read_photograph(tmp_path / "x.jpg")
    Image.fromarray(RGB).save(tmp_path / "y.png")
    tiles = file_tiles([tmp_path / "x.jpg", tmp_path / "y.png"], 16)
    assert (list(tiles.kept), list(tiles.skipped)) == ([1], [(0, "a FIFO, not a file")])


def test_long_thin_pictures_are_refused_before_their_rows_are_counted(tmp_path):
    png(tmp_path / "x.png", GREY, 8, 0)
    content = bytearray((tmp_path / "x.png").read_bytes())
    content[16:24] = struct.pack(">II", 1, 200_000_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match="a side is longer than 1000000"):
        read_image(tmp_path / "x.png")


def test_channels_count_in_the_limit_of_memory(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", GREY)
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as file:
        tags = file.pages.first.tags
        tags[256].overwrite(14_000)
        tags[257].overwrite(14_000)
        tags[277].overwrite(600)
    with pytest.raises(InputError, match="600 channels of 8 bits would take"):
        read_size(tmp_path / "x.tif")


@pytest.mark.parametrize("name", ["WEBP", "HEIF", "JPEG", "PNG", "TIFF", "BMP"])
def test_resolution_is_kept_by_every_format_that_can(name, tmp_path):
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    form = FORMATS[name]
    layout = Layout(64, 64, 3, 8, Metadata(dpi=(300.0, 150.0)))
    path = tmp_path / f"x{form.suffixes[0]}"
    write_picture(path, form, layout, [RGB])
    assert read_photograph(path).metadata.dpi == pytest.approx((300, 150), rel=0.001)
