"""XMP, IPTC and texts: kept from file to file, brought up to date, and bounded."""

import struct
import tracemalloc
import zlib
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin, PngImagePlugin

from zoo.arrays import to_8_bits
from zoo.images.metadata import Metadata, fit_metadata
from zoo.images.photograph import read_photograph
from zoo.images.png import MOST_BYTES, Text, scan_png
from zoo.images.write import FORMATS, Layout, write_picture
from zoo.images.xmp import current_xmp

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
    xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
    t:Orientation="6" t:Make="Leitz" exif:PixelXDimension="99" xmp:Rating="4"
    hdrgm:Version="1.0" photoshop:ICCProfile="Dot Gain 20%">
   <exif:PixelYDimension>98</exif:PixelYDimension>
   <t:ImageWidth>97</t:ImageWidth>
   <xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li></rdf:Alt></xmp:Thumbnails>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Großmutter &amp; ich, 1927 ☼</rdf:li>
   </rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()

CAPTION, CITY = "Großmutter".encode(), b"Wien"


def dataset(record, number, content):
    return struct.pack(">BBBH", 0x1C, record, number, len(content)) + content


IPTC = b"".join(
    dataset(*entry)
    for entry in (
        (1, 90, b"\x1b%G"),  # UTF-8
        (2, 25, b"family"),
        (2, 25, b"garden"),
        (2, 90, CITY),
        (2, 120, CAPTION),
        (2, 130, b"1W"),  # monochrome
        (2, 202, b"\xff\xd8\xff a preview"),
        (3, 20, b"\0\x07"),
    )
)
TEXTS = (
    Text("Author", "Ansel"),
    Text("Author", "Another"),
    Text("Title", "Vögel ☼", "de", "Titel"),
)


def segment(iptc):
    content = b"Photoshop 3.0\0" + b"8BIM\x04\x0c\0\0\0\0\0\x04abcd"  # a thumbnail first
    content += b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def with_chunks(path, *chunks):
    """The PNG with more chunks after its header."""
    plain = path.read_bytes()
    path.write_bytes(plain[:33] + b"".join(chunks) + plain[33:])


@pytest.fixture(scope="module")
def made(tmp_path_factory, rgb):
    """`made[suffix]`: a grey photograph of that format, with all that it can hold."""
    folder = tmp_path_factory.mktemp("made")
    image = Image.fromarray(rgb[..., 1])
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour = Image.fromarray(rgb)
    paths = {s: folder / f"x.{s}" for s in ("jpg", "png", "tif", "webp", "deep.png", "deep.tif")}
    exif = Image.Exif()
    exif[ExifTags.Base.Artist.value] = "Ansel"
    exif[ExifTags.Base.Orientation.value] = 3
    image.save(paths["jpg"], exif=exif, xmp=XMP, extra=segment(IPTC), comment="Geöffnet".encode())
    colour.save(paths["webp"], exif=exif, xmp=XMP, icc_profile=icc)
    described = PngImagePlugin.PngInfo()
    described.add_text("Author", "Ansel")
    described.add_text("Author", "Another", zip=True)
    described.add_itxt("Title", "Vögel ☼", "de", "Titel", zip=True)
    described.add_itxt("XML:com.adobe.xmp", XMP.decode())
    described.add_text("Raw profile type exif", "\nexif\n 4\n00000000")
    described.add_text("Thumb::Image::Width", "7")
    described.add_text("icc:copyright", "of the old profile")
    image.save(paths["png"], pnginfo=described, exif=exif)
    deep = rgb[..., 1].astype(np.uint16) * 257
    paths["deep.png"].write_bytes(imagecodecs.png_encode(deep))
    with_chunks(
        paths["deep.png"],
        chunk(b"tEXt", b"Author\0Ansel"),
        chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"Another")),
        chunk(b"iTXt", b"Title\0\0\0de\0Titel\0" + "Vögel ☼".encode()),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    )
    for suffix, pixels in (("tif", rgb[..., 1]), ("deep.tif", deep)):
        padded = IPTC + bytes(-len(IPTC) % 4)
        # As Photoshop writes it: as 32-bit integers.
        longs = struct.unpack(f"<{len(padded) // 4}I", padded)
        tags = [(700, 1, len(XMP), XMP, True), (33723, 4, len(longs), longs, True)]
        tifffile.imwrite(paths[suffix], pixels, extratags=tags, software="scanner", metadata=None)
    return paths


