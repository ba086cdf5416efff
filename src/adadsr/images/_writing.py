"""Picture -> bytes or file. A file is written completely or not at all."""

import contextlib
import errno
import io
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyvips

from adadsr import atomic
from adadsr.errors import ImageFileError, InputError, cause_of
from adadsr.formats import FORMATS, Format, find_format, format_for_writing, joined
from adadsr.images._animation import WRITERS, Writer
from adadsr.images._encoding import lost_metadata, save
from adadsr.images._frames import Facts
from adadsr.images._picture import Picture
from adadsr.images._vips import no_warnings, reason

_BEST_QUALITY = 100


@no_warnings()
def encode(picture: Picture, format: str, *, quality: int | None = None) -> bytes:
    """Encode a picture as the content of a file.

    PNG and TIFF are lossless at 8 and 16 bits, whatever the quality. JPEG and WebP store 8 bits, AVIF 8 or 12; 16-bit
    samples are rounded to the nearest. Gray stays gray in PNG, JPEG and TIFF; WebP and AVIF store three equal channels,
    converted to sRGB if the picture has a gray profile. XMP that is too long for one JPEG segment is split.

    Args:
        picture: the picture.
        format: a name or suffix, such as `png` or `.jpeg`.
        quality: 1..100; None for the format's default. From 90, JPEG and AVIF keep full chroma resolution; 100 makes
            WebP and AVIF lossless.

    Raises:
        InputError: an unknown format, or a quality outside 1..100.
        ImageFileError: the format cannot hold the size or the transparency, or libvips fails.
    """
    target = find_format(format)
    _check_fits("", target, picture.height, picture.width, transparent=picture.is_transparent, quality=quality)
    file = io.BytesIO()
    try:
        save(picture, target, _quality(quality, target), file)
    except pyvips.Error as error:
        raise ImageFileError(
            f"cannot encode the picture as {target.name} ({reason(error)}); try another format"
        ) from error
    return file.getvalue()


@no_warnings()
def write_image(
    path: str | os.PathLike[str], picture: Picture, *, quality: int | None = None, overwrite: bool = True
) -> None:
    """Write a picture in the format of the suffix, as `encode` does, but without holding the encoded file in memory.

    The bytes go to a hidden file in the same folder, are synced to disk, and take the name in one step. If writing
    fails, nothing is left behind.

    Args:
        path: its suffix selects the format.
        picture: the picture.
        quality: as for `encode`.
        overwrite: False leaves an existing file alone, even one that appears meanwhile.

    Raises:
        InputError: as for `check_fits`.
        ImageFileError: as for `check_fits` and `check_writable`, or writing fails.
    """
    name = os.fspath(path)
    check_fits(name, picture.height, picture.width, transparent=picture.is_transparent, quality=quality)
    check_writable(name, overwrite=overwrite)
    target = format_for_writing(name)
    with _replacing(name, overwrite=overwrite) as file:
        save(picture, target, _quality(quality, target), file)


@no_warnings()
def encode_frames(frames: Iterable[Picture], facts: Facts, format: str, *, quality: int | None = None) -> bytes:
    """Encode an animation as the content of a file.

    Args:
        frames: pictures of one size; the next is taken once the one before is encoded.
        facts: delays and plays; its size does not count.
        format: one that `can_animate`.
        quality: as for `encode`.

    Raises:
        InputError, ImageFileError: as for `encode`.
    """
    target, file = find_format(format), io.BytesIO()
    try:
        _save_frames(frames, facts, "", target, quality, file)
    except pyvips.Error as error:
        raise ImageFileError(
            f"cannot encode the animation as {target.name} ({reason(error)}); try another format"
        ) from error
    return file.getvalue()


@no_warnings()
def write_frames(
    path: str | os.PathLike[str],
    frames: Iterable[Picture],
    facts: Facts,
    *,
    quality: int | None = None,
    overwrite: bool = True,
) -> None:
    """Write an animation as `write_image` writes a picture, frame by frame.

    Args:
        path: its suffix selects the format, one that `can_animate`.
        frames, facts: as for `encode_frames`.
        quality, overwrite: as for `write_image`.

    Raises:
        InputError, ImageFileError: as for `write_image`.
    """
    name = os.fspath(path)
    check_writable(name, overwrite=overwrite)
    target = format_for_writing(name)
    with _replacing(name, overwrite=overwrite) as file:
        _save_frames(frames, facts, f"{name}: ", target, quality, file)


def can_animate(path: str | os.PathLike[str]) -> bool:
    """Whether the format of the suffix holds animations."""
    return format_for_writing(os.fspath(path)).codec in WRITERS


