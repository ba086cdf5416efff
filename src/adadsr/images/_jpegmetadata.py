"""Metadata in the segments of a JPEG that libvips does not carry, and the segments of one that is written."""

import hashlib
import io
from typing import BinaryIO, NamedTuple

from adadsr.images import _photoshop
from adadsr.images._jpegsegments import APP0, APP1, APP2, APP13, COMMENT, Segment, packed, segments
from adadsr.images._resolution import Resolution
from adadsr.images._tiffdir import DAMAGE, numbers, read_directory, read_header
from adadsr.images._xmpdom import RDF, Node, parsed, properties, remove
from adadsr.images._xmpdom import packed as packed_xmp

COMMENT_KEYWORD = "Comment"
_NOTE = "http://ns.adobe.com/xmp/note/"
_LOST_EXTENSION = "the extended part of the XMP, which is damaged or over 2 MiB, was left out"
_MPF, _MPF_COUNT, _MPF_BYTES = b"MPF\0", 0xB001, 1 << 16

_HEADER_BYTES = 1 << 25  # a profile alone may take 16 MiB
_JFIF, _ICC = b"JFIF\0", b"ICC_PROFILE\0"
_XMP, _XMP_EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_GUID_BYTES = 32
_EXTENSION_HEADER = len(_XMP_EXTENSION) + _GUID_BYTES + 8
_MOST = 65533  # bytes of a segment, without marker and length
_MAX_EXTENSION = 1 << 26


class JpegFacts(NamedTuple):
    """comments: as text. photoshop: image resources, joined. xmp: with its extension. resolution: of the JFIF.

    profile: ICC, also one too long for libvips; empty if a part is missing. notes: for the user.
    """

    comments: tuple[str, ...] = ()
    photoshop: bytes | None = None
    xmp: bytes | None = None
    resolution: Resolution | None = None
    notes: tuple[str, ...] = ()
    profile: bytes | None = None


def read_jpeg_facts(file: BinaryIO) -> JpegFacts:
    """The facts of an open JPEG."""
    file.seek(0)
    found = list(segments(file.read(_HEADER_BYTES)))
    comments = tuple(_text(each.data) for each in found if each.marker == COMMENT)
    prefix = _photoshop.JPEG_PREFIX
    parts = [each.data[len(prefix) :] for each in found if each.marker == APP13 and each.data.startswith(prefix)]
    xmp = next((each.data[len(_XMP) :] for each in found if each.marker == APP1 and each.data.startswith(_XMP)), None)
    notes = _notes_of_pictures(found)
    if any(each.marker == APP1 and each.data.startswith(_XMP_EXTENSION) for each in found):
        extension = _extension(found)
        whole = None if xmp is None or extension is None else merged(xmp, extension)
        xmp, notes = whole or xmp, notes if whole else (*notes, _LOST_EXTENSION)
    jfif = next((each.data for each in found if each.marker == APP0 and each.data.startswith(_JFIF)), b"")
    resolution = None
    if len(jfif) >= 12:
        horizontal, vertical = int.from_bytes(jfif[8:10], "big"), int.from_bytes(jfif[10:12], "big")
        resolution = Resolution.of(horizontal, vertical, {1: 2, 2: 3}.get(jfif[7], 1))
    return JpegFacts(comments, b"".join(parts) or None, xmp, resolution, notes, _profile(found))


def _profile(found: list[Segment]) -> bytes | None:
    """The ICC profile, put together (ICC.1:2022, B.4); empty if a part is missing, None if there is none."""
    parts = {
        each.data[len(_ICC)]: each.data[len(_ICC) + 2 :]
        for each in found
        if each.marker == APP2 and each.data.startswith(_ICC) and len(each.data) > len(_ICC) + 2
    }
    whole = sorted(parts) == list(range(1, len(parts) + 1))
    if not parts:
        return None
    return b"".join(parts[number] for number in sorted(parts)) if whole else b""


def _notes_of_pictures(found: list[Segment]) -> tuple[str, ...]:
    """What is left out of a file with several pictures (CIPA DC-007, 5.2.3)."""
    index = next((each.data[4:] for each in found if each.marker == APP2 and each.data.startswith(_MPF)), None)
    if index is None:
        return ()
    try:
        layout, first = read_header(file := io.BytesIO(index))
        tags = read_directory(file, first, layout, _MPF_BYTES, wanted=(_MPF_COUNT,))
        count = int(numbers(tags.get(_MPF_COUNT))[0])
    except (*DAMAGE, IndexError):
        count = 0
    if count == 1:
        return ()
    others = f"{count - 1} other pictures" if count > 2 else "a second picture"
    return (f"{others} of the file (MPF), such as a depth map, a view for 3D or a gain map: left out",)


def _text(data: bytes) -> str:
    data = data.rstrip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _extension(found: list[Segment]) -> bytes | None:
    """The extension of the XMP, put together; None if there is none or a part is missing."""
    parts = [each.data for each in found if each.marker == APP1 and each.data.startswith(_XMP_EXTENSION)]
    parts = [each for each in parts if len(each) > _EXTENSION_HEADER]
    start = len(_XMP_EXTENSION)
    names = {each[start : start + _GUID_BYTES] for each in parts}
    if len(names) != 1:
        return None
    size = int.from_bytes(parts[0][start + _GUID_BYTES : start + _GUID_BYTES + 4], "big")
    if size > min(_MAX_EXTENSION, sum(len(each) for each in parts)):
        return None
    whole = bytearray(size)
    for each in parts:
        offset = int.from_bytes(each[_EXTENSION_HEADER - 4 : _EXTENSION_HEADER], "big")
        data = each[_EXTENSION_HEADER:]
        whole[offset : offset + len(data)] = data
    return bytes(whole[:size])