def convert(path, name, tmp_path):
    """Read, made to fit the format, written; the file, and what was told."""
    photograph = read_photograph(path)
    form = FORMATS[name]
    metadata, notes = fit_metadata(photograph.metadata, form.name, form.holds, form.block)
    height, width = photograph.size
    colour = np.repeat(to_8_bits(photograph.grey)[..., None], 3, axis=2)
    target = tmp_path / f"y{form.suffixes[0]}"
    write_picture(target, form, Layout(height, width, 3, 8, metadata), [colour])
    return target, photograph.notes + notes


def properties(packet):
    """Every property of the packet, as an attribute or an element, with its text."""
    found = {}
    for element in ElementTree.fromstring(packet).iter():
        found.update(element.attrib)
        found[element.tag] = (element.text or "").strip()
    return {name.split("}")[-1]: value for name, value in found.items()}


HOLDING_XMP = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF")


@pytest.mark.parametrize("name", HOLDING_XMP)
@pytest.mark.parametrize("source", ["jpg", "png", "tif", "webp", "deep.png", "deep.tif"])
def test_xmp_is_kept_without_what_is_no_longer_true(source, name, made, tmp_path):
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    target, notes = convert(made[source], name, tmp_path)
    with Image.open(target) as image:
        packet = image.info["xmp"]
    if name == "TIFF":
        with tifffile.TiffFile(target) as file:
            assert bytes(file.pages.first.tags[700].value) == packet
    found = properties(packet)
    assert found["li"] == "Großmutter & ich, 1927 ☼"
    assert (found["Make"], found["Rating"]) == ("Leitz", "4")
    gone = {"Orientation", "PixelXDimension", "PixelYDimension", "ImageWidth", "Thumbnails"}
    assert not (gone | {"Version", "ICCProfile"}) & set(found)
    assert b"xmlns:t=" in packet  # its prefixes stay
    assert packet.startswith(b"<?xpacket begin=")
    assert not [note for note in notes if "XMP" in note]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("source", ["jpg", "tif", "deep.tif"])
def test_iptc_is_kept_where_there_is_a_place_for_it(source, name, made, tmp_path):
    if name == "HEIF":
        pytest.importorskip("pillow_heif")
    target, notes = convert(made[source], name, tmp_path)
    if name not in ("JPEG", "TIFF"):
        assert f"its IPTC is left out: {name} does not hold it" in notes
        return
    with Image.open(target) as image:
        found = IptcImagePlugin.getiptcinfo(image)
    assert found == {
        (1, 90): b"\x1b%G",
        (2, 25): [b"family", b"garden"],
        (2, 90): CITY,
        (2, 120): CAPTION,
    }
    if name == "TIFF":
        with tifffile.TiffFile(target) as file:
            stored = bytes(file.pages.first.tags[33723].value)
        assert stored.startswith(dataset(1, 90, b"\x1b%G") + dataset(2, 25, b"family"))
    assert not any("IPTC" in note for note in notes)


@pytest.mark.parametrize("source", ["png", "deep.png"])
def test_texts_of_png_are_kept(source, made, tmp_path):
    assert read_photograph(made[source]).metadata.texts == TEXTS
    target, notes = convert(made[source], "PNG", tmp_path)
    assert scan_png(target).texts[-3:] == TEXTS
    with Image.open(target) as image:
        image.load()
        assert image.text["Author"] == "Another"
        title = image.text["Title"]
        assert (title, title.lang, title.tkey) == ("Vögel ☼", "de", "Titel")
        assert set(image.text) == {"Author", "Title", "XML:com.adobe.xmp"}
    assert notes == ()
    _, notes = convert(made[source], "WEBP", tmp_path)
    assert notes == ("its texts 'Author', 'Author', 'Title' are left out: no place in WEBP",)