def _save_frames(
    frames: Iterable[Picture], facts: Facts, prefix: str, target: Format, quality: int | None, file: BinaryIO
) -> None:
    writer: Writer | None = None
    for picture in frames:
        if writer is None:
            _check_fits(
                prefix, target, picture.height, picture.width, transparent=False, quality=quality, animated=True
            )
            writer = WRITERS[target.codec](file, target, _quality(quality, target), facts)
        writer.add(picture)
    if writer is not None:
        writer.close()


@contextlib.contextmanager
def _replacing(name: str, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A hidden file that takes the name when the block ends. Raises ImageFileError where that fails."""
    try:
        with atomic.replacing(name, overwrite=overwrite) as hidden, hidden.open("r+b") as file:
            yield file
    except pyvips.Error as error:
        raise ImageFileError(_failure(name, reason(error))) from error
    except FileExistsError:
        raise ImageFileError(_existing(name)) from None
    except OSError as error:
        raise ImageFileError(_failure(name, cause_of(error))) from error


def check_fits(
    path: str | os.PathLike[str],
    height: int,
    width: int,
    *,
    transparent: bool = False,
    quality: int | None = None,
    animated: bool = False,
) -> None:
    """Check, before any long work, whether the format of the suffix can store a picture. Accesses no file.

    Args:
        path: its suffix selects the format.
        height, width: in pixels.
        transparent: whether a pixel is not fully opaque.
        quality: as for `encode`.
        animated: whether it is an animation.

    Raises:
        InputError: a quality outside 1..100.
        ImageFileError: an unknown suffix, one for animations only, a side over the format's limit, or transparency that
            it cannot store.
    """
    name = os.fspath(path)
    target = format_for_writing(name)
    _check_fits(f"{name}: ", target, height, width, transparent=transparent, quality=quality, animated=animated)


def check_quality(quality: int | None) -> None:
    """Check a quality. Raises InputError outside 1..100; None is the format's default."""
    if quality is not None and not 1 <= quality <= _BEST_QUALITY:
        raise InputError(f"quality={quality} must be from 1 (smallest file) to {_BEST_QUALITY} (best)")


def check_writable(path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Check whether a file may be named `path`. Writes nothing; `atomic.check_folder` proves that a folder is writable.

    Args:
        path: the file name.
        overwrite: False refuses to replace an existing file.

    Raises:
        ImageFileError: an existing folder, an existing file with overwrite=False, a missing folder, or a name that is
            too long for the file system.
    """
    name = os.fspath(path)
    final = os.path.realpath(name)
    try:
        os.lstat(final)
    except OSError as error:  # what else is wrong shows below, or in writing
        if error.errno == errno.ENAMETOOLONG:
            raise ImageFileError(f"{name}: the file name is too long; shorten it or the --suffix") from error
    if os.path.isdir(final):
        raise ImageFileError(f"{name}: is a folder; pass a file name")
    if not overwrite and os.path.exists(final):
        raise ImageFileError(_existing(name))
    if not os.path.isdir(os.path.dirname(final)):
        raise ImageFileError(f"{name}: folder {os.path.dirname(name) or '.'} does not exist; create it first")


def losses(path: str | os.PathLike[str], picture: Picture) -> tuple[str, ...]:
    """What the format of the suffix cannot keep of the metadata, in words for the user."""
    target = format_for_writing(os.fspath(path))
    missing = [name for name, is_lost in lost_metadata(picture, target).items() if is_lost]
    return (f"{target.name} cannot hold {joined(missing)}",) if missing else ()


def _check_fits(
    prefix: str,
    target: Format,
    height: int,
    width: int,
    *,
    transparent: bool,
    quality: int | None,
    animated: bool = False,
) -> None:
    """prefix: start of every message about the picture."""
    check_quality(quality)
    if target.has_palette and not animated:
        raise ImageFileError(f"{prefix}{target.name} has 256 colors, so only animations are written; write PNG or WebP")
    if (longest := max(height, width)) > target.max_side:
        others = joined(each.name for each in FORMATS if each.is_lossless and longest <= each.max_side)
        raise ImageFileError(
            f"{prefix}{width}x{height} exceeds {target.name}'s limit of {target.max_side} pixels per side; "
            f"write {others}"
        )
    if transparent and not target.has_alpha:
        others = joined(each.name for each in FORMATS if each.has_alpha)
        raise ImageFileError(
            f"{prefix}{target.name} cannot hold transparency; write {others}, or flatten it (--background)"
        )


def _quality(quality: int | None, target: Format) -> int:
    if quality is not None:
        return quality
    return _BEST_QUALITY if target.default_quality is None else target.default_quality


def _existing(name: str) -> str:
    return f"{name}: already exists; pass --overwrite to replace it"


def _failure(name: str, cause: str) -> str:
    return f"{name}: cannot write ({cause}); check the folder, its permissions and the free space"
