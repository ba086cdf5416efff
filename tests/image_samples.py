"""Pixels and metadata for the tests of image files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from adadsr.formats import FORMATS

SUFFIXES = tuple(row.suffixes[0] for row in FORMATS)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(height=48, width=64, channels=3):
    rows, columns = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin(rows / (5 + i)) * np.cos(columns / (7 + i)) for i in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


def exif_block(orientation=1, thumbnail=False):
    """A block with camera, size 3x2, a comment, GPS, and on request a thumbnail in its second directory."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8298] = "Maker", orientation, "Someone"
    detail, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    detail[0xA002], detail[0xA003], detail[0x9286] = 3, 2, b"ASCII\0\0\0hello"
    gps[1], gps[2] = "N", (52.0, 30.0, 1.5)
    block = exif.tobytes()
    if not thumbnail:
        return block
    small = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(small, "JPEG")
    tiff = block.removeprefix(b"Exif\0\0")
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack(order + "I", tiff[4:8])
    (count,) = struct.unpack(order + "H", tiff[first : first + 2])
    link = first + 2 + 12 * count
    second = struct.pack(order + "H", 2)
    second += struct.pack(order + "HHII", 0x0201, 4, 1, len(tiff) + 30)
    second += struct.pack(order + "HHII", 0x0202, 4, 1, len(small.getvalue())) + bytes(4)
    tiff = tiff[:link] + struct.pack(order + "I", len(tiff)) + tiff[link + 4 :] + second + small.getvalue()
    return b"Exif\0\0" + tiff


def gray_profile(gamma):
    """A gray ICC profile (ICC.1:2010) with a pure power curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * x) for x in (0.9642, 1, 0.8249)))
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(256 * gamma))
    name = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g\0" + bytes(78)
    tags = {b"desc": name, b"wtpt": white, b"kTRC": curve, b"cprt": b"text\0\0\0\0c\0\0\0"}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI", start + len(body), b"none", 0x02100000) + b"mntrGRAYXYZ " + bytes(12)
    head += b"acsp" + bytes(28) + white[8:]
    return head.ljust(128, b"\0") + table + body


NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
}


def xmp_packet(description):
    """An XMP packet. description: from the attributes of its `rdf:Description` to the end of that."""
    spaces = " ".join(f'xmlns:{name}="{space}"' for name, space in NAMESPACES.items() if name != "rdf")
    body = f'<rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"><rdf:Description rdf:about="" {spaces}{description}</rdf:RDF>'
    packet = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">{body}'
    return (packet + "</x:xmpmeta>" + '<?xpacket end="w"?>').encode()


def jpeg_with(*more, **options):
    """A JPEG with more segments."""
    file = io.BytesIO()
    Image.fromarray(smooth(24, 40)).save(file, "JPEG", **options)
    content = file.getvalue()
    packed = b"".join(b"\xff" + bytes((mark,)) + struct.pack(">H", len(data) + 2) + data for mark, data in more)
    return content[:20] + packed + content[20:]


def exif_of(order, tags, thumbnail=False):
    """An EXIF block in a byte order. tags: of the first directory, and of that of EXIF: tag -> (type, values)."""
    exif = Image.Exif()
    exif.endian = order
    main, detail = tags
    for tag, value in main.items():
        exif[tag] = value
    for tag, value in detail.items():
        exif.get_ifd(0x8769)[tag] = value
    block = exif.tobytes()
    assert block[6:8] == {"<": b"II", ">": b"MM"}[order]
    return block


def png_with(chunks, after=()):
    file = io.BytesIO()
    Image.fromarray(smooth(24, 40)).save(file, "PNG")
    content = file.getvalue()
    packed = [
        b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in part)
        for part in (chunks, after)
    ]
    return content[:33] + packed[0] + content[33:-12] + packed[1] + content[-12:]
