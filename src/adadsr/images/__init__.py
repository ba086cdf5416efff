"""Image files, arrays and tensors: the only place that knows an image library (libvips, through pyvips).

formats   the table of file formats, recognised by content and by suffix
picture   `Picture`: decoded pixels with the metadata that travels with them
arrays    numpy arrays and Pillow images -> Picture
metadata  ICC profiles (which fits, CMYK to sRGB) and XMP
tiffexif  EXIF inside TIFF files, which libvips neither reads nor writes
vips      libvips as this package sets it up
reading   file -> Picture
writing   Picture -> file, atomically
tensors   Picture <-> tensors, and colour under transparent pixels
"""

from adadsr.images.arrays import picture_from_array, picture_from_pil
from adadsr.images.formats import SUPPORTED_SUFFIXES, is_image_file
from adadsr.images.picture import Picture
from adadsr.images.reading import DEFAULT_MAX_PIXELS, read_image, read_size
from adadsr.images.tensors import Planes, bleed_color, from_tensor, to_tensor
from adadsr.images.writing import check_writable, write_image

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "SUPPORTED_SUFFIXES",
    "Picture",
    "Planes",
    "bleed_color",
    "check_writable",
    "from_tensor",
    "is_image_file",
    "picture_from_array",
    "picture_from_pil",
    "read_image",
    "read_size",
    "to_tensor",
    "write_image",
]
