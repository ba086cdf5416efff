"""Chunks of a PNG that libvips does not carry: colour, resolution without a unit, text (PNG, third edition)."""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from adadsr.formats import PNG_SIGNATURE
from adadsr.images import _photoshop
from adadsr.images._cicp import Cicp
from adadsr.images._resolution import Resolution
from adadsr.images._tiffdir import EXIF_PREFIX

_MAX_CHUNKS = 1 << 16
_MAX_TEXT = 1 << 23  # bytes of one text, and of all of them
_XMP_KEYWORD = "XML:com.adobe.xmp"
_IPTC_PROFILE, _RAW_LINE = "iptc", 72
_RAW_PROFILE = "raw profile type "  # hexadecimal digits behind a name and a length
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_INCHES_PER_METRE = 1 / 0.0254
_LONG_TEXT = 1024
Text = tuple[str, str]
"""Keyword and text."""


class RawProfiles(NamedTuple):
    """Metadata in texts of ImageMagick: EXIF block, XMP, Photoshop resources."""

    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None


class PngFacts(NamedTuple):
    """gamma, chromaticities: as stored, in 1/100000 (white x, y, red, green, blue). notes: for the user."""

    cicp: Cicp | None = None
    has_profile: bool = False
    is_srgb: bool = False
    gamma: int | None = None
    chromaticities: tuple[int, ...] | None = None
    resolution: Resolution | None = None
    texts: tuple[Text, ...] = ()
    light: tuple[tuple[bytes, bytes], ...] = ()
    raw_profiles: RawProfiles = RawProfiles()
    notes: tuple[str, ...] = ()


def read_png_facts(file: BinaryIO) -> PngFacts:
    """The facts of an open PNG; those in damaged chunks are left out."""
    facts, texts, left = PngFacts(), [], _MAX_TEXT
    for kind, size in _chunks(file):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            text = _read_text(kind, file.read(size), left) if size <= _MAX_TEXT else None
            if text is None:
                left = 0  # more of them would only cost time
                facts = facts._replace(notes=("a damaged or very long PNG text was left out",))
            elif text[0].lower().startswith(_RAW_PROFILE):
                left -= len(text[1])
                facts = facts._replace(raw_profiles=_with_raw(facts.raw_profiles, text))
            elif text[0] != _XMP_KEYWORD:
                left -= len(text[1])
                texts.append(text)
        elif kind == b"cICP" and size == 4:
            facts = facts._replace(cicp=Cicp(*file.read(4)))
        elif kind == b"iCCP":
            facts = facts._replace(has_profile=True)
        elif kind == b"sRGB":
            facts = facts._replace(is_srgb=True)
        elif kind == b"gAMA" and size == 4:
            facts = facts._replace(gamma=int.from_bytes(file.read(4), "big") or None)
        elif kind == b"cHRM" and size == 32:
            data = file.read(32)
            numbers = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(0, 32, 4))
            facts = facts._replace(chromaticities=numbers)
        elif (kind, size) in ((b"mDCV", 24), (b"cLLI", 8)):
            facts = facts._replace(light=(*facts.light, (kind, file.read(size))))
        elif kind == b"pHYs" and size == 9:
            facts = facts._replace(resolution=_resolution(file.read(9)))
    return facts._replace(texts=tuple(texts))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and size of each chunk, with the file at its data."""
    end, at = file.seek(0, os.SEEK_END), len(PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        size = int.from_bytes(header[:4], "big")
        if len(header) < 8 or at + 12 + size > end or header[4:] == b"IEND":
            return
        yield header[4:], size
        at += 12 + size


def chunk_places(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, offset and size of its data."""
    for kind, size in _chunks(file):
        yield kind, file.tell(), size


def frame_delays(file: BinaryIO) -> tuple[tuple[int, ...], int]:
    """The delay of each frame of an animated PNG in milliseconds, and how often it is shown (0 for ever)."""
    delays, plays = [], 0
    for kind, size in _chunks(file):
        if kind == b"acTL" and size == 8:
            plays = int.from_bytes(file.read(8)[4:], "big")
        elif kind == b"fcTL" and size == 26:
            above, below = struct.unpack(">20xHH2x", file.read(26))
            delays.append(round(1000 * above / (below or 100)))
    return tuple(delays), plays


def _resolution(data: bytes) -> Resolution | None:
    horizontal, vertical = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
    if data[8] == 1:
        return Resolution.of(horizontal / _INCHES_PER_METRE, vertical / _INCHES_PER_METRE, 2)
    return Resolution.of(horizontal, vertical, 1)