def test_the_comment_of_jpeg_is_a_text(made, tmp_path):
    target, _ = convert(made["jpg"], "JPEG", tmp_path)
    with Image.open(target) as image:
        assert image.info["comment"].decode() == "Geöffnet"
        assert image.info["photoshop"].keys() == {0x0404}  # no thumbnail
    target, _ = convert(made["jpg"], "PNG", tmp_path)
    assert scan_png(target).texts[-1] == Text("Comment", "Geöffnet")
    target, _ = convert(target, "JPEG", tmp_path)
    with Image.open(target) as image:
        assert image.info["comment"].decode() == "Geöffnet"


def test_orientation_that_only_xmp_tells_is_applied_once(rgb, tmp_path):
    usual = XMP.replace(b"t:", b"tiff:").replace(b"xmlns:t=", b"xmlns:tiff=")
    Image.fromarray(rgb).save(tmp_path / "x.webp", xmp=usual, lossless=True)
    assert read_photograph(tmp_path / "x.webp").size == (128, 96)
    target, _ = convert(tmp_path / "x.webp", "PNG", tmp_path)
    assert read_photograph(target).size == (128, 96)


def test_the_makers_note_is_left_out(rgb, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif.value] = {
        ExifTags.Base.MakerNote.value: b"Canon offsets",
        ExifTags.Base.ExposureTime.value: 0.5,
    }
    Image.fromarray(rgb).save(tmp_path / "x.jpg", exif=exif)
    found = read_photograph(tmp_path / "x.jpg").metadata.exif
    assert found == {ExifTags.IFD.Exif.value: {ExifTags.Base.ExposureTime.value: 0.5}}


