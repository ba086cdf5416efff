"""Image files that were made to harm whoever reads them: name -> bytes.

Each is small and declares something large or senseless. Reading it may give a picture or a refusal, but neither costs
much memory or time.
"""

import struct
import zlib

MIB = 1 << 20
LONG, LONG8, UNDEFINED = 4, 16, 7
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ROWS_PER_STRIP, STRIP_BYTES, EXIF, ICC = (
    0x100, 0x101, 0x102, 0x103, 0x106, 0x111, 0x116, 0x117, 0x8769, 0x8773,
)  # fmt: skip


def directory(entries, following=0):
    """A directory of a classic little-endian TIFF. entries: (tag, type, count, value or offset)."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", following)


def tiff(extra=(), *, below=b"", following=0, **changes):
    """An 8x8 gray TIFF. extra: entries of its directory. below: bytes from offset 1024 on. changes: of its entries."""
    basic = {"WIDTH": 8, "HEIGHT": 8, "BITS": 8, "COMPRESSION": 1, "PHOTOMETRIC": 1, "STRIPS": 8}
    basic |= {"ROWS_PER_STRIP": 8, "STRIP_BYTES": 64} | changes
    entries = [(globals()[name], LONG, 1, value) for name, value in basic.items()]
    head = b"II*\0" + struct.pack("<I", 72) + bytes(64) + directory([*entries, *extra], following)
    return head.ljust(1024, b"\0") + below


def big_tiff(entries):
    """An 8x8 gray BigTIFF with more entries: (tag, type, count, value)."""
    basic = [(WIDTH, 8), (HEIGHT, 8), (BITS, 8), (COMPRESSION, 1), (PHOTOMETRIC, 1), (STRIPS, 16)]
    basic += [(ROWS_PER_STRIP, 8), (STRIP_BYTES, 64)]
    rows = sorted([*((tag, LONG, 1, value) for tag, value in basic), *entries])
    body = struct.pack("<Q", len(rows)) + b"".join(struct.pack("<HHQQ", *row) for row in rows) + bytes(8)
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 80) + bytes(64) + body


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks, width=8, height=8):
    """A black gray PNG with more chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(9) * 8))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def zeros(size):
    return zlib.compress(bytes(size), 9)


def shared_values(count, size):
    """An EXIF directory of `count` values, all of which are the same `size` bytes of the file."""
    return directory([(0x9000 + at, UNDEFINED, size, 0) for at in range(count)])


TO_EXIF = [(EXIF, LONG, 1, 1024)]

ATTACKS = {
    # 4 MiB became 240 MiB
    "exif_20_values_share_4_mib.tif": tiff(TO_EXIF, below=shared_values(20, 4 * MIB) + bytes(4 * MIB)),
    "exif_400_values_share_512_kib.tif": tiff(TO_EXIF, below=shared_values(400, MIB // 2) + bytes(MIB // 2)),
    "exif_65535_entries.tif": tiff(TO_EXIF, below=struct.pack("<H", 65535) + bytes(65535 * 12)),
    "exif_is_the_first_directory.tif": tiff([(EXIF, LONG, 1, 72)]),
    "exif_beyond_the_end.tif": tiff([(EXIF, LONG, 1, 2**32 - 1)]),
    "exif_value_beyond_the_end.tif": tiff(TO_EXIF, below=directory([(0x9286, UNDEFINED, 1000, 2**32 - 1)])),
    "exif_at_an_offset_of_64_bits.tif": big_tiff([(EXIF, LONG8, 1, 2**64 - 1)]),
    "exif_pointer_is_a_list.tif": tiff([(EXIF, LONG, 16, 8)]),
    "icc_of_4_gib.tif": tiff([(ICC, UNDEFINED, 2**32 - 1, 1024)]),
    "directories_in_a_circle.tif": tiff(following=72),
    "strip_of_4_gib.tif": tiff(STRIP_BYTES=2**32 - 1),
    "gigapixels.tif": tiff(WIDTH=2**31 - 1, HEIGHT=2**31 - 1),
    "gigapixels.png": png(width=2**31 - 1, height=2**31 - 1),
    "icc_of_500_mib.png": png(chunk(b"iCCP", b"x\0\0" + zeros(500 * MIB))),
    "xmp_of_500_mib.png": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(500 * MIB))),
    "chunk_of_4_gib.png": png(struct.pack(">I", 2**32 - 1) + b"tEXt"),
    "200000_chunks.png": png(chunk(b"teXt", b"") * 200_000),
    "gigapixels.jpg": b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xdc\xff\xdc\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0",
    "gigapixels.webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6 + b"VP8 \0\0\0\0",
    "ftyp_of_4_gib.avif": b"\xff\xff\xff\xffftypavif" + b"avif" * 1000,
    "ftyp_alone.avif": b"\0\0\0\x14ftypavif\0\0\0\0avif",
}
