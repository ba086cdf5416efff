"""What a decoder other than libvips tells of a file."""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from adadsr.images._cicp import Cicp
from adadsr.images._picture import Pixels
from adadsr.images._resolution import Resolution


class Header(NamedTuple):
    """width, height: of the upright picture. pictures: frames or pages."""

    width: int
    height: int
    pictures: int = 1


class Decoded(NamedTuple):
    """Upright pixels (H, W, C), as in `Picture`, and metadata as it stands in the file."""

    pixels: Pixels
    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    cicp: Cicp | None = None
    notes: tuple[str, ...] = ()
    resolution: Resolution | None = None


class Codec(NamedTuple):
    """Functions of an open file and its description for messages. They raise ImageFileError, Undecodable, Unsupported.

    header: reads no pixels, so that sizes are checked first.
    """

    header: Callable[[BinaryIO, str], Header]
    decode: Callable[[BinaryIO, str], Decoded]


def content_of(file: BinaryIO) -> bytes:
    """The whole file."""
    file.seek(0)
    return file.read()
