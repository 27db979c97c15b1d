"""XMP packets: facts about the photograph are kept, facts about the old file are dropped.

XMP (ISO 16684-1) is RDF in XML. Programs trust it: a viewer would turn a picture that
`tiff:Orientation` calls turned, and look for a gain map that the coloured file does not have.
"""

from __future__ import annotations

import codecs
from xml.dom import minidom

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"

# The tags of TIFF that describe the photograph; the others say how the file is built.
_KEPT_OF_TIFF = {
    *("Make", "Model", "Software", "DateTime", "Artist", "Copyright", "ImageDescription"),
}
_STALE = {
    *((_EXIF, name) for name in ("PixelXDimension", "PixelYDimension", "ColorSpace")),
    *((_EXIF, name) for name in ("ComponentsConfiguration", "CompressedBitsPerPixel")),
    (_EXIF, "NativeDigest"),
    ("http://ns.adobe.com/photoshop/1.0/", "ColorMode"),
    ("http://ns.adobe.com/photoshop/1.0/", "ICCProfile"),
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),
}
# Development settings, and what is appended to the file: films, gain maps, depth maps.
_STALE_NAMESPACES = {
    "http://ns.adobe.com/camera-raw-settings/1.0/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# minidom writes line ends in attributes bare, where every reader takes them for spaces. These
# characters stand for them meanwhile; Unicode gives them to programs for their own use.
_LINE_ENDS = {ord("\t"): "\ufdd0", ord("\n"): "\ufdd1", ord("\r"): "\ufdd2"}


def current_xmp(packet: bytes) -> bytes:
    """The packet, in UTF-8, without what is no longer true of an upright picture in sRGB.

    Raises:
        ValueError: it is no XML, or has a document type, which XMP never has: its entities
            could grow without bound.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if packet.startswith(mark)), "utf-8")
    try:
        text = packet.decode(encoding).strip("\0 \r\n\t")
    except UnicodeDecodeError:
        raise ValueError("it is not in UTF-8") from None
    if "<!DOCTYPE" in text:
        raise ValueError("it has a DOCTYPE")
    try:
        document = minidom.parseString(text.encode())  # noqa: S318 (no DOCTYPE, no entities)
        for element in document.getElementsByTagName("*"):
            _drop_stale(element)
        text = "".join(node.toxml() for node in document.childNodes)
    except Exception:
        # Expat has its own errors, and names it cannot take end in others.
        raise ValueError("it is not well-formed") from None
    for end, mark in _LINE_ENDS.items():
        text = text.replace(mark, f"&#{end};")
    return text.encode()


def _drop_stale(element: minidom.Element) -> None:
    for attribute in list(element.attributes.values()):
        if _is_stale(attribute):
            element.removeAttributeNode(attribute)
        else:
            attribute.value = attribute.value.translate(_LINE_ENDS)
    if _is_stale(element) and element.parentNode is not None:
        element.parentNode.removeChild(element)


def _is_stale(node: minidom.Node) -> bool:
    space, name = node.namespaceURI, node.localName
    if space == _TIFF:
        return name not in _KEPT_OF_TIFF
    return space in _STALE_NAMESPACES or (space, name) in _STALE
