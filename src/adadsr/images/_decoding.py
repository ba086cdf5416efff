"""An open file of a known format -> Picture."""

from adadsr.errors import ImageFileError
from adadsr.images import _bmp, _exif, _heic, _jpeg2000, _jpegxl, _pnm, _xmp
from adadsr.images._cicp import profile_of
from adadsr.images._codecs import Codec, Decoded
from adadsr.images._deep import gray_if_equal
from adadsr.images._extras import Undecodable, Unsupported
from adadsr.images._metadata import fitting_profile
from adadsr.images._opened import Decoder, Opened, several
from adadsr.images._picture import Extra, Picture
from adadsr.images._readmetadata import DAMAGED_EXIF_NOTE
from adadsr.images._resolution import Resolution
from adadsr.images._tiffcheck import read_facts
from adadsr.images._vipsfile import RareTiff, VipsFile

_CODECS = {
    "bmp": _bmp.CODEC,
    "heic": _heic.CODEC,
    "jpeg2000": _jpeg2000.CODEC,
    "jpegxl": _jpegxl.CODEC,
    "pnm": _pnm.CODEC,
}
_GRAY_TOLERANCE = 1  # of channels that were stored as YCbCr


def decoder_of(opened: Opened) -> Decoder:
    """The decoder of an open file. Raises ImageFileError."""
    if opened.content.codec in _CODECS:
        return _OtherFile(opened, _CODECS[opened.content.codec])
    facts = read_facts(opened.file) if opened.content.codec == "tiff" else None
    if facts is not None and (facts.unreadable or facts.unknown_to_libvips or facts.is_lab):
        return RareTiff(opened, facts)
    return VipsFile(opened, facts)


class _OtherFile:
    """A file that another library reads."""

    def __init__(self, opened: Opened, codec: Codec) -> None:
        self._opened, self._codec = opened, codec
        if opened.content.is_animated(opened.file):
            raise ImageFileError(several(opened.name, 0))
        try:
            self._header = codec.header(opened.file, self._what())
        except Undecodable as error:
            raise opened.damaged(str(error)) from error
        except Unsupported as error:
            raise ImageFileError(f"{opened.name}: {opened.content.name} with {error}; convert it") from error
        opened.check_size(self._header.width, self._header.height)
        if self._header.pictures > 1:
            raise ImageFileError(several(opened.name, self._header.pictures))

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
    profile = fitting_profile(found.profile, gray=gray)
    cicp = None if found.cicp is None or found.cicp.is_srgb else found.cicp
    if profile is None and cicp is not None:
        profile = profile_of(cicp, gray)
    # The pixels are upright already; EXIF orientation describes the stored ones.
    facts = _exif.read_exif_facts(found.exif)
    before = stored[::-1] if (facts.orientation or 1) >= 5 else stored
    packet, exif = _xmp.cleaned(found.xmp, facts.orientation, before), _exif.cleaned(found.exif, before)
    notes = (*found.notes, *packet.notes, *((DAMAGED_EXIF_NOTE,) if found.exif and exif is None else ()))
    resolution = None if facts.resolution is None else Resolution.of(*facts.resolution)
    dpi = None if resolution is None else resolution.dpi
    return Picture(pixels, profile, exif, packet.xmp, dpi, Extra(cicp=cicp, described_size=stored), notes)
