"""Photoshop image resources, which hold IPTC (Adobe Photoshop file formats, image resource section)."""

from collections.abc import Iterator
from typing import NamedTuple

JPEG_PREFIX = b"Photoshop 3.0\0"

_SIGNATURE = b"8BIM"
_IPTC = 0x0404
# Thumbnails, and what files hold in places of their own: ICC profile, EXIF, XMP. Resolution is the file's.
_LEFT_OUT = (0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424, 0x03ED)
_MAX_RESOURCES = 1024


class _Resource(NamedTuple):
    """packed: the whole resource."""

    number: int
    data: bytes
    packed: bytes


def cleaned(resources: bytes | None) -> bytes | None:
    """Resources without those that are out of date or stand elsewhere, too; None if none are left."""
    kept = b"".join(each.packed for each in _walk(resources or b"") if each.number not in _LEFT_OUT)
    return kept or None


def iptc_of(resources: bytes | None) -> bytes | None:
    """The IPTC records (IIM) in the resources."""
    return next((each.data for each in _walk(resources or b"") if each.number == _IPTC), None)


def without_iptc(resources: bytes) -> bytes | None:
    """Resources without the IPTC; None if none are left."""
    return b"".join(each.packed for each in _walk(resources) if each.number != _IPTC) or None


def with_iptc(resources: bytes | None, iptc: bytes | None) -> bytes | None:
    """Resources with these IPTC records unless they have some."""
    if iptc is None or iptc_of(resources) is not None:
        return resources
    packed = _SIGNATURE + _IPTC.to_bytes(2, "big") + bytes(2) + len(iptc).to_bytes(4, "big")
    return (resources or b"") + packed + iptc + bytes(len(iptc) % 2)


def _walk(resources: bytes) -> Iterator[_Resource]:
    at = 0
    for _ in range(_MAX_RESOURCES):
        if resources[at : at + 4] != _SIGNATURE or at + 12 > len(resources):
            return
        name = resources[at + 6] + 1
        size_at = at + 6 + name + name % 2
        start = size_at + 4
        size = int.from_bytes(resources[size_at:start], "big")
        end = start + size
        if end > len(resources):
            return
        data = resources[start:end]
        yield _Resource(int.from_bytes(resources[at + 4 : at + 6], "big"), data, resources[at:end] + bytes(size % 2))
        at = end + size % 2
