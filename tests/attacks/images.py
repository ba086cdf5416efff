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


def jpeg(*segments):
    """A gray 8x8 JPEG with more segments: (marker, data)."""
    more = b"".join(b"\xff" + bytes((marker,)) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return _JPEG[:2] + more + _JPEG[2:]


def xmp_jpeg(packet):
    return jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))


def box(kind, data):
    return struct.pack(">I", len(data) + 8) + kind + data


def avif(*boxes):
    """An AVIF of metadata only."""
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + b"".join(boxes))


def webp(chunks):
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def tiled(compression, side, data):
    """An 8x8 gray TIFF with one tile."""
    entries = [(322, LONG, 1, side), (323, LONG, 1, side), (324, LONG, 1, 1024), (325, LONG, 1, len(data))]
    return tiff(entries, below=data, COMPRESSION=compression)


# 8x8, gray
_JPEG = bytes.fromhex(
    "ffd8ffdb004300" + "01" * 64 + "ffc0000b080008000801011100ffc40014000100000000000000000000000000000000"
    "ffc4001410010000000000000000000000000000000000ffda0008010100003f0000ffd9"
)
RDF = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 12))
ZSTD_OF_1_GIB = (
    bytes.fromhex("28b52ffd")
    + b"\xa0"
    + struct.pack("<I", 2**30)
    + b"".join((((2**17 << 3) | 2 | (n == 8191)).to_bytes(3, "little") + b"\0") for n in range(8192))
)

JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
SIZ_REST = bytes(8) + b"\0\0\0\x08" * 2 + bytes(8) + b"\0\1\7\1\1" + bytes(20)  # one channel of 8 bits

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
    "20000_chunks.webp": webp(b"none\0\0\0\0" * 20_000),
    "20000_frames.webp": webp((b"ANMF\xff\xff\xff\xff" + bytes(16)) * 20_000),
    "chunk_of_4_gib.webp": webp(b"ICCP\xff\xff\xff\xff"),
    "ftyp_of_4_gib.avif": b"\xff\xff\xff\xffftypavif" + b"avif" * 1000,
    "zstd_of_1_gib.tif": tiff(COMPRESSION=50000, STRIPS=1024, STRIP_BYTES=len(ZSTD_OF_1_GIB), below=ZSTD_OF_1_GIB),
    "zstd_tile_of_64_gib.tif": tiled(50000, 2**18, ZSTD_OF_1_GIB),
    "deflate_tile_of_64_gib.tif": tiled(8, 2**18, zeros(MIB)),
    "200000_strips_at_one_place.tif": tiff(
        COMPRESSION=8,
        HEIGHT=200_000,
        ROWS_PER_STRIP=1,
        STRIPS=1024,
        STRIP_BYTES=1024,
        below=zlib.compress(bytes(8)) + bytes(MIB),
    ),
    "geotiff_of_shared_values.tif": tiff([(33550, 12, MIB // 8, 1024), (33922, 12, MIB // 8, 1024)], below=bytes(MIB)),
    "photoshop_of_4_gib.tif": tiff([(34377, 1, 2**32 - 1, 1024)]),
    "200_texts_of_8_mib.png": png(chunk(b"zTXt", b"a\0\0" + zeros(8 * MIB)) * 200),
    "60000_texts.png": png(chunk(b"tEXt", b"a\0b") * 60_000),
    "text_without_a_keyword.png": png(chunk(b"iTXt", b"\0" * 9), chunk(b"zTXt", b"a"), chunk(b"tEXt", b"")),
    "laughs.jpg": xmp_jpeg(b'<!DOCTYPE x [<!ENTITY l0 "l">' + LAUGHS + b"]>" + RDF + b"&l11;</rdf:RDF></x:xmpmeta>"),
    "nested_lists.jpg": xmp_jpeg(
        RDF
        + b'<b xmlns:c="http://ns.google.com/photos/1.0/container/">'
        + b"<c:Directory><a>" * 200
        + b'<b t="y"/>' * 5000
        + b"</a></c:Directory>" * 200
        + b"</b></rdf:RDF></x:xmpmeta>"
    ),
    "many_dimensions.jpg": xmp_jpeg(
        RDF
        + b'<b xmlns:d="http://ns.adobe.com/xap/1.0/sType/Dimensions#" xmlns:r="'
        + b'http://www.metadataworkinggroup.com/schemas/regions/"><r:a>'
        + b"<d:w>1</d:w>" * 5000
        + b"</r:a></b></rdf:RDF></x:xmpmeta>"
    ),
    "deep.jpg": xmp_jpeg(RDF + b"<a>" * 8000 + b"</a>" * 8000 + b"</rdf:RDF></x:xmpmeta>"),
    "deep_xmp.png": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + RDF + b"<a>" * 400_000)),
    "many_elements.png": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + RDF + b"<a/>" * 400_000)),
    "extension_of_4_gib.jpg": jpeg(
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + RDF),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + b"\xff" * 8 + b"x"),
    ),
    "100000_comments.jpg": jpeg(*[(0xFE, b"")] * 100_000),
    "fill_bytes.jpg": _JPEG[:2] + b"\xff" * MIB + _JPEG[2:],
    "stuffed_bytes.jpg": _JPEG[:2] + b"\xff\0" * (MIB // 2) + _JPEG[2:],
    "photoshop_beyond_the_end.jpg": jpeg((0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff")),
    "exif_in_a_circle.jpg": jpeg((0xE1, b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory([(EXIF, LONG, 1, 8)], 8))),
    "exif_of_4_gib.jpg": jpeg((0xE1, b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory([(0x9214, 3, 2**32 - 1, 8)]))),
    "300000_associations.avif": avif(
        box(b"pitm", bytes(4) + b"\0\1"),
        box(b"iprp", box(b"ipco", b"") + box(b"ipma", bytes(4) + b"\0\x0f\xff\xff" + b"\0\2\0" * 300_000)),
    ),
    "100000_boxes.avif": avif(box(b"free", b"") * 100_000),
    "gigapixels.gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\1\0\0;",
    "gigapixels.bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0) + bytes(20),
    "gigapixels.ppm": b"P6 999999999 999999999 255\n",
    "comments_without_end.ppm": b"P6 " + b"#\n" * MIB,
    "gigapixels.jp2": JP2 + box(b"jp2c", b"\xff\x4f\xff\x51\0\x29\0\0" + b"\x7f\xff\xff\xff" * 2 + SIZ_REST),
    "gigapixels_behind_a_small_one.jp2": JP2
    + box(b"xml ", b"\xff\x4f\xff\x51\0\x29\0\0" + b"\0\0\0\x08" * 2 + SIZ_REST)
    + box(b"jp2c", b"\xff\x4f\xff\x51\0\x29\0\0" + b"\x7f\xff\xff\xff" * 2 + SIZ_REST),
    "gigapixels.jxl": b"\xff\x0a" + b"\xfe\xff\xff\xff\xff\xff\xff\xff" + bytes(20),
    "gigapixels_behind_a_small_one.jxl": b"\0\0\0\x0cJXL \r\n\x87\n"
    + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    + box(b"xml ", b"jxlc\xff\x0a" + bytes(20))
    + box(b"jxlc", b"\xff\x0a\xfe" + b"\xff" * 7 + bytes(20)),
    "20000_boxes.jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxlp", b"") * 20_000,
    "box_beyond_the_end.jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\1free" + b"\x7f" + b"\xff" * 7,
    "box_of_64_bits.avif": avif(box(b"free", b"")) + b"\0\0\0\1free" + b"\xff" * 8,
    "ftyp_alone.heic": b"\0\0\0\x14ftypheic\0\0\0\0heic",
    "ftyp_alone.avif": b"\0\0\0\x14ftypavif\0\0\0\0avif",
}
