"""One folder with a file of every kind that is read, through `zoo colorize` as it is typed."""

import re
import subprocess
import sys
from dataclasses import dataclass

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageDraw
from skimage import color, data

from zoo.registry import colorizer_class

MODEL = "zhang_rebalanced"
HEIGHT, WIDTH = 168, 240
FORMATS = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP", "ppm": "PPM"}
FORMATS["heic"] = "HEIF"


@dataclass(frozen=True)
class Kind:
    """A file, and what it shows.

    Attributes:
        rgb: H×W×3 in [0, 1], upright sRGB.
        alpha: H×W, or None.
        bits: 8 or 16 per channel.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8


def write_kinds(folder):
    """One photograph of scikit-image in every kind of file; what each shows, by its name."""
    photo = np.asarray(
        Image.fromarray(data.coffee()[30:366, 60:540]).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    )
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    fine = np.random.default_rng(0).integers(0, 256, photo.shape)
    deep = (photo.astype(np.uint16) * 256 + fine).astype(np.uint16)
    ramp = np.broadcast_to(np.linspace(40, 255, WIDTH).astype(np.uint8), grey.shape).copy()
    deep_ramp = ramp.astype(np.uint16) * 257 - np.uint16(99)
    kinds = {}

    def shows(name, array, alpha=None, bits=8):
        array = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
        kinds[name] = Kind(array / (255 if array.dtype == np.uint8 else 65535), alpha, bits)

    def with_pillow(name, image, shown=None, alpha=None, **options):
        image.save(folder / name, **options)
        if shown is None:  # what has lost something on the way shows what is left
            with Image.open(folder / name) as stored:
                shown = np.asarray(stored.convert("RGB"))
        shows(name, shown, alpha)

    def with_tifffile(name, array, shown, alpha=None, **options):
        tifffile.imwrite(folder / name, array, **options)
        shows(name, shown, alpha, 16)

    black_and_white = grey > 110
    for name, options in (("bw.png", {}), ("bw-g4.tif", {"compression": "group4"})):
        shown = black_and_white.astype(np.uint8) * np.uint8(255)
        with_pillow(name, Image.fromarray(black_and_white), shown, **options)

    lossless = {"lossless": True, "exact": True}
    for suffix in ("jpg", "png", "tif", "webp", "bmp"):
        exact = None if suffix == "jpg" else grey
        options = lossless if suffix == "webp" else {}
        with_pillow(f"grey.{suffix}", Image.fromarray(grey), exact, **options)
    for suffix in ("jpg", "png", "tif", "webp", "bmp", "ppm"):
        exact = None if suffix == "jpg" else photo
        options = lossless if suffix == "webp" else {}
        with_pillow(f"rgb.{suffix}", Image.fromarray(photo), exact, **options)
    rgba = Image.fromarray(np.dstack([photo, ramp]))
    for suffix in ("png", "tif", "webp"):
        options = lossless if suffix == "webp" else {}
        with_pillow(f"rgba.{suffix}", rgba, photo, ramp, **options)
    for suffix in ("png", "tif"):
        with_pillow(f"la.{suffix}", Image.fromarray(np.dstack([grey, ramp])), grey, ramp)
    with_pillow("cmyk.jpg", Image.fromarray(photo).convert("CMYK"), quality=95)
    with_pillow("cmyk.tif", Image.fromarray(photo).convert("CMYK"))

    palette = Image.fromarray(photo).quantize(32)
    with_pillow("palette.png", palette)
    levels = np.linspace(60, 255, 32).astype(np.uint8)
    shown = np.asarray(palette.convert("RGB"))
    alpha = levels[np.asarray(palette)]
    with_pillow("palette-alpha.png", palette, shown, alpha, transparency=levels.tobytes())

    deep_grey = deep[..., 1]
    la16, rgba16 = np.dstack([deep_grey, deep_ramp]), np.dstack([deep, deep_ramp])
    for name, array, shown, alpha in (
        ("grey16.png", deep_grey.copy(), deep_grey, None),
        ("la16.png", la16, deep_grey, deep_ramp),
        ("rgb16.png", deep, deep, None),
        ("rgba16.png", rgba16, deep, deep_ramp),
    ):
        (folder / name).write_bytes(imagecodecs.png_encode(array))
        shows(name, shown, alpha, 16)
    extra = {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    with_tifffile("grey16.tif", deep_grey, deep_grey)
    with_tifffile("grey16-big-endian.tif", deep_grey, deep_grey, byteorder=">")
    with_tifffile("grey16-inverse.tif", 65535 - deep_grey, deep_grey, photometric="miniswhite")
    with_tifffile("grey-float.tif", (deep_grey / 65535).astype(np.float32), deep_grey)
    with_tifffile("la16.tif", la16, deep_grey, deep_ramp, photometric="minisblack", **extra)
    with_tifffile("rgb16.tif", deep, deep, photometric="rgb")
    with_tifffile("rgba16.tif", rgba16, deep, deep_ramp, photometric="rgb", **extra)

    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise
    stored = np.rot90(photo)
    for suffix in ("jpg", "png"):
        with_pillow(f"turned.{suffix}", Image.fromarray(stored), stored, exif=turned)
        shown = photo
        if suffix == "jpg":
            with Image.open(folder / "turned.jpg") as image:
                shown = np.rot90(np.asarray(image), -1)
        shows(f"turned.{suffix}", shown)

    # sRGB with red and green exchanged.
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    icc = icc.replace(b"rXYZ", b"none").replace(b"gXYZ", b"rXYZ").replace(b"none", b"gXYZ")
    exchanged = Image.fromarray(photo[..., [1, 0, 2]])
    for suffix in ("png", "tif"):
        with_pillow(f"profile.{suffix}", exchanged, photo, icc_profile=icc)

    try:
        import pillow_heif
    except ImportError:
        return kinds
    pillow_heif.register_heif_opener()
    with_pillow("rgb.heic", Image.fromarray(photo), quality=90)
    return kinds


def read_back(path):
    """Colours in [0, 1], alpha, and bits per channel of an output, without the zoo."""
    suffix = path.suffix
    if suffix == ".png":
        pixels = imagecodecs.png_decode(path.read_bytes())
    elif suffix == ".tif":
        pixels = tifffile.imread(path)
    else:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    assert pixels.shape[2] in (3, 4)
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    return pixels[..., :3] / np.iinfo(pixels.dtype).max, alpha, 8 * pixels.dtype.itemsize


def draw_contact_sheet(kinds, colour, path):
    """Input and output of every kind side by side, its name below."""
    columns, wide, tall = 4, 2 * WIDTH + 12, HEIGHT + 24
    rows = -(-len(kinds) // columns)
    sheet = Image.new("RGB", (columns * wide, rows * tall), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, kind) in enumerate(kinds.items()):
        left, top = i % columns * wide, i // columns * tall
        for j, rgb in enumerate((kind.rgb, read_back(colour / name)[0])):
            picture = Image.fromarray((rgb * 255).round().astype(np.uint8))
            sheet.paste(picture, (left + j * WIDTH, top))
        draw.text((left + 2, top + HEIGHT + 3), f"{name}: input | output", fill="black")
    sheet.save(path)


@pytest.fixture(scope="module")
def weights(_tiles, tmp_path_factory):
    cls = colorizer_class(MODEL)
    colorizer = cls(cls.Options(width=0.125, batch_size=8), device="cpu", precision="fp32")
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    colorizer.fit(_tiles, budget="30steps", size=48).save(path)
    return path


@pytest.mark.long
def test_a_file_of_every_kind(weights, tmp_path):
    scans, colour = tmp_path / "scans", tmp_path / "colour"
    scans.mkdir()
    kinds = write_kinds(scans)
    before = {path.name: path.read_bytes() for path in scans.iterdir()}
    assert set(before) == set(kinds)
    command = [sys.executable, "-m", "zoo", "colorize", "scans", "-o", "colour", "--device", "cpu"]
    result = subprocess.run(
        [*command, "--model", MODEL, "--weights", str(weights)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0
    # Those in colour are told, and nothing else.
    assert re.fullmatch(r"note: \d+ photographs .* coloured anew .*\n", result.stderr)
    assert result.stdout.startswith(f"{len(kinds)} photographs coloured in ")
    assert "images/s): colour" in result.stdout
    assert {path.name: path.read_bytes() for path in scans.iterdir()} == before
    assert {path.name for path in colour.iterdir()} == set(kinds)
    draw_contact_sheet(kinds, colour, tmp_path / "contact-sheet.png")
    for name, kind in kinds.items():
        rgb, alpha, bits = read_back(colour / name)
        with Image.open(colour / name) as made:
            assert made.format == FORMATS[name.split(".")[-1]]
            assert made.getexif().get(0x0112, 1) == 1, name
        assert rgb.shape == (HEIGHT, WIDTH, 3), name
        assert bits == kind.bits, name
        if kind.alpha is None:
            assert alpha is None, name
        else:
            np.testing.assert_array_equal(alpha, kind.alpha, err_msg=name)
        found = color.rgb2lab(rgb)
        inside = (rgb > 0).all(2) & (rgb < 1).all(2)
        chroma = np.hypot(found[..., 1], found[..., 2])
        assert chroma.mean() > 2, name
        if name.startswith("bw"):
            continue  # no colour is as dark as black or as light as white
        assert inside.mean() > 0.5, name
        error = np.abs(found[..., 0] - color.rgb2lab(kind.rgb)[..., 0])[inside]
        if name.endswith((".jpg", ".heic", ".webp")):
            assert error.mean() < 0.8, name  # the format's own loss
        elif name.startswith("profile"):
            assert error.max() < 0.8, name  # colour management rounds to 8 bits, too
        else:
            assert error.max() < (0.02 if bits == 16 else 0.4), name


@pytest.mark.long
def test_pgm_becomes_ppm(weights, tmp_path):
    grey = data.coffee()[::4, ::4, 1].copy()
    Image.fromarray(grey).save(tmp_path / "8.pgm")
    deep = grey.astype(">u2") * 257
    (tmp_path / "16.pgm").write_bytes(b"P5 150 100 65535\n" + deep.tobytes())
    command = [sys.executable, "-m", "zoo", "colorize", "8.pgm", "16.pgm", "-o", "colour"]
    options = ["--model", MODEL, "--weights", str(weights), "--device", "cpu"]
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    result = subprocess.run([*command, *options], **run)
    assert result.returncode == 1
    assert result.stderr.count("PGM files hold grey only; choose another with --format") == 2
    assert not (tmp_path / "colour").exists()
    result = subprocess.run([*command, *options, "--format", "ppm"], **run)
    assert (result.returncode, result.stderr) == (0, "")
    for name in ("8", "16"):
        rgb, _, bits = read_back(tmp_path / "colour" / f"{name}.ppm")
        expected = color.rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
        inside = (rgb > 0).all(2) & (rgb < 1).all(2)
        assert bits == 8
        assert np.abs(color.rgb2lab(rgb)[..., 0] - expected)[inside].max() < 0.4
