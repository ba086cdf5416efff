"""JPEG XL: pixels by imagecodecs, at up to 16 bits; the profile by pillow-jxl-plugin, whose pixels have 8."""

from typing import BinaryIO

import numpy as np

from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, Unsupported, content_of, decoded, load
from adadsr.images._deep import full_range
from adadsr.images._isoboxes import boxes
from adadsr.images._jxlheaders import CODE_STREAM, HEAD_BYTES, read_facts
from adadsr.images._tiffdir import EXIF_PREFIX

_MAX_METADATA = 1 << 20


def _header(file: BinaryIO, what: str) -> Header:
    """Of the upright picture."""
    file.seek(0)
    facts = read_facts(file.read(HEAD_BYTES))
    return Header(*((facts.height, facts.width) if facts.orientation >= 5 else (facts.width, facts.height)))


def _decode(file: BinaryIO, what: str) -> Decoded:
    content = content_of(file)
    library = load("imagecodecs", what)
    pixels = decoded(library.jpegxl_decode, content)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise Unsupported(f"{pixels.dtype} samples")
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise Unsupported("several frames or other channels than gray, RGB and alpha")
    top = 2 ** read_facts(content[:HEAD_BYTES]).bits - 1
    if top > np.iinfo(pixels.dtype).max or pixels.max(initial=0) > top:
        raise Unsupported("samples of different depths")
    pixels = full_range(pixels, top)
    profile = decoded(load("pillow_jxl", what).Decoder(num_threads=1), content)[3] or None
    exif, xmp = None, None
    notes: tuple[str, ...] = ()
    if not content.startswith(CODE_STREAM):
        for box in boxes(content, 0, len(content)):
            kind, data = box.kind, content[box.start : box.end]
            if kind == b"brob":
                try:
                    kind, data = data[:4], decoded(library.brotli_decode, data[4:], out=_MAX_METADATA)
                except Undecodable:
                    notes = ("damaged or very long metadata was left out",)
            if kind == b"Exif":
                exif = EXIF_PREFIX + data[_tiff_at(data) :]
            elif kind == b"xml ":
                xmp = data
    return Decoded(pixels, profile, exif, xmp, None, notes)


def _tiff_at(data: bytes) -> int:
    """Where the TIFF of an EXIF box begins: behind an offset, which some programs leave out."""
    return 0 if data[:4] in (b"II*\0", b"MM\0*") else 4 + int.from_bytes(data[:4], "big")


CODEC = Codec(_header, _decode)
