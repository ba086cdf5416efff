"""Decoders other than libvips: what they tell of a file, and their libraries, imported when a file needs them."""

import importlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from adadsr.errors import ImageFileError
from adadsr.images._cicp import Cicp
from adadsr.images._picture import Pixels
from adadsr.images._resolution import Resolution

_WHITE_IS_ZERO, _PALETTE = 0, 3


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


class Undecodable(Exception):
    """A library refused the data; the message is its reason."""


class Unsupported(Exception):
    """A library lacks the codec."""


def load(module: str, what: str) -> Any:
    """Import a library of the extra. Raises ImageFileError, which begins with `what`, the file and its format."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImageFileError(
            f'{what} needs the extra `formats`; pip install "adadsr[formats]", or convert it'
        ) from error


def read_tiff(file: BinaryIO, what: str) -> Pixels:
    """Samples (H, W, C) of the first page of a TIFF whose directory is sound.

    what: as for `load`. Raises as `load`, Unsupported and Undecodable.
    """
    load("imagecodecs", what)
    tifffile = load("tifffile", what)
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            if page.compression != 1 and page.compression not in tifffile.TIFF.DECOMPRESSORS:
                raise Unsupported
            samples = page.asarray(maxworkers=1)
            planar = page.planarconfig == 2 and page.samplesperpixel > 1
            inverted = 0
            if page.photometric == _WHITE_IS_ZERO:
                inverted = page.samplesperpixel - len(page.extrasamples)
            if page.photometric == _PALETTE:
                samples = _looked_up(samples, page.colormap)
    except (MemoryError, Unsupported):
        raise
    except Exception as error:  # each codec has errors of its own
        raise Undecodable(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if samples.ndim == 2:
        samples = samples[..., None]
    elif planar:
        samples = np.moveaxis(samples, 0, -1)
    pixels: Pixels = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder("="), copy=False))
    if inverted:
        np.invert(pixels[..., :inverted], out=pixels[..., :inverted])
    return pixels


def _looked_up(indices: Pixels, colors: Pixels | None) -> Pixels:
    """Colours of a palette (3, N) of 16 bits, at 8 bits; gray if all are."""
    if indices.ndim != 2 or colors is None or colors.shape != (3, 256) or indices.dtype != np.uint8:
        raise Unsupported
    table = (colors if colors.max() < 256 else colors >> 8).astype(np.uint8)  # some programs write 8 bits
    gray = bool((colors == colors[0]).all())
    return table[0][indices] if gray else np.ascontiguousarray(table.T)[indices]


def decoded(decode: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a library's decoder returns. Raises Undecodable, Unsupported."""
    try:
        return decode(*arguments, **options)
    except MemoryError:
        raise
    except NotImplementedError as error:
        raise Unsupported(str(error) or "features that its library lacks") from error
    except Exception as error:  # each codec has errors of its own
        raise Undecodable(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