def header(
    resolution: Resolution | None, exif: bytes | None, xmp: bytes | None, photoshop: bytes | None, comments: list[str]
) -> bytes:
    """The segments that go before those of the encoder.

    What is too long for a segment is left out; see `exif_fits` and `xmp_fits`.
    """
    unit, horizontal, vertical = 0, 1, 1
    if resolution is not None:
        unit = {2: 1, 3: 2}.get(resolution.unit, 0)
        horizontal, vertical = (min(max(round(side), 1), 65535) for side in resolution[:2])
    density = bytes((1, 2, unit)) + horizontal.to_bytes(2, "big") + vertical.to_bytes(2, "big")
    found = [packed(APP0, _JFIF + density + bytes(2))]
    if exif is not None and exif_fits(exif):
        found.append(packed(APP1, exif))
    found += _xmp_segments(xmp)
    for at in range(0, len(photoshop or b""), _MOST - len(_photoshop.JPEG_PREFIX)):
        part = (photoshop or b"")[at : at + _MOST - len(_photoshop.JPEG_PREFIX)]
        found.append(packed(APP13, _photoshop.JPEG_PREFIX + part))
    for text in comments:
        data = text.encode()
        found += [packed(COMMENT, data[at : at + _MOST]) for at in range(0, max(len(data), 1), _MOST)]
    return b"".join(found)


def exif_fits(exif: bytes) -> bool:
    """Whether an EXIF block fits into a segment."""
    return len(exif) <= _MOST


def xmp_fits(xmp: bytes) -> bool:
    """Whether XMP fits into a segment, or can be split."""
    return split(xmp, _MOST - len(_XMP)) is not None


def _xmp_segments(xmp: bytes | None) -> list[bytes]:
    parts = None if xmp is None else split(xmp, _MOST - len(_XMP))
    if parts is None:
        return []
    standard, extension = parts
    found = [packed(APP1, _XMP + standard)]
    if extension is not None:
        step = _MOST - _EXTENSION_HEADER
        for at in range(0, len(extension), step):
            head = _XMP_EXTENSION + guid(extension).encode() + len(extension).to_bytes(4, "big") + at.to_bytes(4, "big")
            found.append(packed(APP1, head + extension[at : at + step]))
    return found


def with_header(head: bytes, first: bytes) -> bytes | None:
    """The beginning of a JPEG up to its first scan, with the segments `first` for the encoder's own metadata.

    The encoder's profile is kept. None if `head` does not reach the scan yet.
    """
    found = list(segments(head))
    if not found or found[-1].marker != 0xDA:
        return None
    kept = [each for each in found[:-1] if each.marker not in (APP0, APP1, APP13, COMMENT)]
    profile = [each for each in kept if each.marker == APP2 and each.data.startswith(_ICC)]
    rest = [each for each in kept if each not in profile]
    return b"\xff\xd8" + first + b"".join(each.packed() for each in (*profile, *rest)) + head[found[-1].start :]


def merged(standard: bytes | None, extension: bytes) -> bytes | None:
    """The packet of a JPEG with the part that did not fit into its segment (XMP specification, part 3, 1.1.3.1).

    None if one of them is damaged or too long.
    """
    document, more = parsed(standard), parsed(extension)
    root = None if document is None else _root(document)
    if document is None or more is None or root is None:
        return None
    for each in list(properties(document)):
        if each.name == (_NOTE, "HasExtendedXMP"):
            remove(each)
    for found in more.getElementsByTagNameNS(RDF, "Description"):
        if found.parentNode.namespaceURI == RDF and found.parentNode.localName == "RDF":
            root.appendChild(document.importNode(found, True))
    return packed_xmp(document)


def split(xmp: bytes, limit: int) -> tuple[bytes, bytes | None] | None:
    """A packet of at most `limit` bytes and the extension that holds the rest, if any; None if that fails."""
    if len(xmp) <= limit:
        return xmp, None
    document = parsed(xmp)
    root = None if document is None else _root(document)
    if document is None or root is None:
        return None
    rest = root.cloneNode(False)
    for description in list(root.childNodes):
        if description.nodeType == description.ELEMENT_NODE and (moved := _without_long(description, limit // 8)):
            rest.appendChild(moved)
    extension: bytes = rest.toxml().encode()
    note = document.createElementNS(RDF, "rdf:Description")
    for name, value in (
        ("rdf:about", ""),
        ("xmlns:xmpNote", _NOTE),
        ("xmpNote:HasExtendedXMP", guid(extension)),
    ):
        note.setAttribute(name, value)
    root.appendChild(note)
    standard = packed_xmp(document)
    return (standard, extension) if len(standard) <= limit else None


def guid(extension: bytes) -> str:
    """The name of an extension: its MD5."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()


def _root(document: Node) -> Node | None:
    return next(iter(document.getElementsByTagNameNS(RDF, "RDF")), None)


def _without_long(description: Node, most: int) -> Node | None:
    """Move the properties longer than `most` from a description to a new one; None if there are none."""
    moved = description.cloneNode(False)
    names = [name for name in list(description.attributes.keys()) if not name.startswith(("xmlns", "rdf:"))]
    long = [name for name in names if len(description.getAttribute(name)) > most]
    for name in names:
        (description if name in long else moved).removeAttribute(name)
    for child in [each for each in description.childNodes if each.nodeType == each.ELEMENT_NODE]:
        if len(child.toxml()) > most:
            moved.appendChild(child)
    return moved if long or moved.hasChildNodes() else None