def _read_text(kind: bytes, data: bytes, most: int) -> Text | None:
    """Keyword and text of a chunk; None if it is damaged or longer than `most` bytes."""
    keyword, _, rest = data.partition(b"\0")
    if not keyword:
        return None
    compressed, encoding = kind == b"zTXt", "latin-1"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        compressed, encoding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        if compressed:
            inflater = zlib.decompressobj()
            rest = inflater.decompress(rest, most + 1)
        return None if len(rest) > most else (keyword.decode("latin-1"), rest.decode(encoding))
    except (zlib.error, UnicodeDecodeError):
        return None


def _with_raw(found: RawProfiles, text: Text) -> RawProfiles:
    """With a text of ImageMagick; as it was if the text is damaged. A copy of the ICC profile is ignored."""
    kind, words = text[0].lower().removeprefix(_RAW_PROFILE), text[1].split()
    try:
        data = bytes.fromhex("".join(words[2:]))[: int(words[1])]
    except (ValueError, IndexError):
        return found
    if kind in ("exif", "app1") and data.startswith((EXIF_PREFIX, b"II*\0", b"MM\0*")):
        return found._replace(exif=EXIF_PREFIX + data.removeprefix(EXIF_PREFIX))
    if kind in ("xmp", "app1"):
        return found._replace(xmp=data.removeprefix(_XMP))
    if kind in ("8bim", "iptc"):  # resources, or records alone
        records = None if data.startswith(b"8BIM") else data
        return found._replace(photoshop=_photoshop.with_iptc(data if records is None else None, records))
    return found


def photoshop_chunk(resources: bytes) -> bytes:
    """Photoshop image resources, with IPTC, as ImageMagick writes them."""
    digits = resources.hex()
    lines = "\n".join(digits[at : at + _RAW_LINE] for at in range(0, len(digits), _RAW_LINE))
    return text_chunk(f"Raw profile type {_IPTC_PROFILE}", f"\n{_IPTC_PROFILE}\n{len(resources):8}\n{lines}\n")


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk as in a file."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def chunks_of(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk of a whole PNG."""
    at = len(PNG_SIGNATURE)
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        at += 12 + size


def text_chunk(keyword: str, text: str) -> bytes:
    """A text as Latin-1 where it can be, otherwise as UTF-8; compressed if it is long."""
    key = (keyword.encode("latin-1", "replace")[:79].strip() or b"Comment") + b"\0"
    try:
        data = text.encode("latin-1")
        if b"\0" in data:
            raise UnicodeEncodeError("latin-1", text, 0, 1, "NUL")
    except UnicodeEncodeError:
        data = text.replace("\0", "").encode("utf-8", "replace")
        packed = b"\1\0\0\0" + zlib.compress(data) if len(data) > _LONG_TEXT else bytes(4) + data
        return chunk(b"iTXt", key + packed)
    if len(data) > _LONG_TEXT:
        return chunk(b"zTXt", key + b"\0" + zlib.compress(data))
    return chunk(b"tEXt", key + data)


def resolution_chunk(resolution: Resolution) -> bytes:
    """pHYs."""
    factor, unit = (1.0, 0) if resolution.dpi is None else (_INCHES_PER_METRE, 1)
    sides = resolution.dpi or (resolution.horizontal, resolution.vertical)
    while min(sides) * factor < 1000 and unit == 0 and any(side != round(side) for side in sides):
        factor *= 10  # a ratio needs digits
    data = b"".join(min(max(round(side * factor), 1), 2**31 - 1).to_bytes(4, "big") for side in sides)
    return chunk(b"pHYs", data + bytes((unit,)))


def with_chunks(head: bytes, before: Iterable[bytes], after: Iterable[bytes]) -> bytes | None:
    """The beginning of a PNG up to its first pixels, with more chunks; None if `head` does not reach the pixels yet.

    before: chunks that go before a palette. after: other chunks. The encoder's pHYs is dropped.
    """
    at, first, rest = len(PNG_SIGNATURE), b"", b""
    while len(head) >= at + 8:
        size, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if kind == b"IDAT":
            return PNG_SIGNATURE + first + b"".join(before) + rest + b"".join(after) + head[at:]
        whole = head[at : at + 12 + size]
        if kind == b"IHDR":
            first = whole
        elif kind != b"pHYs":
            rest += whole
        at += 12 + size
    return None
