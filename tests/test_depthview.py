import numpy as np
import pytest
from matplotlib import colormaps

from adadsr import depthview, images
from adadsr.errors import InputError


def color(share):
    """What the colour map gives for a share of the scale."""
    return (np.array(colormaps["viridis"](share)[:3]) * 255).round().astype(np.uint8)


def map_area(picture):
    """Rows and columns that are not white, above the scale."""
    rows = picture.pixels[: picture.height - 88]
    filled = (rows != 255).any(2)
    top, left = filled.any(1).argmax(), filled.any(0).argmax()
    return rows[top : top + filled.any(1).sum(), left : left + filled.any(0).sum()]


def test_each_position_is_a_square_of_its_colour():
    depths = np.array([[[0, 4, 8], [16, 12, 16]]], np.float32)
    area = map_area(depthview.draw(depths, 16))
    factor = depthview.SMALLEST_SIDE // 3
    assert area.shape == (2 * factor, 3 * factor, 3)
    for (_, row, column), depth in np.ndenumerate(depths):
        square = area[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert (square == square[0, 0]).all()
        assert abs(square[0, 0].astype(int) - color(depth / 16)).max() <= 2


def test_its_file_is_recognised(tmp_path):
    path, other = tmp_path / "a.png", tmp_path / "b.png"
    picture = depthview.draw(np.ones((1, 4, 4), np.float32), 16)
    images.write_image(path, picture)
    images.write_image(other, images.picture_from_array(picture.pixels))
    assert depthview.is_drawn(path)
    assert not any(map(depthview.is_drawn, (other, tmp_path, tmp_path / "none")))


def test_the_scale_does_not_depend_on_the_content():
    shallow = map_area(depthview.draw(np.full((1, 4, 4), 2, np.float32), 16))
    assert abs(shallow[0, 0].astype(int) - color(2 / 16)).max() <= 2


def test_groups_are_added_up():
    depths = np.zeros((4, 5, 5), np.float32)
    depths[0] = 20
    area = map_area(depthview.draw(depths, 20))
    assert abs(area[0, 0].astype(int) - color(1 / 4)).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (700, 1), (1601, 37), (33, 4000), (1700, 1700)])
def test_the_map_has_the_shape_of_the_image(height, width):
    area = map_area(depthview.draw(np.full((1, height, width), 3, np.float32), 4))
    assert max(area.shape) <= depthview.LARGEST_SIDE
    assert max(area.shape) >= depthview.SMALLEST_SIDE / 2
    factor = max(area.shape) / max(height, width)
    assert abs(area.shape[0] - height * factor) <= 1
    assert abs(area.shape[1] - width * factor) <= 1


def test_a_large_map_is_averaged():
    depths = np.zeros((1, 2, 3200), np.float32)
    depths[0, :, ::2] = 8
    area = map_area(depthview.draw(depths, 8))
    assert abs(area[0, 0].astype(int) - color(0.5)).max() <= 3


@pytest.mark.parametrize("blocks", [1, 2, 7, 16, 20, 32, 200, 999])
def test_ticks_are_whole_and_reach_both_ends(blocks):
    ticks = depthview._ticks(blocks)
    assert ticks[0] == 0
    assert ticks[-1] == blocks
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1, 17])
def test_values_outside_the_network_are_refused(bad):
    with pytest.raises(InputError, match=r"outside 0\.\.16"):
        depthview.draw(np.full((1, 2, 2), bad, np.float32), 16)


def test_another_shape_is_refused():
    with pytest.raises(InputError, match="groups, height, width"):
        depthview.draw(np.zeros((2, 2), np.float32), 16)