# What is left out, and told


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<x>&b;&b;</x>"""


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (BOMB, "it has a DOCTYPE"),
        (b"\xff\xfe" + BOMB.decode().encode("utf-16-le"), "it has a DOCTYPE"),
        (b"<x><y></x>", "it is not well-formed"),
        (b"<x>" * 5000 + b"</x>" * 5000, "it is not well-formed"),
        (b"<x>\xe4</x>", "it is not in UTF-8"),
        (b"<x>" + bytes(1 << 20) + b"</x>", "it has 1048583 bytes, and at most 1 MiB is kept"),
    ],
)
def test_xmp_that_is_not_safe_or_sound_is_left_out(packet, reason, rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "x.webp", xmp=packet)
    photograph = read_photograph(tmp_path / "x.webp")
    assert photograph.metadata.xmp == b""
    assert photograph.notes == (f"its XMP is left out: {reason}",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_xmp_of_every_encoding(encoding):
    packet = "<a xmlns='x' b=\"ü&#10;\">☼&lt;</a>"
    assert current_xmp((packet + "\n\0").encode(encoding)) == (
        '<a xmlns="x" b="ü&#10;">☼&lt;</a>'.encode()
    )


def test_a_format_that_is_too_small_says_so(rgb, tmp_path):
    metadata = Metadata(xmp=b"x" * 65_501, iptc=b"x" * 65_500, exif={315: "y" * 70_000})
    form = FORMATS["JPEG"]
    fitting, notes = fit_metadata(metadata, form.name, form.holds, form.block)
    assert (fitting.xmp, len(fitting.iptc), fitting.exif) == (b"", 65_500, {})
    assert notes[1] == "its XMP of 65501 bytes is left out: JPEG holds at most 65500"
    largest = Metadata(
        xmp=b"x" * 65_500, iptc=b"y" * 65_500, texts=(Text("Comment", "z" * 65_500),)
    )
    assert fit_metadata(largest, form.name, form.holds, form.block) == (largest, ())
    write_picture(tmp_path / "x.jpg", form, Layout(96, 128, 3, 8, largest), [rgb])
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.info["xmp"] == largest.xmp
        assert len(image.info["photoshop"][0x0404]) == 65_500
        assert image.info["comment"] == b"z" * 65_500
    bmp = FORMATS["BMP"]
    small, notes = fit_metadata(Metadata({315: "y"}, xmp=b"x"), bmp.name, bmp.holds, bmp.block)
    assert small == Metadata()
    assert notes == (
        "its EXIF is left out: BMP does not hold it",
        "its XMP is left out: BMP does not hold it",
    )


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "eXIf", "prVt"])
def test_chunks_of_20_mb_are_left_out_and_the_picture_is_read(kind, deep, rgb, tmp_path):
    path, size = tmp_path / "x.png", 20_000_000
    grey = rgb[..., 1].astype(np.uint16) * 257 if deep else rgb[..., 1].copy()
    path.write_bytes(imagecodecs.png_encode(grey))
    content = {
        "zTXt": b"Bomb\0\0" + zlib.compress(bytes(size)),
        "iTXt": b"Bomb\0\1\0\0\0" + zlib.compress(bytes(size)),
        "tEXt": b"Bomb\0" + b"x" * size,
    }.get(kind, bytes(size))
    with_chunks(path, chunk(b"tEXt", b"Author\0Ansel"), chunk(kind.encode(), content))
    del content
    tracemalloc.start()
    photograph = read_photograph(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    np.testing.assert_array_equal(photograph.grey, grey)
    assert photograph.metadata.texts == (Text("Author", "Ansel"),)
    what = "text 'Bomb'" if kind.endswith("Xt") else f"chunk {kind}"
    assert photograph.notes == (f"its {what} is left out: at most 1 MiB is kept",)


def test_many_texts_together_are_bounded(rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "x.png")
    many = [chunk(b"tEXt", b"Key%d\0" % i + b"x" * 100_000) for i in range(30)]
    with_chunks(tmp_path / "x.png", *many)
    photograph = read_photograph(tmp_path / "x.png")
    assert sum(len(text.text) for text in photograph.metadata.texts) <= MOST_BYTES
    assert [text.keyword for text in photograph.metadata.texts] == [f"Key{i}" for i in range(10)]
    assert len(photograph.notes) == 20


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"no end", b"k" * 80 + b"\0x", b"Key\0\1", b"Key\0\1\0", b"Key\0\0\0\xff\0\0"],
)
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_damaged_texts_are_passed_over(kind, content, rgb, tmp_path):
    Image.fromarray(rgb).save(tmp_path / "x.png")
    with_chunks(tmp_path / "x.png", chunk(kind, content), chunk(b"tEXt", b"Author\0Ansel"))
    assert scan_png(tmp_path / "x.png").texts[-1] == Text("Author", "Ansel")


def test_damaged_iptc_is_told(rgb, tmp_path):
    broken = dataset(2, 90, CITY) + b"\x1c\x63\x63\x63\x63"
    Image.fromarray(rgb).save(tmp_path / "x.jpg", extra=segment(broken))
    photograph = read_photograph(tmp_path / "x.jpg")
    assert photograph.metadata.iptc == b""
    assert photograph.notes == ("its IPTC is left out: it is damaged",)


def test_a_large_iptc_of_tiff_is_told(rgb, tmp_path):
    content = dataset(2, 90, CITY) * 200_000
    tags = [(33723, 7, len(content), content, True)]
    tifffile.imwrite(tmp_path / "x.tif", rgb, extratags=tags)
    photograph = read_photograph(tmp_path / "x.tif")
    assert photograph.notes == (
        "its IPTC is left out: it has 1800000 bytes, and at most 1 MiB is kept",
    )
