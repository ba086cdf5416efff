"""Bits of a sample in files that Pillow opens. It reads deeper samples as their upper 8 bits, and does not say so."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_TIFF_BITS = 258  # tag BitsPerSample
_JPEG2000_SIZES = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, annex A: start of the code stream, then its sizes
_AV1_CONFIGURATION = re.compile(rb"av1C\x81.(.)", re.DOTALL)
_AV1_HIGH_BIT_DEPTH = 0x40


def is_deep(file: "ImageFile", content: bytes) -> bool:
    """Whether a file has more than 8 bits a sample. file: open, not yet loaded. content: its bytes."""
    if file.mode.startswith(("I", "F")):
        return True
    if file.format == "TIFF":
        bits: tuple[int, ...] = file.tag_v2.get(_TIFF_BITS, (1,))  # type: ignore[attr-defined]
        return max(bits) > 8
    if file.format == "JPEG2000":
        at = content.index(_JPEG2000_SIZES)
        channels = int.from_bytes(content[at + 40 : at + 42], "big")
        return any(depth & 0x7F > 7 for depth in content[at + 42 : at + 42 + 3 * channels : 3])
    if file.format == "AVIF":
        return any(found[1][0] & _AV1_HIGH_BIT_DEPTH for found in _AV1_CONFIGURATION.finditer(content))
    return _is_deep_tile(file)


def _is_deep_tile(file: "ImageFile") -> bool:
    """`is_deep` by what Pillow tells its decoder: the samples' form, and of a PPM their largest value."""
    for *_, given in file.tile:
        form, *rest = given if isinstance(given, tuple) else (given,)
        if ";16" in str(form) or (file.format == "PPM" and rest and int(rest[0]) > 255):
            return True
    return False
