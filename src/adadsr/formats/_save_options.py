"""How libvips writes each format."""

from collections.abc import Mapping
from typing import NamedTuple

_CLASSIC_TIFF_BYTES = 2**32 - 2**25  # above it offsets need 64 bits; the margin is for metadata and overhead
_FULL_CHROMA = 90  # quality from which colour keeps its full resolution


class Encoding(NamedTuple):
    """What to encode. quality: 1..100. bits: per sample. nbytes: of all samples, uncompressed."""

    quality: int
    bits: int
    nbytes: int


Options = Mapping[str, bool | int | float | str]


def png_options(encoding: Encoding) -> Options:
    return {"compression": 6, "filter": "paeth"}


def tiff_options(encoding: Encoding) -> Options:
    large = encoding.nbytes > _CLASSIC_TIFF_BYTES
    return {"compression": "deflate", "predictor": "horizontal", "bigtiff": large}


def jpeg_options(encoding: Encoding) -> Options:
    return {"Q": encoding.quality, "optimize_coding": True, "subsample_mode": _subsampling(encoding.quality)}


def webp_options(encoding: Encoding) -> Options:
    if encoding.quality == 100:
        return {"lossless": True, "exact": True, "effort": 1}
    return {"Q": encoding.quality, "smart_subsample": True, "effort": 4}


def avif_options(encoding: Encoding) -> Options:
    common: Options = {"compression": "av1", "bitdepth": encoding.bits, "effort": 2}
    if encoding.quality == 100:
        return {**common, "lossless": True}
    return {**common, "Q": encoding.quality, "subsample_mode": _subsampling(encoding.quality)}


def gif_options(encoding: Encoding) -> Options:
    return {"dither": 1.0, "effort": 7, "bitdepth": 8}


def _subsampling(quality: int) -> str:
    return "off" if quality >= _FULL_CHROMA else "on"
