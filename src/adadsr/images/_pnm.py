"""Binary PBM, PGM and PPM (netpbm), which no library here reads at 16 bits."""

import re
from typing import BinaryIO, NamedTuple

import numpy as np

from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, Unsupported
from adadsr.images._deep import full_range

_HEADER_BYTES = 4096
_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P([456])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})(?:" + _GAP + rb"(\d{1,5}))?")
_BITMAP = 4


class _Facts(NamedTuple):
    """top: the largest sample. start: of the pixels."""

    kind: int
    width: int
    height: int
    top: int
    start: int


def _facts(file: BinaryIO) -> _Facts:
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    kind = head[1] - ord("0")
    # A bitmap has no largest sample: what follows its height are pixels.
    pattern = _HEADER if kind != _BITMAP else _BITMAP_HEADER
    found = pattern.match(head)
    if found is None:
        raise Undecodable("its header is wrong")
    width, height, top = int(found[2]), int(found[3]), 1 if kind == _BITMAP else int(found[4] or 0)
    if not (width and height and 0 < top < 65536):
        raise Undecodable("its header is wrong")
    return _Facts(kind, width, height, top, found.end() + 1)


_BITMAP_HEADER = re.compile(rb"P(4)" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})")


def _header(file: BinaryIO, what: str) -> Header:
    facts = _facts(file)
    return Header(facts.width, facts.height)


def _decode(file: BinaryIO, what: str) -> Decoded:
    facts = _facts(file)
    channels, size = 3 if facts.kind == 6 else 1, 1 if facts.top < 256 else 2
    row = (facts.width + 7) // 8 if facts.kind == _BITMAP else facts.width * channels * size
    file.seek(facts.start)
    data = file.read(row * facts.height)
    if len(data) < row * facts.height:
        raise Undecodable("pixel data is missing")
    if facts.kind == _BITMAP:
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(facts.height, row), axis=1)[:, : facts.width]
        return Decoded(((1 - bits) * 255)[..., None].astype(np.uint8))
    samples = np.frombuffer(data, ">u2" if size == 2 else "u1").reshape(facts.height, facts.width, channels)
    if samples.max(initial=0) > facts.top:
        raise Unsupported("samples above the maximum its header gives")
    return Decoded(full_range(samples, facts.top))


CODEC = Codec(_header, _decode)
