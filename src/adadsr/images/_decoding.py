"""An open file of a known format -> Picture."""

from adadsr.errors import ImageFileError
from adadsr.images import _bmp, _exif, _heic, _jpeg2000, _jpegxl, _pnm, _xmp
from adadsr.images._codecs import Codec, Decoded, Undecodable, Unsupported
from adadsr.images._deep import gray_if_equal
from adadsr.images._frames import Frames, frames_of
from adadsr.images._opened import Decoder, Opened, several
from adadsr.images._picture import Extra, Picture
from adadsr.images._readmetadata import DAMAGED_EXIF_NOTE, fitted_profile
from adadsr.images._resolution import Resolution
from adadsr.images._tiffcheck import read_facts
from adadsr.images._tiffdir import read_header
from adadsr.images._tiffpages import page_offsets, with_first
from adadsr.images._vipsfile import RareTiff, VipsFile

_CODECS = {
    "bmp": _bmp.CODEC,
    "heic": _heic.CODEC,
    "jpeg2000": _jpeg2000.CODEC,
    "jpegxl": _jpegxl.CODEC,
    "pnm": _pnm.CODEC,
}
_GRAY_TOLERANCE = 1  # of channels that were stored as YCbCr


def decoder_of(opened: Opened, page: int | None) -> Decoder:
    """The decoder of an open file. page: from 1, of a file that has several. Raises ImageFileError."""
    if opened.content.codec == "tiff":
        return _tiff_decoder(opened, page)
    frames = None if page is None else frames_of(opened)
    if page is not None and frames is not None:
        _check_page(opened, page, len(frames.facts.delays))
        return _Frame(frames, page)
    if page is not None:
        _check_page(opened, page, 1)
    if opened.content.codec in _CODECS:
        return _OtherFile(opened, _CODECS[opened.content.codec])
    return VipsFile(opened, None)


def _tiff_decoder(opened: Opened, page: int | None) -> Decoder:
    pages = page_offsets(opened.file)
    if page is None and len(pages) > 1:
        raise several(opened, len(pages))
    _check_page(opened, page or 1, max(1, len(pages)))
    if pages and (page or 1, pages[0]) != (1, read_header(opened.file)[1]):
        opened = opened._replace(file=with_first(opened.file, pages[(page or 1) - 1]))
    facts = read_facts(opened.file)
    if facts is not None and (facts.unreadable or facts.unknown_to_libvips or facts.is_lab):
        return RareTiff(opened, facts)
    return VipsFile(opened, facts)


def _check_page(opened: Opened, page: int, count: int) -> None:
    if page > count:
        raise ImageFileError(f"{opened.name}: page {page} does not exist; the file has {count}")


class _Frame:
    """One frame of an animation."""

    def __init__(self, frames: Frames, page: int) -> None:
        self._frames, self._page = frames, page

    def size(self) -> tuple[int, int]:
        return self._frames.facts.height, self._frames.facts.width

    def picture(self, accept_damaged: bool) -> Picture:
        for number, picture in enumerate(self._frames, 1):
            if number == self._page:
                return picture
        raise AssertionError("the page was checked")


class _OtherFile:
    """A file that another library reads."""

    def __init__(self, opened: Opened, codec: Codec) -> None:
        self._opened, self._codec = opened, codec
        if opened.content.is_animated(opened.file):
            raise several(opened, 0)
        try:
            self._header = codec.header(opened.file, self._what())
        except Undecodable as error:
            raise opened.damaged(str(error)) from error
        except Unsupported as error:
            raise ImageFileError(f"{opened.name}: {opened.content.name} with {error}; convert it") from error
        opened.check_size(self._header.width, self._header.height)
        if self._header.pictures > 1:
            raise several(opened, self._header.pictures)

    def size(self) -> tuple[int, int]:
        return (self._header.height, self._header.width)

    def picture(self, accept_damaged: bool) -> Picture:
        opened, header = self._opened, self._header
        try:
            found = self._codec.decode(opened.file, self._what())
        except Undecodable as error:
            raise opened.damaged(str(error)) from error
        except Unsupported as error:
            raise ImageFileError(f"{opened.name}: {opened.content.name} with {error}; convert it") from error
        if found.pixels.shape[:2] != (header.height, header.width):
            raise opened.damaged("the header gives another size")
        return _picture(found, may_be_gray=not opened.content.has_gray)

    def _what(self) -> str:
        return f"{self._opened.name}: {self._opened.content.name}"


def _picture(found: Decoded, *, may_be_gray: bool) -> Picture:
    """may_be_gray: whether the format stores gray as RGB."""
    pixels = found.pixels
    if may_be_gray and found.profile is None:
        pixels = gray_if_equal(pixels, _GRAY_TOLERANCE)
    gray, stored = pixels.shape[2] <= 2, (pixels.shape[1], pixels.shape[0])
    cicp = None if found.cicp is None or found.cicp.is_srgb else found.cicp
    # The pixels are upright already; EXIF orientation describes the stored ones.
    facts = _exif.read_exif_facts(found.exif)
    before = stored[::-1] if (facts.orientation or 1) >= 5 else stored
    packet, exif = _xmp.cleaned(found.xmp, facts.orientation, before), _exif.cleaned(found.exif, before)
    notes = (*found.notes, *packet.notes, *((DAMAGED_EXIF_NOTE,) if found.exif and exif is None else ()))
    notes = tuple(dict.fromkeys(notes))  # XMP and boxes may name the same gain map
    resolution = found.resolution
    if resolution is None and facts.resolution is not None:
        resolution = Resolution.of(*facts.resolution)
    dpi = None if resolution is None else resolution.dpi
    aspect = resolution[:2] if resolution is not None and dpi is None else None
    extra = Extra(aspect=aspect, cicp=cicp, described_size=stored)
    profile, profile_notes = fitted_profile(found.profile, extra, gray=gray)
    return Picture(pixels, profile, exif, packet.xmp, dpi, extra, (*notes, *profile_notes))
