"""Picture -> the content of a file: libvips encodes pixels and profile, this package the rest of the metadata."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyvips

from adadsr.formats import Encoding, Format
from adadsr.images import _exif, _geotiff, _heifwriting, _jpegmetadata, _pngchunks, _xmp
from adadsr.images._cicp import Cicp, profile_of
from adadsr.images._picture import Picture, Pixels
from adadsr.images._profiles import fitting_profile, gray_to_srgb
from adadsr.images._resolution import Resolution
from adadsr.images._splice import Splice
from adadsr.images._tiffdir import EXIF_PREFIX
from adadsr.images._tiffmetadata import TiffMetadata, append_tiff_metadata, has_comment
from adadsr.images._vips import image_of, vips_errors, with_fields_of
from adadsr.images._webpchunks import with_exif
from adadsr.images._ycbcr import BT2020, as_if_bt601

_INTERPRETATIONS = {  # (gray, 16 bits)
    (True, False): "b-w",
    (True, True): "grey16",
    (False, False): "srgb",
    (False, True): "rgb16",
}
_KEEP_NONE, _KEEP_EXIF, _KEEP_XMP, _KEEP_ICC = 0, 1, 2, 8
_SCREENS = ((72, 72), (96, 96))  # what programs write that know no resolution
_FILE_DATES = "date:"  # keywords of ImageMagick, for what is not about the picture
_BT2020_PRIMARIES, _BT601_MATRIX, _BT2020_MATRIX, _NO_MATRIX = 9, 6, 9, 0


class _Job(NamedTuple):
    """A picture for one format, and the vips image of it. options: of libvips."""

    picture: Picture
    target: Format
    image: Any
    options: dict[str, Any]

    def of_pixels(self, pixels: Pixels) -> "_Job":
        """With the same metadata for other pixels."""
        image = _vips_image(replace(self.picture, pixels=pixels), self.target)
        return self._replace(image=with_fields_of(self.image, image))

    def encode(self, codec: str, target: Any, keep: int) -> None:
        """Encode by libvips, with the metadata of the flags `keep`."""
        getattr(self.image, f"{codec}save_target")(target, keep=keep, **self.options)

    def encoded(self, codec: str, keep: int) -> bytes:
        """The whole file."""
        target = pyvips.Target.new_to_memory()
        self.encode(codec, target, keep)
        content: bytes = target.get("blob")
        return content

    def spliced(self, codec: str, file: BinaryIO, keep: int, rewrite: Callable[[bytes], bytes | None]) -> None:
        """Encode into `file`, whose beginning `rewrite` changes."""
        splice = Splice(file, rewrite)
        try:
            self.encode(codec, splice.target, keep)
        except pyvips.Error:
            splice.raise_lost()
            raise
        splice.finish()


@vips_errors()
def save(picture: Picture, target: Format, quality: int, file: BinaryIO) -> None:
    """Encode into an empty file, open for reading and writing. Raises pyvips.Error and OSError."""
    picture = _sized(picture)
    encoding = Encoding(quality, min(picture.bits, target.bits), picture.pixels.nbytes)
    options = dict(target.save_options(encoding))
    image = _with_profile(_vips_image(picture, target), picture, target)
    for name, blob in (("xmp-data", picture.xmp), ("exif-data", picture.exif)):
        if blob is not None:
            image.set_type(pyvips.GValue.blob_type, name, blob)
    # Setting the EXIF block made libvips take resolution and thumbnail from it.
    for name in image.get_fields():
        if name.startswith(("exif-ifd1-", "jpeg-thumbnail")):
            image.remove(name)
    _WRITERS[target.codec](_Job(picture, target, image, options), file)


def lost_metadata(picture: Picture, target: Format) -> dict[str, bool]:
    """What a format may be unable to hold, and whether that is the case for this picture."""
    extra, codec = picture.extra, target.codec
    resolution = _resolution_of(picture)
    says_size = resolution is not None and resolution.dpi not in _SCREENS
    return {
        "more than 256 colors": target.has_palette,
        "metadata": target.has_palette and any((picture.icc_profile, picture.exif, picture.xmp, extra.texts)),
        "the resolution": says_size
        and codec in ("webp", "heif", "gif")
        and _exif.read_exif_facts(picture.exif).resolution is None,
        "16-bit samples": picture.bits == 16 and target.bits == 8,
        "narrow-range samples": extra.cicp is not None and not extra.cicp.full_range and codec != "png",
        "HDR light levels": bool(extra.png_light) and codec != "png",
        "GeoTIFF tags": extra.geotiff is not None and codec != "tiff",
        "IPTC and Photoshop data": extra.photoshop is not None and codec in ("webp", "heif"),
        "comments and texts": any(not keyword.startswith(_FILE_DATES) for keyword, _ in extra.texts)
        and (codec in ("webp", "heif") or (codec == "tiff" and _texts_for_tiff(picture) is None)),
        "EXIF this long": codec == "jpeg" and picture.exif is not None and not _jpegmetadata.exif_fits(picture.exif),
        "XMP this long": codec == "jpeg" and picture.xmp is not None and not _jpegmetadata.xmp_fits(picture.xmp),
    }


def _sized(picture: Picture) -> Picture:
    """`picture` with metadata for its own size."""
    after = (picture.width, picture.height)
    before = picture.extra.described_size or after
    exif, xmp = _exif.sized(picture.exif, before, after), _xmp.sized(picture.xmp, before, after)
    return replace(picture, exif=exif, xmp=xmp)


def _lines(picture: Picture) -> list[str]:
    """Texts where there are no keywords."""
    return [text if key == _jpegmetadata.COMMENT_KEYWORD else f"{key}: {text}" for key, text in picture.extra.texts]


def _texts_for_tiff(picture: Picture) -> str | None:
    """All texts as one; None if there are none, or no place for them."""
    texts = _lines(picture)
    return None if not texts or has_comment(picture.exif) else "\n".join(texts)


def _vips_image(picture: Picture, target: Format) -> Any:
    """A vips image of the samples of `picture`; they are not copied if the format stores them as they are."""
    pixels = picture.pixels
    if picture.has_alpha and not target.has_alpha:
        pixels = pixels[..., :-1]  # checked to be opaque
    if picture.bits > target.bits:
        pixels = _reduced(pixels, target.bits)
    pixels = np.ascontiguousarray(pixels)
    return image_of(pixels, _INTERPRETATIONS[picture.is_gray, pixels.dtype == np.uint16])


def _with_profile(image: Any, picture: Picture, target: Format) -> Any:
    profile = fitting_profile(picture.icc_profile, gray=picture.is_gray)
    if target.codec == "heif" and _cicp_of(picture) is not None:
        profile = None  # the codes say it
    elif profile is not None and picture.is_gray and not target.has_gray:
        image, profile = gray_to_srgb(image, profile), None
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def _resolution_of(picture: Picture) -> Resolution | None:
    if picture.dpi is not None:
        return Resolution.of(*picture.dpi, 2)
    return None if picture.extra.aspect is None else Resolution.of(*picture.extra.aspect, 1)


def _cicp_of(picture: Picture) -> Cicp | None:
    """The code points, unless the profile was replaced since."""
    cicp = picture.extra.cicp
    if cicp is None or picture.icc_profile not in (None, profile_of(cicp, picture.is_gray)):
        return None
    return cicp


def _write_jpeg(job: _Job, file: BinaryIO) -> None:
    picture = job.picture
    extra = picture.extra
    first = _jpegmetadata.header(_resolution_of(picture), picture.exif, picture.xmp, extra.photoshop, _lines(picture))
    job.spliced("jpeg", file, _KEEP_ICC, lambda head: _jpegmetadata.with_header(head, first))


def _write_png(job: _Job, file: BinaryIO) -> None:
    picture, before, after = job.picture, [], []
    if (cicp := _cicp_of(picture)) is not None:
        before.append(_pngchunks.chunk(b"cICP", bytes((cicp.primaries, cicp.transfer, 0, cicp.full_range))))
        before += [_pngchunks.chunk(*each) for each in picture.extra.png_light]
    color = picture.extra.png_color
    if color is not None and picture.icc_profile == color.profile(picture.is_gray):
        before += color.chunks()
    if (resolution := _resolution_of(picture)) is not None:
        after.append(_pngchunks.resolution_chunk(resolution))
    if picture.exif is not None:
        after.append(_pngchunks.chunk(b"eXIf", picture.exif.removeprefix(EXIF_PREFIX)))
    after += [_pngchunks.text_chunk(*text) for text in picture.extra.texts]
    if picture.extra.photoshop is not None:
        after.append(_pngchunks.photoshop_chunk(picture.extra.photoshop))
    keep = _KEEP_ICC | _KEEP_XMP
    job.spliced("png", file, keep, lambda head: _pngchunks.with_chunks(head, before, after))


def _write_webp(job: _Job, file: BinaryIO) -> None:
    content, picture = job.encoded("webp", _KEEP_ICC | _KEEP_XMP), job.picture
    if picture.exif is not None:
        exif = picture.exif.removeprefix(EXIF_PREFIX)
        content = with_exif(content, exif, picture.width, picture.height, picture.has_alpha)
    file.write(content)


def _write_heif(job: _Job, file: BinaryIO) -> None:
    picture, cicp = job.picture, _cicp_of(job.picture)
    if cicp is not None:
        job, cicp = _with_matrix(job, cicp)
    keep = _KEEP_ICC | _KEEP_XMP | (_KEEP_EXIF if picture.exif is not None else _KEEP_NONE)
    content = job.encoded("heif", keep)
    if picture.exif is not None:
        content = _heifwriting.with_exif(content, picture.exif.removeprefix(EXIF_PREFIX))
    file.write(content if cicp is None else _heifwriting.with_nclx(content, cicp))


def _with_matrix(job: _Job, cicp: Cicp) -> tuple[_Job, Cicp]:
    """Codes with the matrix that the file has: libvips uses that of BT.601, or none in lossless files.

    Where BT.2020 belongs to the primaries, its YCbCr is got from changed colours, unless they are out of range.
    """
    if job.options.get("lossless"):
        return job, cicp._replace(matrix=_NO_MATRIX, full_range=1)
    if cicp.primaries == _BT2020_PRIMARIES and not job.picture.is_gray:
        changed = as_if_bt601(job.picture.pixels, BT2020)
        if changed is not None:
            return job.of_pixels(changed), cicp._replace(matrix=_BT2020_MATRIX, full_range=1)
    return job, cicp._replace(matrix=_BT601_MATRIX, full_range=1)


def _write_tiff(job: _Job, file: BinaryIO) -> None:
    picture = job.picture
    if isinstance(file, io.BytesIO):
        file.write(job.encoded("tiff", _KEEP_ICC | _KEEP_XMP))
    else:
        job.encode("tiff", pyvips.Target.new_to_descriptor(file.fileno()), _KEEP_ICC | _KEEP_XMP)
    before = picture.extra.described_size or (picture.width, picture.height)
    geotiff = _geotiff.scaled(picture.extra.geotiff, picture.width / before[0], picture.height / before[1])
    metadata = TiffMetadata(picture.exif, picture.extra.photoshop, None, _resolution_of(picture))
    append_tiff_metadata(file, metadata, geotiff, _texts_for_tiff(picture))


def _reduced(pixels: Pixels, bits: int) -> Pixels:
    """16-bit samples rounded to `bits`: 8 as uint8; 12 in the upper bits of uint16, as libvips expects."""
    top = 2**bits - 1
    reduced = np.empty(pixels.shape, np.uint8 if bits == 8 else np.uint16)
    for row, out in zip(pixels, reduced, strict=True):
        sample = (row.astype(np.uint32) * top + 32767) // 65535
        out[...] = sample if bits == 8 else sample << (16 - bits)
    return reduced


_WRITERS = {"jpeg": _write_jpeg, "png": _write_png, "webp": _write_webp, "heif": _write_heif, "tiff": _write_tiff}
