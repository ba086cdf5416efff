"""Chunks of a WebP (RFC 9649), and EXIF in it: libvips writes it behind the header of a JPEG segment."""

from typing import BinaryIO

EXTENDED = b"VP8X"
ANIMATION_FLAG, XMP_FLAG, EXIF_FLAG, ALPHA_FLAG, ICC_FLAG = 0x02, 0x04, 0x08, 0x10, 0x20
_HEADER, _FRAME_HEADER = 12, 16
_MAX_CHUNKS = 1 << 14
_LOSSY, _LOSSLESS, _FRAME = b"VP8 ", b"VP8L", b"ANMF"


def is_lossy_webp(file: BinaryIO) -> bool:
    """Whether a frame is lossy, or none of the first chunks holds pixels. Raises OSError.

    Chunks of a frame stand inside its chunk, behind a header.
    """
    at, is_lossless = _HEADER, False
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            break
        kind, size = header[:4], int.from_bytes(header[4:], "little")
        if kind == _LOSSY:
            return True
        is_lossless = is_lossless or kind == _LOSSLESS
        at += 8 + (_FRAME_HEADER if kind == _FRAME else size + size % 2)
    return not is_lossless


def parsed(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and data of each chunk of a WebP."""
    chunks, at = [], _HEADER
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        chunks.append((content[at : at + 4], content[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def packed(kind: bytes, data: bytes) -> bytes:
    """One chunk as in a file."""
    return kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)


def extended_header(flags: int, width: int, height: int) -> bytes:
    """Data of the chunk that says what a file has."""
    return bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def with_exif(content: bytes, exif: bytes, width: int, height: int, alpha: bool) -> bytes:
    """The WebP `content`, which has no EXIF, with the TIFF `exif`."""
    chunks = parsed(content)
    if chunks[0][0] != EXTENDED:
        chunks.insert(0, (EXTENDED, extended_header(ALPHA_FLAG if alpha else 0, width, height)))
    extended = chunks[0][1]
    chunks[0] = (EXTENDED, bytes((extended[0] | EXIF_FLAG,)) + extended[1:])
    last = len(chunks) - 1 if chunks[-1][0] == b"XMP " else len(chunks)
    chunks.insert(last, (b"EXIF", exif))
    body = b"".join(packed(kind, data) for kind, data in chunks)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body
