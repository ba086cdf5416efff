"""Images in files, bytes and arrays: the only package that knows an image library (libvips, through pyvips).

`read_image` and `read_size` take a path, bytes or an open file; `encode` and `write_image` go the other way. In between
is a `Picture`: upright pixels and their metadata. `open_frames` and `write_frames` do the same for animations.
`to_planes`, `bleed_color`, `quantize` and `from_planes` connect pictures to networks. The formats are rows of
`adadsr.formats`.
"""

from adadsr.formats import SUPPORTED_SUFFIXES, is_image_file
from adadsr.images._arrays import picture_from_array, picture_from_pil
from adadsr.images._flatten import Color, flatten, parse_color
from adadsr.images._frames import Facts, Frames
from adadsr.images._picture import Extra, Picture, Pixels
from adadsr.images._pilinfo import pil_info
from adadsr.images._planes import Planes, alpha_plane, bleed_color, from_planes, quantize, to_planes
from adadsr.images._reading import DEFAULT_MAX_PIXELS, ImageSource, open_frames, read_image, read_size
from adadsr.images._writing import (
    can_animate,
    check_fits,
    check_quality,
    check_writable,
    encode,
    encode_frames,
    losses,
    write_frames,
    write_image,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "SUPPORTED_SUFFIXES",
    "Color",
    "Extra",
    "Facts",
    "Frames",
    "ImageSource",
    "Picture",
    "Pixels",
    "Planes",
    "alpha_plane",
    "bleed_color",
    "can_animate",
    "check_fits",
    "check_quality",
    "check_writable",
    "encode",
    "encode_frames",
    "flatten",
    "from_planes",
    "is_image_file",
    "losses",
    "open_frames",
    "parse_color",
    "picture_from_array",
    "picture_from_pil",
    "pil_info",
    "quantize",
    "read_image",
    "read_size",
    "to_planes",
    "write_frames",
    "write_image",
]
