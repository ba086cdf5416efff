"""How each format is recognised by the beginning of a file, and an animation by a little more."""

import os
from collections.abc import Callable
from typing import BinaryIO

HEAD_BYTES = 4096
"""Number of leading bytes that suffice to recognise a format."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
JXL_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
_SEQUENCES = (b"msf1", b"hevc", b"hevx", b"hevm", b"hevs")
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF


def begins_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def is_webp(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def is_avif(head: bytes) -> bool:
    return not {b"avif", b"avis"}.isdisjoint(_brands(head))


def _brands(head: bytes) -> list[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return []
    body = head[8 : int.from_bytes(head[:4], "big")]
    return [body[at : at + 4] for at in range(0, len(body), 4) if at != 4]  # at 4: the minor version


def is_heic(head: bytes) -> bool:
    return not is_avif(head) and not {b"heic", b"heix", b"heim", b"heis", *_SEQUENCES}.isdisjoint(_brands(head))


def is_image_sequence(file: BinaryIO) -> bool:
    file.seek(0)
    brands = _brands(file.read(HEAD_BYTES))
    return b"avis" in brands or (bool(brands) and brands[0] in _SEQUENCES)


def is_bmp(head: bytes) -> bool:
    header = int.from_bytes(head[14:18], "little")
    return head.startswith(b"BM") and head[6:10] == bytes(4) and header in (12, 16, 40, 52, 56, 64, 108, 124)


def is_pnm(head: bytes) -> bool:
    return head[:2] in (b"P4", b"P5", b"P6") and head[2:3].isspace()


def has_animation_chunk(file: BinaryIO) -> bool:
    """Walk the chunks before the first image data; acTL among them makes an animated PNG."""
    file.seek(len(PNG_SIGNATURE))
    while len(header := file.read(8)) == 8:
        kind = header[4:]
        if kind in (b"acTL", b"IDAT", b"IEND"):
            return kind == b"acTL"
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # data and checksum
    return False
