"""The native engine's kernels against torch's convs in float64, and the arguments that they refuse."""

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.sparse import extension
from adadsr.sparse.body import Conv

WHY_MISSING = extension.missing(torch.device("cpu"))
if WHY_MISSING is not None and os.environ.get("ADADSR_REQUIRE_NATIVE") != "1":
    pytest.skip(WHY_MISSING, allow_module_level=True)

from adadsr.sparse import _native  # noqa: E402

ISAS = _native.isas()
CHANNELS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 128, 129, 192, 256, 257]


def canvas_of(images: Tensor) -> _native.Canvas:
    """A canvas that holds images (N, C, H, W)."""
    batch, channels, height, width = images.shape
    canvas = _native.Canvas(batch, height, width, channels)
    view_of(canvas).copy_(images.permute(0, 2, 3, 1))
    return canvas


def view_of(canvas: _native.Canvas) -> Tensor:
    return torch.from_dlpack(canvas.view())


def images_of(canvas: _native.Canvas) -> Tensor:
    return view_of(canvas).permute(0, 3, 1, 2)


def random_conv(seed: int, batch: int, channels: int, out: int, height: int, width: int) -> tuple[Tensor, Conv]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, channels, height, width, generator=generator)
    weight = torch.randn(out, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
    return images, Conv(weight, torch.randn(out, generator=generator))


def run_tiles(images: Tensor, conv: Conv, isa: str, tiles: _native.Positions | None = None) -> Tensor:
    source = canvas_of(images)
    batch, _, height, width = images.shape
    out = _native.Canvas(batch, height, width, len(conv.bias))
    positions = _native.Positions.all(source.tiles) if tiles is None else tiles
    _native.conv_tiles(_native.TileWeights(*conv, isa), source, out, positions, _native.Scratch(), 2)
    return images_of(out)


def run_pixels(images: Tensor, conv: Conv, isa: str, pixels: _native.Positions | None = None) -> Tensor:
    source = canvas_of(images)
    batch, _, height, width = images.shape
    out = _native.Canvas(batch, height, width, len(conv.bias))
    positions = _native.Positions.all(source.pixels) if pixels is None else pixels
    _native.conv_pixels(_native.PixelWeights(*conv, isa), source, out, positions, 2)
    return images_of(out)


def exact_conv(images: Tensor, conv: Conv) -> Tensor:
    return F.conv2d(images.double(), conv.weight.double(), conv.bias.double(), padding=1)


def onednn_conv(images: Tensor, conv: Conv) -> Tensor:
    """oneDNN's conv in float32, which torch does not take for every size; torch's own where it is built without."""
    if not torch.backends.mkldnn.is_available():
        return F.conv2d(images, conv.weight, conv.bias, padding=1)
    return torch.mkldnn_convolution(images, conv.weight, conv.bias, [1, 1], [1, 1], [1, 1], 1)


class Bound(NamedTuple):
    """How much of oneDNN's error an algorithm may make."""

    run: Callable[[Tensor, Conv, str], Tensor]
    factor: int


BOUNDS = (Bound(run_tiles, 10), Bound(run_pixels, 2))
ROUNDINGS = 3 * 2.0**-24
"""Of the largest value: what rounding a product, a sum and a bias to float32 may cost. A smaller error is luck."""
FILTERS, OUTPUTS = 32, 2000
"""What an error is taken over at least. Two single errors can have any ratio."""


def assert_errors(isa: str, seed: int, channels: int, out: int, height: int, width: int) -> None:
    """Errors against float64, each the largest of many outputs: ours at most `factor` times oneDNN's, and below 1e-5.

    1e-5 is of the largest value. Where oneDNN errs by less than `ROUNDINGS` it counts as erring by so much.
    """
    draws = -(-FILTERS // out)
    batch = -(-OUTPUTS // (draws * out * height * width))
    cases = [random_conv(seed + draw, batch, channels, out, height, width) for draw in range(draws)]
    exact = [exact_conv(*case) for case in cases]
    largest = max(float(values.abs().max()) for values in exact)

    def error(run: Callable[[Tensor, Conv], Tensor]) -> float:
        return max(float((run(*case) - values).abs().max()) for case, values in zip(cases, exact, strict=True))

    allowed = max(error(onednn_conv), ROUNDINGS * largest)
    for bound in BOUNDS:
        ours = error(lambda images, conv, run=bound.run: run(images, conv, isa))
        assert ours <= bound.factor * allowed
        assert ours <= 1e-5 * largest


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_errors_of_every_channel_count(isa: str, channels: int) -> None:
    for out in {1, 3, channels}:
        assert_errors(isa, channels, channels, out, 9, 6)


@pytest.mark.parametrize("isa", ISAS)
@given(
    seed=st.integers(0, 2**31),
    channels=st.integers(1, 257),
    out=st.integers(1, 40),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
)
@settings(max_examples=40)
def test_errors_of_every_size(isa: str, seed: int, channels: int, out: int, height: int, width: int) -> None:
    assert_errors(isa, seed, channels, out, height, width)


@pytest.mark.parametrize("isa", ISAS)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 21), width=st.integers(1, 21), share=st.floats(0, 1))
@settings(max_examples=40)
def test_lists_touch_what_they_name_and_nothing_else(
    isa: str, seed: int, height: int, width: int, share: float
) -> None:
    images, conv = random_conv(seed, 2, 5, 6, height, width)
    generator = torch.Generator().manual_seed(seed)
    tile_mask = torch.rand(2, 1, -(-height // 4), -(-width // 4), generator=generator) < share
    pixel_mask = torch.rand(2, 1, height, width, generator=generator) < share
    tiles, pixels = (
        _native.Positions(torch.nonzero(mask.flatten()).flatten().int()) for mask in (tile_mask, pixel_mask)
    )
    covered = tile_mask.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :height, :width]
    for result, whole, mask in (
        (run_tiles(images, conv, isa, tiles), run_tiles(images, conv, isa), covered),
        (run_pixels(images, conv, isa, pixels), run_pixels(images, conv, isa), pixel_mask),
    ):
        assert torch.equal(result, whole * mask)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("per_tile", [True, False])
def test_what_follows_a_conv(isa: str, per_tile: bool) -> None:
    """ReLU, gates, and the addition, which leaves pixels alone whose gate is closed, even where a sum is infinite."""
    images, conv = random_conv(3, 2, 8, 8, 10, 7)
    images[0, :, 0, 0] = torch.inf
    depth = torch.rand(2, 3, 2) * 3 if per_tile else torch.rand(2, 10, 7) * 3
    depth[0].view(-1)[0] = 0
    pixel_depth = depth.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :10, :7] if per_tile else depth
    weight = (pixel_depth - 1).clamp(0, 1)[:, None]
    closed = (weight == 0).expand(-1, 8, -1, -1)
    start = torch.randn(2, 8, 10, 7)
    update = torch.where(closed, torch.zeros(()), F.relu(run_tiles(images, conv, isa)) * weight)
    source, out, depths = canvas_of(images), canvas_of(start), _native.Depths(depth)
    tiles, packed = _native.Positions.all(source.tiles), _native.TileWeights(*conv, isa)
    _native.conv_tiles(packed, source, out, tiles, _native.Scratch(), 1, relu=True, depths=depths, block=1.0, plus=out)
    result = images_of(out)
    assert torch.equal(result[closed], start[closed])
    torch.testing.assert_close(result, start + update, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_the_border_of_a_canvas_stays_zero() -> None:
    """A conv of a conv sees zeros around the image, also where tiles hang over it."""
    images, conv = random_conv(4, 1, 4, 4, 6, 5)
    once = run_tiles(images, conv, "plain")
    batch, channels, height, width = images.shape
    source, middle, out = canvas_of(images), *(_native.Canvas(batch, height, width, channels) for _ in range(2))
    packed, tiles = _native.TileWeights(*conv, "plain"), _native.Positions.all(source.tiles)
    _native.conv_tiles(packed, source, middle, tiles, _native.Scratch(), 1)
    _native.conv_tiles(packed, middle, out, tiles, _native.Scratch(), 1)
    torch.testing.assert_close(images_of(out), run_tiles(once, conv, "plain"), rtol=0, atol=0)


def test_bad_arguments_of_the_kernels_are_refused() -> None:
    images, conv = random_conv(5, 1, 4, 4, 9, 9)
    source, out, scratch = canvas_of(images), canvas_of(images), _native.Scratch()
    tiles, pixels = _native.TileWeights(*conv, "plain"), _native.PixelWeights(*conv, "plain")
    everywhere, other = _native.Positions.all(9), _native.Canvas(1, 9, 8, 4)
    per_tile = _native.Depths(torch.zeros(1, 3, 3))
    attention = _native.Attention(torch.zeros(2, 4, 1, 1), torch.zeros(2), torch.zeros(4, 2, 1, 1), torch.zeros(4))
    enlarging = [_native.EnlargingWeights(torch.zeros(4, 4, 5, 5), torch.zeros(4), "plain", 2)]
    refused = [
        lambda: _native.conv_tiles(tiles, source, source, everywhere, scratch, 1),
        lambda: _native.conv_tiles(tiles, source, other, everywhere, scratch, 1),
        lambda: _native.conv_tiles(tiles, source, _native.Canvas(1, 9, 9, 5), everywhere, scratch, 1),
        lambda: _native.conv_tiles(tiles, source, out, everywhere, scratch, 1, plus=other),
        lambda: _native.conv_tiles(tiles, source, out, _native.Positions.all(10), scratch, 1),
        lambda: _native.conv_tiles(
            tiles, source, out, everywhere, scratch, 1, depths=_native.Depths(torch.zeros(1, 2, 3))
        ),
        lambda: _native.conv_pixels(pixels, source, out, _native.Positions.all(82), 1),
        lambda: _native.conv_pixels(pixels, source, out, everywhere, 1, depths=per_tile),
        lambda: _native.clear_tiles(out, _native.Positions.all(10)),
        lambda: _native.attend(attention, out, source, everywhere, _native.Positions.all(82), scratch, 1),
        lambda: _native.attend(attention, out, out, everywhere, everywhere, scratch, 1),
        lambda: _native.attend(attention, out, other, everywhere, everywhere, scratch, 1),
        lambda: _native.attend(
            attention, *(_native.Canvas(1, 9, 9, 5) for _ in range(2)), everywhere, everywhere, scratch, 1
        ),
        lambda: _native.Attention(torch.zeros(2, 4, 3, 3), torch.zeros(2), torch.zeros(4, 2, 1, 1), torch.zeros(4)),
        lambda: _native.Attention(torch.zeros(2, 4, 1, 1), torch.zeros(2), torch.zeros(4, 3, 1, 1), torch.zeros(4)),
        lambda: _native.Attention(torch.zeros(5, 4, 1, 1), torch.zeros(5), torch.zeros(4, 5, 1, 1), torch.zeros(4)),
        lambda: _native.Positions(torch.tensor([3, 3], dtype=torch.int32)),
        lambda: _native.Positions(torch.tensor([-1, 3], dtype=torch.int32)),
        lambda: _native.Canvas(1, 0, 9, 4),
        lambda: _native.Canvas(1, 2**30, 2**30, 4),
        lambda: _native.TileWeights(torch.zeros(4, 4, 5, 5), conv.bias, "plain"),
        lambda: _native.TileWeights(conv.weight, torch.zeros(3), "plain"),
        lambda: _native.TileWeights(*conv, "mmx"),
        lambda: _native.TileWeights(*conv, "plain", 3),
        lambda: _native.conv_tiles(_native.TileWeights(*conv, "plain", 2), source, out, everywhere, scratch, 1),
        lambda: _native.select_pixels(per_tile, 0.0, 3.0, everywhere, everywhere),
        lambda: _native.Positions().span(-1, 3),
        lambda: source.take(torch.zeros(1, 9, 9, 5), 1),
        lambda: source.take(torch.zeros(1, 9, 8, 4), 1),
        lambda: _native.EnlargingWeights(conv.weight, conv.bias, "plain", 2),
        lambda: _native.EnlargingWeights(torch.zeros(6, 4, 5, 5), torch.zeros(6), "plain", 2),
        lambda: _native.enlarge([], source, torch.zeros(1, 1, 18, 18), 0, 9, 1),
        lambda: _native.enlarge(enlarging * 15, source, torch.zeros(1, 1, 18, 18), 0, 9, 1),
        lambda: _native.enlarge(enlarging * 16, source, torch.zeros(1, 1, 18, 17), 0, 9, 1),
        lambda: _native.enlarge(enlarging * 16, source, torch.zeros(1, 2, 18, 18), 0, 9, 1),
        lambda: _native.enlarge(enlarging * 16, source, torch.zeros(1, 1, 18, 18), 3, 10, 1),
        lambda: _native.enlarge(enlarging * 16, source, torch.zeros(1, 1, 18, 18), -1, 3, 1),
        lambda: _native.enlarge(enlarging * 16, _native.Canvas(1, 9, 9, 5), torch.zeros(1, 1, 18, 18), 0, 9, 1),
    ]
    for number, call in enumerate(refused):
        with pytest.raises(ValueError):  # noqa: PT011
            print(number, call())


def test_arrays_of_another_type_or_layout_are_refused() -> None:
    _, conv = random_conv(6, 1, 4, 4, 9, 9)
    for weight in (conv.weight.double(), conv.weight.transpose(2, 3), conv.weight[0]):
        with pytest.raises(TypeError):
            _native.TileWeights(weight, conv.bias, "plain")
    with pytest.raises(TypeError):
        _native.Positions(torch.zeros(3))
    with pytest.raises(TypeError):
        _native.Depths(torch.zeros(1, 3, 3, dtype=torch.float64))
