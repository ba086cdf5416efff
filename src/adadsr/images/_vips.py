"""Access to libvips."""

import contextlib
import io
import logging
import threading
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyvips

from adadsr.images._picture import Pixels

_LOGGERS = tuple(logging.getLogger(name) for name in ("pyvips", "tifffile"))


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Decorator: drop warnings of libvips and tifffile about this function's picture, and no others, until it returns.

    They are about metadata that libvips repairs or drops; whatever makes a picture unusable is raised.
    """
    own = _OwnWarnings()
    for logger in _LOGGERS:
        logger.addFilter(own)
    try:
        yield
    except Exception as error:
        # Some warnings appear when an image is freed, and a traceback keeps it alive.
        for each in (error, error.__cause__):
            traceback.clear_frames(each.__traceback__ if each else None)
        raise
    finally:
        for logger in _LOGGERS:
            logger.removeFilter(own)


class _OwnWarnings(logging.Filter):
    """Rejects warnings from the thread that made this filter and from libvips' worker threads."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        # Python calls threads that it did not start dummies.
        is_own = record.thread == self._thread or (record.threadName or "").startswith("Dummy-")
        return not is_own or (record.levelno >= logging.ERROR and record.name == "pyvips")


@contextlib.contextmanager
def vips_errors() -> Iterator[None]:
    """Decorator: pyvips.Error also where a message of libvips quotes bytes of the file that are not UTF-8.

    pyvips fails to decode it before it clears libvips' messages, and would fail so for every later error.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        pyvips.vips_lib.vips_error_clear()
        raise pyvips.Error("unable to call libvips", error.object.decode(errors="replace")) from error


def image_of(pixels: Pixels, interpretation: str) -> Any:
    """A vips image of C-contiguous samples (H, W, C), which are not copied."""
    height, width, bands = pixels.shape
    sample = "ushort" if pixels.dtype == np.uint16 else "uchar"
    image = pyvips.Image.new_from_memory(pixels.data, width, height, bands, sample)
    return image.copy(interpretation=interpretation)


def vips_source(file: BinaryIO) -> Any:
    """A source of libvips that reads an open file from its beginning."""
    if isinstance(file, io.BytesIO):
        return pyvips.Source.new_from_memory(file.getvalue())
    file.seek(0)
    return pyvips.Source.new_from_descriptor(file.fileno())


def field(image: Any, name: str) -> Any:
    """A field of a vips image; None if it has no such field."""
    return image.get(name) if image.get_typeof(name) else None


def with_fields_of(like: Any, image: Any) -> Any:
    """`image` with the resolution and the attached fields of another, such as profile, XMP and orientation."""
    image = image.copy(xres=like.xres, yres=like.yres)
    own = set(image.get_fields())
    for name in like.get_fields():
        if name not in own:
            image.set_type(like.get_typeof(name), name, like.get(name))
    return image


def reason(error: pyvips.Error) -> str:
    """The last line of a libvips message that is not about the call itself; earlier ones may come from probing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not (line.startswith("unable to ") or line.endswith(": load error"))]
    return lines[-1] if lines else "libvips gives no reason"
