"""EXIF in a WebP (RFC 9649): libvips writes it behind the header of a JPEG segment, which does not belong there."""

_EXTENDED, _EXIF_FLAG, _ALPHA_FLAG = b"VP8X", 0x08, 0x10
_HEADER = 12


def with_exif(content: bytes, exif: bytes, width: int, height: int, alpha: bool) -> bytes:
    """The WebP `content`, which has no EXIF, with the TIFF `exif`."""
    chunks, at = [], _HEADER
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        chunks.append((content[at : at + 4], content[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    if chunks[0][0] != _EXTENDED:
        flags = _ALPHA_FLAG if alpha else 0
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks.insert(0, (_EXTENDED, bytes((flags, 0, 0, 0)) + sides))
    extended = chunks[0][1]
    chunks[0] = (_EXTENDED, bytes((extended[0] | _EXIF_FLAG,)) + extended[1:])
    last = len(chunks) - 1 if chunks[-1][0] == b"XMP " else len(chunks)
    chunks.insert(last, (b"EXIF", exif))
    body = b"".join(kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body
