"""JPEG 2000 and JPEG XL inside a TIFF: they state the depth of samples a second time."""

from collections.abc import Callable
from typing import BinaryIO

from adadsr.images import _jpeg2000, _jxlheaders
from adadsr.images._codecs import Undecodable, Unsupported
from adadsr.images._tiffcheck import JPEG_2000, JPEG_XL, TiffFacts

_HEAD_BYTES = 4096


def other_depth(file: BinaryIO, facts: TiffFacts) -> int | None:
    """Bits of a sample that the stream of a strip or tile states, where the TIFF states others; None if there is none.

    Decoders return such samples as the stream has them, too dark for the TIFF.
    """
    depth_of: Callable[[bytes], int]
    if facts.compression in JPEG_2000:
        depth_of = _jpeg2000.depth_of
    elif facts.compression in JPEG_XL:
        depth_of = _jxlheaders.depth_of
    else:
        return None
    for start, length in facts.segments.tolist():
        file.seek(start)
        try:
            depth = depth_of(file.read(min(length, _HEAD_BYTES)))
        except (Undecodable, Unsupported):  # which decoding says
            continue
        if depth != facts.bits:
            return depth
    return None
