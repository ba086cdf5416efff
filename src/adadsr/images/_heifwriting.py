"""EXIF and colour codes in an AVIF that libvips made (ISO/IEC 23008-12).

libvips writes an EXIF block with additions, and has no option for codes.
"""

from adadsr.images._cicp import Cicp
from adadsr.images._isoboxes import FULL_BOX, Box, Field, boxes, extents, find, number, primary_item


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


def with_nclx(content: bytes, cicp: Cicp) -> bytes:
    """The AVIF `content` with `cicp` as a property of its primary image. Raises ValueError for another layout."""
    codes = b"nclx" + b"".join(code.to_bytes(2, "big") for code in cicp[:3]) + bytes((cicp.full_range << 7,))
    meta = find(content, Box(b"", 0, len(content)), b"meta", 0)
    inside = {box.kind: box for box in boxes(content, meta.start + FULL_BOX, meta.end)}
    properties = {box.kind: box for box in boxes(content, inside[b"iprp"].start, inside[b"iprp"].end)}
    container, association = properties[b"ipco"], properties[b"ipma"]
    for box in boxes(content, container.start, container.end):
        if box.kind == b"colr" and content[box.start : box.start + 4] == b"nclx":
            return content[: box.start] + codes + content[box.start + len(codes) :]
    wide = content[association.start + 3] & 1
    index = 1 + sum(1 for _ in boxes(content, container.start, container.end))
    if not wide and index > 127:
        raise ValueError("too many properties")
    added = (len(codes) + 8).to_bytes(4, "big") + b"colr" + codes
    at, count_at = _entry_end(content, association, primary_item(content, inside[b"pitm"]))
    changed = bytearray(content)
    link = index.to_bytes(2 if wide else 1, "big")
    _shift_offsets(changed, inside[b"iloc"], meta.end, len(added) + len(link))
    changed[count_at] += 1
    for box, more in ((meta, len(added) + len(link)), (inside[b"iprp"], len(added) + len(link))):
        _grow(changed, box, more)
    _grow(changed, container, len(added))
    _grow(changed, association, len(link))
    for place, data in sorted(((at, link), (container.end, added)), reverse=True):
        changed[place:place] = data
    return bytes(changed)


def _grow(changed: bytearray, box: Box, more: int) -> None:
    size = number(bytes(changed[box.start - 8 : box.start]), 0, 4)
    changed[box.start - 8 : box.start - 4] = (size + more).to_bytes(4, "big")


def _entry_end(content: bytes, box: Box, item: int) -> tuple[int, int]:
    """Where the properties of an item end in the box `ipma`, and where their count stands."""
    id_bytes, index_bytes = 4 if content[box.start] else 2, 2 if content[box.start + 3] & 1 else 1
    at = box.start + FULL_BOX + 4
    while at < box.end:
        found, count_at = number(content, at, id_bytes), at + id_bytes
        at = count_at + 1 + content[count_at] * index_bytes
        if found == item:
            return at, count_at
    raise ValueError("the primary image has no properties")


def _shift_offsets(changed: bytearray, box: Box, after: int, more: int) -> None:
    """Move the offsets of the box `iloc` that lie after `after`."""
    bases = {}
    for each in extents(bytes(changed), box):
        if each.base.value >= after:
            bases[each.base.at] = each.base
        elif each.base.value + each.offset.value >= after:
            _add(changed, each.offset, more)
    for base in bases.values():  # each once, whatever the number of pieces
        _add(changed, base, more)


def _add(changed: bytearray, field: Field, more: int) -> None:
    changed[field.at : field.at + field.size] = (field.value + more).to_bytes(field.size, "big")
