"""A file that libvips reads, at least in part -> Picture. No decoder error passes as pixels."""

import io
from dataclasses import replace
from typing import Any, BinaryIO

import pyvips

from adadsr.errors import ImageFileError
from adadsr.images._codecs import Undecodable, Unsupported, read_tiff
from adadsr.images._deep import divide_by_alpha, gray_if_equal, spread
from adadsr.images._gifcheck import wrong_codes
from adadsr.images._isoboxes import names_alpha
from adadsr.images._jpegsegments import without_harmless_faults
from adadsr.images._jpegsource import JpegSource
from adadsr.images._opened import Opened, several
from adadsr.images._picture import Picture, Pixels
from adadsr.images._pngchunks import frame_delays
from adadsr.images._profiles import cmyk_profile, cmyk_to_srgb, lab_to_srgb, profile_notes
from adadsr.images._readmetadata import fitted_profile, read_metadata
from adadsr.images._tiffcheck import TiffFacts, as_rgb, is_cut_off, wrong_checksum
from adadsr.images._tiffstreams import other_depth
from adadsr.images._turning import upright
from adadsr.images._vips import field, image_of, reason, vips_errors, vips_source, with_fields_of

_MAX_SEGMENT = 1 << 24  # bytes of a tile that may be larger than the picture
_DIVISIBLE = (1, 2)  # black is zero, RGB
_LOSSY_GRAY_TOLERANCE = 1  # lossy WebP of a gray picture is off by one in red and blue
_BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4, 5)}


class VipsFile:
    """A file that libvips reads."""

    def __init__(self, opened: Opened, facts: TiffFacts | None) -> None:
        self._opened, self._facts = opened, facts
        self._animated = opened.content.is_animated(opened.file)

    def size(self) -> tuple[int, int]:
        try:
            image = self._load("none")
        except pyvips.Error as error:
            raise self._opened.damaged(reason(error)) from error
        return _upright_size(image)

    def picture(self, accept_damaged: bool) -> Picture:
        content, failure = self._opened.content, None
        try:
            picture, cause = self._decode(self._opened.file)
        except pyvips.Error as error:
            if (tidied := self._tidied()) is not None:
                return tidied
            failure, cause = error, reason(error)
        if cause is None:
            return picture
        if not (accept_damaged and content.decodes_damaged):
            raise self._opened.damaged(cause) from failure
        try:
            return replace(_picture(self._load("none"), self._opened, self._facts), damage=cause)
        except pyvips.Error as error:
            raise self._opened.damaged(reason(error)) from error

    def _tidied(self) -> Picture | None:
        """The picture of a JPEG with nothing wrong but faults in its header that change no pixel; None otherwise."""
        if self._opened.content.codec != "jpeg":
            return None
        tidied = without_harmless_faults(self._opened.bytes())
        if tidied is None:
            return None
        try:
            picture, cause = self._decode(io.BytesIO(tidied))
        except pyvips.Error:
            return None
        return picture if cause is None else None

    @vips_errors()
    def _decode(self, file: BinaryIO) -> tuple[Picture, str | None]:
        """The picture, and what is wrong although libvips is content. Raises pyvips.Error."""
        strictness = self._opened.content.strictness
        if self._opened.content.codec == "jpeg":
            jpeg = JpegSource(file)
            return _picture(self._load(strictness, jpeg.source), self._opened, None), jpeg.left_over()
        picture = _picture(self._load(strictness), self._opened, self._facts)
        if self._opened.content.codec == "gif":
            return picture, wrong_codes(self._opened.bytes())
        return picture, wrong_checksum(file, self._facts) if self._facts else None

    @vips_errors()
    def _load(self, fail_on: str, source: Any = None) -> Any:
        """The image with a checked header. source: instead of the file. Raises pyvips.Error."""
        load = getattr(pyvips.Image, f"{self._opened.content.codec}load_source")
        image = load(source or vips_source(self._opened.file), access="sequential", fail_on=fail_on)
        _check_header(self._opened, image, self._animated)
        return image


