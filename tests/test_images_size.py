import numpy as np
import pytest
from PIL import Image

from adadsr import images
from adadsr.errors import ImageFileError
from image_samples import SUFFIXES, exif_block, noise


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_size_is_height_and_width(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    images.write_image(path, images.picture_from_array(noise((20, 30, 3))))
    assert images.read_size(path) == (20, 30)


def test_size_is_that_of_the_upright_picture(tmp_path):
    path = tmp_path / "turned.jpg"
    Image.fromarray(noise((20, 30, 3))).save(path, exif=exif_block(orientation=6))
    picture = images.read_image(path)
    assert images.read_size(path) == (picture.height, picture.width) == (30, 20)


def test_size_obeys_the_limit_and_needs_no_pixels(tmp_path):
    path = tmp_path / "photo.png"
    images.write_image(path, images.picture_from_array(noise((200, 300, 3))))
    path.write_bytes(path.read_bytes()[:2000])  # whole header, truncated pixels
    assert images.read_size(path) == (200, 300)
    with pytest.raises(ImageFileError, match="300x200 is over the limit"):
        images.read_size(path, max_pixels=59_999)
    path.write_bytes(np.zeros(100, np.uint8).tobytes())
    with pytest.raises(ImageFileError, match="the content is not"):
        images.read_size(path)
