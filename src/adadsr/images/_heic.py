"""HEIC by pillow-heif."""

from typing import Any, BinaryIO

import numpy as np

from adadsr.images._cicp import Cicp
from adadsr.images._codecs import Codec, Decoded, Header, Undecodable, decoded, load
from adadsr.images._deep import divide_by_alpha, spread
from adadsr.images._isoboxes import names_alpha, read_heif_facts


def _primary(file: BinaryIO, what: str) -> tuple[Any, int]:
    """The primary image, undecoded, and the number of images."""
    library = load("pillow_heif", what)
    file.seek(0)
    images = decoded(library.open_heif, file, convert_hdr_to_8bit=False)
    if not len(images):
        raise Undecodable("it has no picture")
    return images[images.primary_index], len(images)


def _header(file: BinaryIO, what: str) -> Header:
    width, height = _primary(file, what)[0].size
    return Header(width, height)


def _decode(file: BinaryIO, what: str) -> Decoded:
    image, number = _primary(file, what)
    pixels = np.array(decoded(np.asarray, image))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype == np.uint16:
        spread(pixels, image.info.get("bit_depth", 10))
    if pixels.shape[2] == 3 and names_alpha(file):
        raise Undecodable("it has transparency that cannot be read")
    facts = read_heif_facts(file)
    if facts.premultiplied and pixels.shape[2] in (2, 4):
        divide_by_alpha(pixels)
    codes = image.info.get("nclx_profile") or {}
    names = ("color_primaries", "transfer_characteristics", "matrix_coefficients")
    profile = image.info.get("icc_profile")
    cicp = Cicp(*(int(codes[name]) for name in names)) if codes and not profile else None
    others = "1 other picture in the file was" if number == 2 else f"{number - 1} other pictures in the file were"
    notes = (f"{others} left out",) if number > 1 else ()
    return Decoded(pixels, profile, image.info.get("exif"), image.info.get("xmp"), cicp, (*notes, *facts.notes))


CODEC = Codec(_header, _decode)
