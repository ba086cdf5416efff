"""Pixels and metadata for the tests of image files."""

import io
import struct

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
