"""Everything but pixels that an open file says about its picture."""

from typing import Any, BinaryIO, NamedTuple

from adadsr.formats import InputFormat
from adadsr.images import _exif, _photoshop, _xmp
from adadsr.images._cicp import Cicp, profile_of
from adadsr.images._isoboxes import read_heif_facts
from adadsr.images._jpegmetadata import COMMENT_KEYWORD, read_jpeg_facts
from adadsr.images._picture import Extra
from adadsr.images._pngchunks import read_png_facts
from adadsr.images._pngcolor import PngColor
from adadsr.images._profiles import LOST_PROFILE, fitting_profile, profile_notes
from adadsr.images._resolution import Resolution
from adadsr.images._tiffmetadata import read_tiff_metadata
from adadsr.images._vips import field

DAMAGED_EXIF_NOTE = "damaged EXIF was left out"


class Metadata(NamedTuple):
    """Of the upright picture. dpi: see `Picture`. is_premultiplied: whether colours are multiplied by alpha."""

    profile: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    extra: Extra
    notes: tuple[str, ...]
    is_premultiplied: bool


class _Found(NamedTuple):
    """As it stands in the file."""

    exif: bytes | None
    xmp: bytes | None
    resolution: Resolution | None = None
    texts: tuple[tuple[str, str], ...] = ()
    photoshop: bytes | None = None
    geotiff: bytes | None = None
    cicp: Cicp | None = None
    png_color: PngColor | None = None
    png_light: tuple[tuple[bytes, bytes], ...] = ()
    notes: tuple[str, ...] = ()
    is_premultiplied: bool = False
    profile: bytes | None = None


def read_metadata(image: Any, content: InputFormat, file: BinaryIO, orientation: int) -> Metadata:
    """Metadata of a file of which `image` is the vips image. orientation: that which is applied to its pixels."""
    found = _READERS.get(content.codec, _read_any)(image, file)
    stored = (image.width, image.height)
    profile = field(image, "icc-profile-data") if found.profile is None else found.profile
    facts = _exif.read_exif_facts(found.exif)
    applied = facts.orientation if orientation == 1 else orientation
    packet = _xmp.cleaned(found.xmp, applied, stored)
    exif = _exif.cleaned(found.exif, stored, orientation)
    notes = tuple(dict.fromkeys((*found.notes, *packet.notes)))  # XMP and boxes may name the same gain map
    if found.exif is not None and exif is None:
        notes = (*notes, DAMAGED_EXIF_NOTE)
    # The format's own place comes first: programs that resize often leave the EXIF as it was.
    resolution = found.resolution
    if (resolution is None or resolution.dpi is None) and facts.resolution:
        resolution = Resolution.of(*facts.resolution) or resolution
    if resolution is not None and orientation >= 5:
        resolution = resolution._replace(horizontal=resolution.vertical, vertical=resolution.horizontal)
    geotiff = found.geotiff
    if geotiff is not None and orientation != 1:
        geotiff, notes = None, (*notes, "GeoTIFF tags of a turned picture were left out")
    extra = Extra(
        aspect=resolution[:2] if resolution is not None and resolution.dpi is None else None,
        texts=found.texts,
        photoshop=_photoshop.cleaned(found.photoshop),
        geotiff=geotiff,
        cicp=None if found.cicp is None or found.cicp.is_srgb else found.cicp,
        png_color=found.png_color,
        png_light=found.png_light,
        described_size=stored[::-1] if orientation >= 5 else stored,
    )
    dpi = None if resolution is None else resolution.dpi
    return Metadata(profile, exif, packet.xmp, dpi, extra, notes, found.is_premultiplied)


def fitted_profile(profile: bytes | None, extra: Extra, *, gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile of a file if it fits, otherwise one from what else it says about its colours; and notes."""
    fitting = fitting_profile(profile, gray)
    notes = profile_notes(profile, fitting)
    if fitting is None and extra.cicp is not None:
        fitting = profile_of(extra.cicp, gray)
    elif fitting is None and extra.png_color is not None:
        fitting = extra.png_color.profile(gray)
    return fitting, notes


def _read_any(image: Any, file: BinaryIO) -> _Found:
    return _Found(field(image, "exif-data"), field(image, "xmp-data"))


def _read_png(image: Any, file: BinaryIO) -> _Found:
    facts = read_png_facts(file)
    color = PngColor.of(facts)
    is_damaged = facts.has_profile and field(image, "icc-profile-data") is None  # libpng drops it
    found = _read_any(image, file)._replace(
        resolution=facts.resolution,
        texts=facts.texts,
        cicp=facts.cicp,
        png_color=color,
        png_light=facts.light if facts.cicp is not None else (),
        notes=(*facts.notes, *((LOST_PROFILE,) if is_damaged else ())),
    )
    raw = facts.raw_profiles
    return found._replace(
        exif=found.exif or raw.exif,
        xmp=found.xmp or raw.xmp,
        photoshop=raw.photoshop,
    )


def _read_jpeg(image: Any, file: BinaryIO) -> _Found:
    facts = read_jpeg_facts(file)
    return _Found(
        field(image, "exif-data"),
        facts.xmp,
        facts.resolution,
        tuple((COMMENT_KEYWORD, text) for text in facts.comments),
        facts.photoshop,
        notes=facts.notes,
        profile=facts.profile,
    )


def _read_tiff(image: Any, file: BinaryIO) -> _Found:
    facts = read_tiff_metadata(file)
    return _Found(
        facts.exif, field(image, "xmp-data"), facts.resolution, photoshop=facts.photoshop, geotiff=facts.geotiff
    )


def _read_heif(image: Any, file: BinaryIO) -> _Found:
    facts = read_heif_facts(file)
    has_profile = field(image, "icc-profile-data") is not None
    return _read_any(image, file)._replace(
        # libheif gives RGB over the full range, whatever the file's YCbCr has.
        cicp=None if has_profile or facts.cicp is None else facts.cicp._replace(full_range=1),
        is_premultiplied=facts.premultiplied,
        notes=facts.notes,
    )


_READERS = {"png": _read_png, "jpeg": _read_jpeg, "tiff": _read_tiff, "heif": _read_heif}
