"""XMP packets as documents: reading, changing and writing properties. Packets are untrusted XML."""

from collections.abc import Iterator
from typing import Any, TypeAlias
from xml.dom import minidom
from xml.parsers.expat import ExpatError

Node: TypeAlias = Any
"""A node of `xml.dom.minidom`, whose types are too wide to be of help."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_MAX_BYTES = 1 << 21
_MAX_NUMBER = 1e9
_MAX_MARKS = 16384  # of tags and of attributes: a document takes a kilobyte for each


class Property:
    """An attribute or an element with text."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = (node.namespaceURI or "", node.localName or "")

    @property
    def text(self) -> str:
        if isinstance(self.node, minidom.Attr):
            return self.node.value
        return "".join(each.data for each in self.node.childNodes if isinstance(each, minidom.Text)).strip()

    def write(self, text: str) -> bool:
        """Replace the text. Returns whether it changed."""
        if text == self.text:
            return False
        if isinstance(self.node, minidom.Attr):
            self.node.value = text
        else:
            while self.node.firstChild:
                self.node.removeChild(self.node.firstChild)
            self.node.appendChild(self.node.ownerDocument.createTextNode(text))
        return True

    def number(self) -> float | None:
        """The text as a number, if it is one that can be a place or a size."""
        try:
            value = float(self.text)
        except ValueError:
            return None
        return value if abs(value) <= _MAX_NUMBER else None  # not for nan


def parsed(xmp: bytes | None) -> Node | None:
    """The packet as a document; None if it is unsafe, too large or damaged."""
    if xmp is None or len(xmp) > _MAX_BYTES or max(xmp.count(b"<"), xmp.count(b"=")) > _MAX_MARKS:
        return None
    if b"<!" in xmp.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        return None
    try:
        document = minidom.parseString(xmp.strip(b"\0 \t\r\n"))
        document.toxml()  # recursive: too deep a packet fails here
    except (ExpatError, RecursionError, UnicodeError, ValueError, LookupError):
        return None
    return document


def packed(document: Node) -> bytes:
    return "\n".join(node.toxml() for node in document.childNodes).encode()


def elements(document: Node) -> Iterator[Node]:
    yield from document.getElementsByTagName("*")


def properties(document: Node) -> Iterator[Property]:
    """Attributes, and elements without elements inside."""
    for element in elements(document):
        for index in range(element.attributes.length):
            yield Property(element.attributes.item(index))
        if not any(isinstance(child, minidom.Element) for child in element.childNodes):
            yield Property(element)


def remove(each: Property) -> None:
    node = each.node
    if isinstance(node, minidom.Attr):
        if node.ownerElement is not None:
            node.ownerElement.removeAttributeNode(node)
    elif node.parentNode is not None:
        node.parentNode.removeChild(node)


def own_properties(element: Node) -> Iterator[Property]:
    """Attributes and children of one element."""
    for index in range(element.attributes.length):
        yield Property(element.attributes.item(index))
    for child in element.childNodes:
        if isinstance(child, minidom.Element):
            yield Property(child)
