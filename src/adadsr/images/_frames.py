"""Animations frame by frame: WebP, GIF and PNG; one frame is in memory at a time.

Frames are put on the canvas, so that every one is a whole picture.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyvips

from adadsr.images._apng import frames_of_png
from adadsr.images._codecs import Undecodable
from adadsr.images._gifcheck import wrong_animation
from adadsr.images._opened import Opened
from adadsr.images._picture import Picture, Pixels
from adadsr.images._pngchunks import frame_delays
from adadsr.images._readmetadata import fitted_profile, read_metadata
from adadsr.images._turning import upright
from adadsr.images._vips import field, reason, vips_errors, vips_source

DEFAULT_DELAY = 100
"""Milliseconds of a frame whose file does not say."""


class Facts(NamedTuple):
    """Of an animation. height, width: of the upright canvas. delays: of each frame, in milliseconds.

    plays: how often it is shown; 0 for ever.
    """

    height: int
    width: int
    delays: tuple[int, ...]
    plays: int


@dataclass(frozen=True, eq=False)
class Frames:
    """An open animation, whose frames can be decoded once, in their order."""

    facts: Facts
    _opened: Opened
    _like: Picture
    _orientation: int
    _pixels: Iterator[Pixels]

    def __iter__(self) -> Iterator[Picture]:
        """Each frame, with the metadata of the file. Raises ImageFileError for damage."""
        for _ in self.facts.delays:
            with _damage_named(self._opened):
                pixels = upright(next(self._pixels), self._orientation)
            yield replace(self._like, pixels=pixels)


def frames_of(opened: Opened) -> Frames | None:
    """The animation in an open file; None for a still picture, and for formats whose animations are not read."""
    if opened.content.codec == "png":
        return _png_frames(opened) if opened.content.is_animated(opened.file) else None
    return _vips_frames(opened) if opened.content.codec in ("gif", "webp") else None


def _vips_frames(opened: Opened) -> Frames | None:
    load_all = getattr(pyvips.Image, f"{opened.content.codec}load_source")
    with _damage_named(opened):
        image = load_all(vips_source(opened.file), n=-1, access="sequential", fail_on=opened.content.strictness)
    count, height = field(image, "n-pages") or 1, field(image, "page-height") or image.height
    if count == 1:
        return None
    opened.check_size(image.width, height)
    if opened.content.codec == "gif" and (wrong := wrong_animation(opened.bytes())) is not None:
        raise opened.damaged(wrong, in_part=False)
    delays = (*(field(image, "delay") or ()), *(DEFAULT_DELAY,) * count)[:count]
    return _with_metadata(opened, image, height, delays, field(image, "loop") or 0, _vips_pixels(image, count, height))


def _vips_pixels(image: Any, count: int, height: int) -> Iterator[Pixels]:
    region = pyvips.Region.new(image)
    for index in range(count):
        samples = np.frombuffer(region.fetch(0, index * height, image.width, height), np.uint8)
        yield samples.reshape(height, image.width, image.bands).copy()


def _png_frames(opened: Opened) -> Frames:
    with _damage_named(opened):
        header = pyvips.Image.pngload_source(vips_source(opened.file), access="sequential")
        opened.check_size(header.width, header.height)
        delays, plays = frame_delays(opened.file)
        if not delays:
            raise Undecodable("it has no frames")
        pixels = frames_of_png(opened.file, opened.content.strictness)
        return _with_metadata(opened, header, header.height, delays, plays, pixels)


def _with_metadata(
    opened: Opened, image: Any, height: int, delays: tuple[int, ...], plays: int, pixels: Iterator[Pixels]
) -> Frames:
    orientation = field(image, "orientation") or 1
    first = image.crop(0, 0, image.width, height) if image.height > height else image
    found = read_metadata(first, opened.content, opened.file, orientation)
    profile, notes = fitted_profile(found.profile, found.extra, gray=False)
    notes = (*found.notes, *notes)
    blank = np.zeros((1, 1, 3), np.uint8)
    like = Picture(
        blank, profile, found.exif, found.xmp, found.dpi, found.extra, notes, lossy_format=opened.lossy_format
    )
    rows, columns = (image.width, height) if orientation >= 5 else (height, image.width)
    return Frames(Facts(rows, columns, delays, plays), opened, like, orientation, pixels)


@contextlib.contextmanager
def _damage_named(opened: Opened) -> Iterator[None]:
    """Errors of decoders as refusals of the file."""
    try:
        with vips_errors():
            yield
    except pyvips.Error as error:
        raise opened.damaged(reason(error), in_part=False) from error
    except Undecodable as error:
        raise opened.damaged(str(error), in_part=False) from error
    except StopIteration:
        raise opened.damaged("frames are missing", in_part=False) from None
