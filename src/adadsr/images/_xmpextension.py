"""XMP that does not fit into one segment of a JPEG: a standard packet and an extension (XMP specification, part 3)."""

import hashlib

from adadsr.images._xmpdom import RDF, Node, packed, parsed, properties, remove

_NOTE = "http://ns.adobe.com/xmp/note/"


def merged(standard: bytes | None, extension: bytes) -> bytes | None:
    """The packet of a JPEG with the part that did not fit into its segment (XMP specification, part 3, 1.1.3.1).

    None if one of them is damaged or too long.
    """
    document, more = parsed(standard), parsed(extension)
    root = None if document is None else _root(document)
    if document is None or more is None or root is None:
        return None
    for each in list(properties(document)):
        if each.name == (_NOTE, "HasExtendedXMP"):
            remove(each)
    for found in more.getElementsByTagNameNS(RDF, "Description"):
        if found.parentNode.namespaceURI == RDF and found.parentNode.localName == "RDF":
            root.appendChild(document.importNode(found, True))
    return packed(document)


def split(xmp: bytes, limit: int) -> tuple[bytes, bytes | None] | None:
    """A packet of at most `limit` bytes and the extension that holds the rest, if any; None if that fails."""
    if len(xmp) <= limit:
        return xmp, None
    document = parsed(xmp)
    root = None if document is None else _root(document)
    if document is None or root is None:
        return None
    rest = root.cloneNode(False)
    for description in list(root.childNodes):
        if description.nodeType == description.ELEMENT_NODE and (moved := _without_long(description, limit // 8)):
            rest.appendChild(moved)
    extension: bytes = rest.toxml().encode()
    note = document.createElementNS(RDF, "rdf:Description")
    for name, value in (
        ("rdf:about", ""),
        ("xmlns:xmpNote", _NOTE),
        ("xmpNote:HasExtendedXMP", guid(extension)),
    ):
        note.setAttribute(name, value)
    root.appendChild(note)
    standard = packed(document)
    return (standard, extension) if len(standard) <= limit else None


def guid(extension: bytes) -> str:
    """The name of an extension: its MD5."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()


def _root(document: Node) -> Node | None:
    return next(iter(document.getElementsByTagNameNS(RDF, "RDF")), None)


def _without_long(description: Node, most: int) -> Node | None:
    """Move the properties longer than `most` from a description to a new one; None if there are none."""
    moved = description.cloneNode(False)
    names = [name for name in list(description.attributes.keys()) if not name.startswith(("xmlns", "rdf:"))]
    long = [name for name in names if len(description.getAttribute(name)) > most]
    for name in names:
        (description if name in long else moved).removeAttribute(name)
    for child in [each for each in description.childNodes if each.nodeType == each.ELEMENT_NODE]:
        if len(child.toxml()) > most:
            moved.appendChild(child)
    return moved if long or moved.hasChildNodes() else None
