"""Tiles cover an image once, and their caps leave the cores exact."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.models import Network, NetworkConfig
from adadsr.sparse.depth import expand_tiles
from adadsr.tiling import bands, depth_cap, plan_tiles

sizes = st.integers(1, 60)


@given(sizes, sizes, st.integers(1, 40), st.integers(0, 20), st.sampled_from([1, 4]))
def test_cores_cover_the_image_exactly_once(height: int, width: int, side: int, context: int, align: int) -> None:
    covered = torch.zeros(height, width, dtype=torch.int)
    for tile in plan_tiles(height, width, side, context, align):
        tile.core.of(covered).add_(1)
        assert tile.core.top % align == tile.core.left % align == 0
        assert tile.window.top % align == tile.window.left % align == 0
        assert tile.core.top - tile.window.top >= min(context, tile.core.top)
        assert tile.window.bottom - tile.core.bottom >= min(context, height - tile.core.bottom)
    assert (covered == 1).all()


@given(sizes, st.integers(1, 70))
def test_bands_cover_a_box_exactly_once(height: int, rows: int) -> None:
    box = Box(3, 2, 3 + height, 9)
    parts = list(bands(box, rows))
    assert sum(part.height for part in parts) == height
    assert all(part.height <= rows and (part.left, part.right) == (2, 9) for part in parts)


def test_a_tile_of_no_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="tile=0 is not a number of LR pixels; it is at least 1"):
        plan_tiles(10, 10, 0, 4)


@pytest.mark.parametrize("depth_tile", [1, 4])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.integers(4, 30))
def test_capped_windows_give_the_core_of_the_whole_body(depth_tile: int, seed: int, side: int) -> None:
    torch.manual_seed(seed)
    height, width, blocks, margin = 37, 29, 3, 1
    body = Network(NetworkConfig("edsr", 2, 4, blocks, 1, True, depth_tile)).requires_grad_(False).double().body
    z0 = torch.randn(1, 4, height, width, dtype=torch.float64)
    depth_map = torch.rand(1, 1, -(-height // depth_tile), -(-width // depth_tile)).double() * (blocks + 1)
    whole = body(z0, depth_map)
    for tile in plan_tiles(height, width, side, margin + 2 * blocks, depth_tile):
        cap = depth_cap(tile, blocks, margin, depth_tile)
        depth = torch.minimum(tile.window.coarse(depth_tile).of(depth_map), cap)
        part = body(tile.window.of(z0), depth)
        torch.testing.assert_close(tile.core.relative_to(tile.window).of(part), tile.core.of(whole))


def test_the_cap_falls_by_one_block_every_two_pixels() -> None:
    tile = plan_tiles(1, 100, 20, 15)[1]
    cap = expand_tiles(depth_cap(tile, 5, 3, 1)[None, None], 1, 1, 50)[0, 0, 0]
    assert cap[:16].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]
    assert (cap[15:35] == 5).all()
