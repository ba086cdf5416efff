"""Tiles cover an image once, and their caps leave the cores exact."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr.errors import InputError
from adadsr.geometry import Box
from adadsr.tensor_ops import OPS
from adadsr.tiling import bands, depth_cap, plan_tiles
from graph_samples import build, tensors

sizes = st.integers(1, 60)


@given(sizes, sizes, st.integers(1, 40), st.integers(0, 20), st.sampled_from([1, 4]))
def test_cores_cover_the_image_exactly_once(height: int, width: int, side: int, context: int, align: int) -> None:
    covered = np.zeros((height, width), int)
    for tile in plan_tiles(height, width, side, context, align):
        tile.core.of(covered)[...] += 1
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
    with pytest.raises(InputError, match="tile=0 must be at least 1 LR pixel"):
        plan_tiles(10, 10, 0, 4)


@pytest.mark.parametrize(("backbone", "depth_tile"), [("edsr", 1), ("edsr", 4), ("compact", 1), ("esrgan", 1)])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), side=st.integers(4, 30))
def test_capped_windows_give_the_core_of_the_whole_body(backbone: str, depth_tile: int, seed: int, side: int) -> None:
    """Whatever the blocks' reach is."""
    height, width = 37, 29
    network = build(backbone, depth_tile, 4)
    body = tensors(network.body, torch.float64)
    generator = torch.Generator().manual_seed(seed)
    z0 = torch.randn(1, 4, height, width, dtype=torch.float64, generator=generator)
    depths = torch.rand(1, *network.map_shape(height, width), dtype=torch.float64, generator=generator) * 4
    whole = body.run(OPS, z0, depths)
    margin, reaches = network.body.closing_reach, [block.reach for block in network.body.blocks]
    for tile in plan_tiles(height, width, side, margin + sum(reaches), depth_tile):
        cap = torch.from_numpy(depth_cap(tile, reaches, margin, depth_tile))
        part = body.run(OPS, tile.window.of(z0), torch.minimum(tile.window.coarse(depth_tile).of(depths), cap))
        torch.testing.assert_close(tile.core.relative_to(tile.window).of(part), tile.core.of(whole))


def test_the_cap_falls_by_one_block_every_two_pixels() -> None:
    tile = plan_tiles(1, 100, 20, 15)[1]
    cap = depth_cap(tile, [2] * 5, 3, 1)[0]
    assert cap[:16].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]
    assert (cap[15:35] == 5).all()
