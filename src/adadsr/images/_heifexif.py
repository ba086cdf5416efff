"""Put an EXIF block into an AVIF that libvips made: libvips writes one with additions (ISO/IEC 23008-12, annex A)."""

from adadsr.images._heifboxes import FULL_BOX, Box, boxes, extents, find, number


def with_exif(content: bytes, exif: bytes) -> bytes:
    """The AVIF `content`, which has an EXIF item, with the TIFF `exif` as its content. Raises ValueError otherwise."""
    meta = find(content, Box(b"", 0, len(content)), b"meta", 0)
    items = find(content, meta, b"iinf", FULL_BOX)
    item = _exif_item(content, items)
    place = next((each for each in extents(content, find(content, meta, b"iloc", FULL_BOX)) if each.item == item), None)
    if place is None or not place.offset.size:
        raise ValueError("the EXIF item has no place")
    data = bytes(4) + exif  # the TIFF begins at once
    changed, start, room = bytearray(content), place.base.value + place.offset.value, place.length.value
    changed[start : start + room] = bytes(room)
    if len(data) > room:
        start = len(changed) + 8
        changed += (len(data) + 8).to_bytes(4, "big") + b"mdat" + bytes(len(data))
    changed[start : start + len(data)] = data
    for field, value in ((place.offset, start - place.base.value), (place.length, len(data))):
        changed[field.at : field.at + field.size] = value.to_bytes(field.size, "big")
    return bytes(changed)


def _exif_item(content: bytes, items: Box) -> int:
    start = items.start + FULL_BOX + (2 if content[items.start] == 0 else 4)
    for box in boxes(content, start, items.end):
        wide = 4 if content[box.start] == 3 else 2
        at = box.start + FULL_BOX
        if content[at + wide + 2 : at + wide + 6] == b"Exif":
            return number(content, at, wide)
    raise ValueError("no EXIF item")