class RareTiff:
    """A TIFF in L*a*b*, or with a codec or layout that libvips lacks: it still reads the header."""

    def __init__(self, opened: Opened, facts: TiffFacts) -> None:
        self._opened, self._facts = opened, facts
        # libvips reads the pixels later, and does not keep the bytes alive until then.
        self._as_rgb = as_rgb(opened.bytes()) if facts.is_lab else None
        source = vips_source(opened.file) if self._as_rgb is None else pyvips.Source.new_from_memory(self._as_rgb)
        try:
            with vips_errors():
                self._image = pyvips.Image.tiffload_source(source, access="sequential", fail_on="warning")
        except pyvips.Error as error:
            raise self._unreadable(reason(error)) from error
        _check_header(opened, self._image, False)

    def size(self) -> tuple[int, int]:
        return _upright_size(self._image)

    def picture(self, accept_damaged: bool) -> Picture:
        opened, facts, image = self._opened, self._facts, self._image
        if facts.unreadable:
            raise self._unreadable(facts.unreadable)
        if facts.segment_bytes > max(_MAX_SEGMENT, 4 * image.width * image.height * image.bands * (facts.bits // 8)):
            raise self._unreadable("its tiles are too large")
        if is_cut_off(opened.file, facts):
            raise opened.damaged("pixel data is missing", in_part=False)
        try:
            if facts.unknown_to_libvips:
                image = self._by_tifffile(facts.unknown_to_libvips)
            if facts.is_lab:
                with vips_errors():
                    image = lab_to_srgb(image, facts.is_icc_lab)
            return _picture(image, opened, facts)
        except pyvips.Error as error:
            raise opened.damaged(reason(error), in_part=False) from error

    def _by_tifffile(self, what: str) -> Any:
        opened, image = self._opened, self._image
        if (depth := other_depth(opened.file, self._facts)) is not None:
            raise self._unreadable(f"{what} as {depth}-bit samples, although it says {self._facts.bits} bits")
        try:
            pixels = read_tiff(opened.file, f"{opened.name}: TIFF {what}")
        except Undecodable as error:
            raise opened.damaged(f"{what}: {error}", in_part=False) from error
        except Unsupported as error:
            raise self._unreadable(what) from error
        if pixels.shape != (image.height, image.width, image.bands) or pixels.itemsize * 8 != self._facts.bits:
            raise self._unreadable(what)
        if self._facts.premultiplied:
            if self._facts.photometric not in _DIVISIBLE:
                raise self._unreadable("colours that are multiplied by alpha")
            divide_by_alpha(pixels)
        return with_fields_of(image, image_of(pixels, image.interpretation))

    def _unreadable(self, cause: str) -> ImageFileError:
        return ImageFileError(f"{self._opened.name}: TIFF that cannot be read ({cause}); convert it")


def _check_header(opened: Opened, image: Any, animated: bool) -> None:
    """Refuse an image by its header, before any pixel is decoded."""
    name = opened.name
    opened.check_size(image.width, image.height)
    # Pages of a TIFF were chosen before.
    pages = 1 if opened.content.codec == "tiff" else field(image, "n-pages") or 1
    if opened.content.codec == "png" and animated:
        pages = len(frame_delays(opened.file)[0])
    if animated or pages > 1:
        raise several(opened, pages if pages > 1 or not animated else 0)
    if image.format not in ("uchar", "ushort"):
        raise ImageFileError(
            f"{name}: has {image.format} samples; only unsigned 8- and 16-bit samples are supported; convert it"
        )
    if image.bands not in _BANDS.get(image.interpretation, ()):
        raise ImageFileError(
            f"{name}: has {image.bands} channels ({image.interpretation}); only gray, RGB and CMYK, with or without "
            "alpha, are supported; convert it"
        )


def _upright_size(image: Any) -> tuple[int, int]:
    swapped = (field(image, "orientation") or 1) >= 5
    return (image.width, image.height) if swapped else (image.height, image.width)


@vips_errors()
def _picture(image: Any, opened: Opened, facts: TiffFacts | None) -> Picture:
    """Decode a vips image. facts: of a TIFF."""
    content = opened.content
    palette, bits = bool(field(image, "palette")), field(image, "bits-per-sample")
    orientation = field(image, "orientation") or 1
    found = read_metadata(image, content, opened.file, orientation)
    profile = found.profile
    image, notes = _without_unnamed_channel(image, facts)
    if image.interpretation == "cmyk":
        notes = (*notes, *profile_notes(profile, cmyk_profile(profile)))
        image, profile = cmyk_to_srgb(image), None
    pixels: Pixels = image.numpy()
    pixels = pixels.reshape(image.height, image.width, image.bands)
    if content.codec == "heif" and image.bands == 3 and names_alpha(opened.file):
        raise opened.damaged("it has transparency that cannot be read", in_part=False)
    if content.codec == "heif" and bits in (10, 12):
        spread(pixels, bits)
    if found.is_premultiplied and pixels.shape[2] in (2, 4):
        divide_by_alpha(pixels)
    if (palette or not content.has_gray) and profile is None:
        pixels = gray_if_equal(pixels, tolerance=0 if palette else _LOSSY_GRAY_TOLERANCE)
    pixels = upright(pixels, orientation)
    profile, lost = fitted_profile(profile, found.extra, gray=pixels.shape[2] <= 2)
    notes = (*found.notes, *notes, *lost)
    return Picture(pixels, profile, found.exif, found.xmp, found.dpi, found.extra, notes)


def _without_unnamed_channel(image: Any, facts: TiffFacts | None) -> tuple[Any, tuple[str, ...]]:
    """The image without a last channel of which a TIFF does not say that it is alpha; and a note."""
    if facts is None or not facts.has_unnamed_channel or image.bands != _BANDS[image.interpretation][1]:
        return image, ()
    return image.extract_band(0, n=image.bands - 1), ("a channel that is not alpha was left out",)
