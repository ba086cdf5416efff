"""XMP packets (ISO 16684-1) brought up to date: orientation, sizes, regions; without thumbnails and what is not kept.

A packet is untrusted XML: one with a document type, beyond a size, or damaged is passed on as it is. A packet in which
nothing is out of date keeps its bytes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from adadsr.images._turning import TURNS, Size, turned_point
from adadsr.images._xmpdom import RDF, Node, Property, elements, own_properties, packed, parsed, properties, remove

GAIN_MAP_NOTE = "the HDR gain map was left out; the result is the picture without it"
MOTION_NOTE = "the video of the motion photo was left out"

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_REGIONS, _AREA = "http://www.metadataworkinggroup.com/schemas/regions/", "http://ns.adobe.com/xmp/sType/Area#"
_DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_PANORAMA, _CONTAINER = "http://ns.google.com/photos/1.0/panorama/", "http://ns.google.com/photos/1.0/container/"
_GAIN_MAPS = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")
_CAMERA, _MOTION = "http://ns.google.com/photos/1.0/camera/", ("MotionPhoto", "MicroVideo")
_LISTED = ("GainMap", "MotionPhoto")
_WIDTHS = ((_TIFF, "ImageWidth"), (_EXIF, "PixelXDimension"))
_HEIGHTS = ((_TIFF, "ImageLength"), (_EXIF, "PixelYDimension"))
_DIMENSION_NAMES = ((_DIMENSIONS, "w"), (_DIMENSIONS, "h"))
_POSITIONS = ((_EXIF, "SubjectArea"), (_EXIF, "SubjectLocation"))


class Cleaned(NamedTuple):
    """A packet, and what was left out of it, for the user."""

    xmp: bytes | None
    notes: tuple[str, ...] = ()


def cleaned(xmp: bytes | None, orientation: int | None, stored: Size) -> Cleaned:
    """The packet of an upright picture.

    Args:
        xmp: the packet of the file.
        orientation: that of the EXIF, which has been applied; None if EXIF has none: then the packet's is left alone,
            as viewers do.
        stored: size of the stored picture.
    """
    document = parsed(xmp)
    if xmp is None or document is None:
        has_gain_map = xmp is not None and any(name.encode() in xmp for name in _GAIN_MAPS)
        return Cleaned(None, (GAIN_MAP_NOTE, "damaged XMP was left out")) if has_gain_map else Cleaned(xmp)
    listed, promises_video = _without_lists(document), _promises_video(document)
    without_map = _without(document, lambda space, name: space in _GAIN_MAPS)
    without_motion = _without(document, lambda space, name: space == _CAMERA and name.startswith(_MOTION))
    changed = bool(listed) | without_map | without_motion | _without_thumbnails(document)
    if orientation is not None:
        changed |= _turned(document, orientation, stored)
    had_map, had_video = without_map or "GainMap" in listed, promises_video or "MotionPhoto" in listed
    notes = (*((GAIN_MAP_NOTE,) if had_map else ()), *((MOTION_NOTE,) if had_video else ()))
    if changed and not _says_anything(document):
        return Cleaned(None, notes)
    return Cleaned(packed(document) if changed else xmp, notes)


def sized(xmp: bytes | None, before: Size, after: Size) -> bytes | None:
    """The packet of a picture that had the size `before` and now has the size `after`."""
    document = parsed(xmp) if before != after else None
    if xmp is None or document is None:
        return xmp
    factors = after[0] / before[0], after[1] / before[1]
    changed, units = False, _Units()
    for each in properties(document):
        value = each.number()
        if value is None:
            continue
        if each.name in _WIDTHS:
            changed |= each.write(str(after[0]))
        elif each.name in _HEIGHTS:
            changed |= each.write(str(after[1]))
        elif each.name[0] == _PANORAMA and each.name[1].endswith("Pixels"):
            changed |= each.write(str(round(value * factors["Height" in each.name[1] or "Top" in each.name[1]])))
        elif each.name in _DIMENSION_NAMES and units.are_pixels_of(each):
            changed |= each.write(str(after[each.name[1] == "h"]))
    for numbers in _positions(document):
        for index, number in enumerate(numbers):
            value = number.number()
            if value is not None:
                changed |= number.write(str(round(value * factors[index % 2])))
    return packed(document) if changed else xmp


def _without(document: Node, is_gone: Callable[[str, str], bool]) -> bool:
    """Remove the properties of something that a file contains beside the picture. Returns whether there were any.

    is_gone: whether a property is one of them, by namespace and name.
    """
    found = False
    for element in list(elements(document)):
        if is_gone(element.namespaceURI or "", element.localName):
            remove(Property(element))
            found = True
            continue
        for index in reversed(range(element.attributes.length)):
            attribute = element.attributes.item(index)
            declares = attribute.namespaceURI == _XMLNS and attribute.value in _GAIN_MAPS
            if declares or is_gone(attribute.namespaceURI or "", attribute.localName):
                found |= not declares
                element.removeAttributeNode(attribute)
    return found


def _without_lists(document: Node) -> set[str]:
    """Remove Google's lists of contents that name something that is not kept. Returns what they name."""
    found, inside = set[str](), set[int]()  # elements of a list; what is nested was searched with the outermost
    for element in list(elements(document)):
        is_list = element.namespaceURI == _CONTAINER and element.localName == "Directory"
        is_nested = id(element.parentNode) in inside
        if is_list or is_nested:
            inside.add(id(element))
        if is_list and not is_nested:
            text = element.toxml()
            named = {each for each in _LISTED if each in text}
            found |= named
            if named:
                remove(Property(element))
    return found


def _promises_video(document: Node) -> bool:
    """Whether a packet says that a video is in the file."""
    names = [(_CAMERA, name) for name in _MOTION]
    return any(each.name in names and each.number() != 0 for each in properties(document))


def _without_thumbnails(document: Node) -> bool:
    found = list(document.getElementsByTagNameNS(_XMP, "Thumbnails"))
    for element in found:
        remove(Property(element))
    return bool(found)


def _turned(document: Node, orientation: int, stored: Size) -> bool:
    """Turn what refers to the stored picture. Returns whether anything changed."""
    found = list(properties(document))
    # Some programs give regions of the upright picture; their dimensions tell.
    dimensions = {each.name[1]: each.number() for each in found if each.name[0] == _DIMENSIONS}
    is_upright = stored[0] != stored[1] and (dimensions.get("w"), dimensions.get("h")) == stored[::-1]
    changed, units = False, _Units()
    for each in found:
        if each.name == (_TIFF, "Orientation"):
            changed |= each.write("1")
    if orientation >= 5:
        for each in found:
            if each.name in _WIDTHS and each.number() == stored[0]:
                changed |= each.write(str(stored[1]))
            elif each.name in _HEIGHTS and each.number() == stored[1]:
                changed |= each.write(str(stored[0]))
            elif each.name in _DIMENSION_NAMES and not is_upright and units.are_pixels_of(each):
                changed |= each.write(str(stored[each.name[1] == "w"]))
    if orientation in TURNS and not is_upright:
        changed |= _turn_regions(document, orientation)
    if orientation in TURNS:
        for numbers in _positions(document):
            values = [number.number() for number in numbers]
            x, y = values[:2] if len(values) >= 2 else (None, None)
            if x is not None and y is not None:
                point = turned_point(orientation, x / stored[0], y / stored[1])
                size = stored[::-1] if orientation >= 5 else stored
                changed |= numbers[0].write(str(round(point[0] * size[0])))
                changed |= numbers[1].write(str(round(point[1] * size[1])))
                if len(numbers) == 4 and orientation >= 5:
                    texts = numbers[2].text, numbers[3].text
                    changed |= numbers[2].write(texts[1]) | numbers[3].write(texts[0])
    return changed


def _turn_regions(document: Node, orientation: int) -> bool:
    changed = False
    for element in elements(document):
        parts = {each.name[1]: each for each in own_properties(element) if each.name[0] == _AREA}
        values = {name: each.number() for name, each in parts.items()}
        x, y = values.get("x"), values.get("y")
        if x is None or y is None:
            continue
        for name, value in zip("xy", turned_point(orientation, x, y), strict=True):
            changed |= parts[name].write(f"{value:.6g}")
        if orientation >= 5 and "w" in parts and "h" in parts:
            texts = parts["w"].text, parts["h"].text
            changed |= parts["w"].write(texts[1]) | parts["h"].write(texts[0])
    return changed


def _positions(document: Node) -> Iterator[list[Property]]:
    """The numbers of each property that is a position in pixels."""
    for space, name in _POSITIONS:
        for element in document.getElementsByTagNameNS(space, name):
            yield [Property(each) for each in element.getElementsByTagNameNS(RDF, "li")]


class _Units:
    """Units of the dimensions of regions. Looks at each element once, however many dimensions it has."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def are_pixels_of(self, dimension: Property) -> bool:
        """Whether a dimension belongs to regions and is in pixels."""
        node = dimension.node
        element = node.ownerElement if node.nodeType == node.ATTRIBUTE_NODE else node.parentNode
        key = id(element)
        if key not in self._known:
            self._known[key] = self._look(element)
        return self._known[key]

    def _look(self, element: Node) -> bool:
        here = element
        while here is not None and getattr(here, "namespaceURI", None) != _REGIONS:
            here = here.parentNode
        if here is None:
            return False
        units = [each.text for each in own_properties(element) if each.name == (_DIMENSIONS, "unit")]
        return units in (["pixel"], [])


def _says_anything(document: Node) -> bool:
    """Whether a packet has any property left."""
    for description in document.getElementsByTagNameNS(RDF, "Description"):
        names = [each.name[0] for each in own_properties(description)]
        if any(space not in (_XMLNS, RDF, "") for space in names):
            return True
    return False
