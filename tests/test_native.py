"""The native engine's 3x3 convs against torch's in float64, and what follows a conv."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import ConvWeights
from native_samples import CHANNELS, ISAS, ROUNDINGS, _native, canvas_of, images_of, random_conv


def run_tiles(images: Tensor, conv: ConvWeights, isa: str, tiles: _native.Positions | None = None) -> Tensor:
    source = canvas_of(images)
    batch, _, height, width = images.shape
    out = _native.Canvas(batch, height, width, len(conv.bias))
    positions = _native.Positions.all(source.tiles) if tiles is None else tiles
    _native.conv_tiles(_native.TileWeights(*conv, isa), source, out, positions, _native.Scratch(), 2)
    return images_of(out)


def run_pixels(images: Tensor, conv: ConvWeights, isa: str, pixels: _native.Positions | None = None) -> Tensor:
    source = canvas_of(images)
    batch, _, height, width = images.shape
    out = _native.Canvas(batch, height, width, len(conv.bias))
    positions = _native.Positions.all(source.pixels) if pixels is None else pixels
    _native.conv_pixels(_native.PixelWeights(*conv, isa), source, out, positions, 2)
    return images_of(out)


def exact_conv(images: Tensor, conv: ConvWeights) -> Tensor:
    return F.conv2d(images.double(), conv.weight.double(), conv.bias.double(), padding=1)


def onednn_conv(images: Tensor, conv: ConvWeights) -> Tensor:
    """oneDNN's conv in float32, which torch does not take for every size; torch's own where it is built without."""
    if not torch.backends.mkldnn.is_available():
        return F.conv2d(images, conv.weight, conv.bias, padding=1)
    return torch.mkldnn_convolution(images, conv.weight, conv.bias, [1, 1], [1, 1], [1, 1], 1)


class Bound(NamedTuple):
    """How many times oneDNN's error an algorithm may make."""

    run: Callable[[Tensor, ConvWeights, str], Tensor]
    factor: int


BOUNDS = (Bound(run_tiles, 10), Bound(run_pixels, 2))
FILTERS, OUTPUTS = 32, 2000
"""An error is the largest over at least this many of each: two single errors can have any ratio."""


def assert_errors(isa: str, seed: int, channels: int, out: int, height: int, width: int) -> None:
    """Errors against float64, each the largest of many outputs: ours at most `factor` times oneDNN's, and below 1e-5.

    1e-5 is of the largest value. Where oneDNN errs by less than `ROUNDINGS`, that counts as its error.
    """
    draws = -(-FILTERS // out)
    batch = -(-OUTPUTS // (draws * out * height * width))
    cases = [random_conv(seed + draw, batch, channels, out, height, width) for draw in range(draws)]
    exact = [exact_conv(*case) for case in cases]
    largest = max(float(values.abs().max()) for values in exact)

    def error(run: Callable[[Tensor, ConvWeights], Tensor]) -> float:
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
@pytest.mark.parametrize("channels", [(5, 6), (32, 32)])
@given(seed=st.integers(0, 2**31), height=st.integers(1, 21), width=st.integers(1, 21), share=st.floats(0, 1))
@settings(max_examples=40)
def test_lists_touch_what_they_name_and_nothing_else(
    isa: str, channels: tuple[int, int], seed: int, height: int, width: int, share: float
) -> None:
    images, conv = random_conv(seed, 2, *channels, height, width)
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
@pytest.mark.parametrize("channels", [8, 32])
def test_what_follows_a_conv(isa: str, channels: int, per_tile: bool) -> None:
    """ReLU, gates and the addition. A closed gate leaves its pixel untouched, even where the sum is infinite."""
    images, conv = random_conv(3, 2, channels, channels, 10, 7)
    images[0, :, 0, 0] = torch.inf
    depth = torch.rand(2, 3, 2) * 3 if per_tile else torch.rand(2, 10, 7) * 3
    depth[0].view(-1)[0] = 0
    pixel_depth = depth.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :10, :7] if per_tile else depth
    weight = (pixel_depth - 1).clamp(0, 1)[:, None]
    closed = (weight == 0).expand(-1, channels, -1, -1)
    start = torch.randn(2, channels, 10, 7)
    update = torch.where(closed, torch.zeros(()), F.relu(run_tiles(images, conv, isa)) * weight)
    source, out, depths = canvas_of(images), canvas_of(start), _native.Depths(depth)
    tiles, packed = _native.Positions.all(source.tiles), _native.TileWeights(*conv, isa)
    _native.conv_tiles(packed, source, out, tiles, _native.Scratch(), 1, relu=True, depths=depths, block=1.0, plus=out)
    result = images_of(out)
    assert torch.equal(result[closed], start[closed])
    torch.testing.assert_close(result, start + update, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_the_border_of_a_canvas_stays_zero() -> None:
    """A conv of a conv sees zeros around the image, also where tiles overhang it."""
    images, conv = random_conv(4, 1, 4, 4, 6, 5)
    once = run_tiles(images, conv, "plain")
    batch, channels, height, width = images.shape
    source, middle, out = canvas_of(images), *(_native.Canvas(batch, height, width, channels) for _ in range(2))
    packed, tiles = _native.TileWeights(*conv, "plain"), _native.Positions.all(source.tiles)
    _native.conv_tiles(packed, source, middle, tiles, _native.Scratch(), 1)
    _native.conv_tiles(packed, middle, out, tiles, _native.Scratch(), 1)
    torch.testing.assert_close(images_of(out), run_tiles(once, conv, "plain"), rtol=0, atol=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [33, 64, 256])
def test_a_tile_does_not_depend_on_the_tiles_that_run_with_it(isa: str, channels: int) -> None:
    """Bit for bit: the number of tiles of a call depends on the processor's caches."""
    images, conv = random_conv(5, 1, channels, channels, 22, 37)
    source, out = canvas_of(images), _native.Canvas(1, 22, 37, channels)
    packed, scratch = _native.TileWeights(*conv, isa), _native.Scratch()
    for tile in range(source.tiles):
        alone = _native.Positions(torch.tensor([tile], dtype=torch.int32))
        _native.conv_tiles(packed, source, out, alone, scratch, 1)
    assert torch.equal(images_of(out), run_tiles(images, conv, isa))


@pytest.mark.parametrize("isa", ISAS)
def test_weights_that_share_pages_do_not_depend_on_each_other(isa: str) -> None:
    """Small, too large for the same pages, and more than fit into one block; some are dropped meanwhile."""
    cases = [random_conv(seed, 1, channels, 64, 5, 6) for seed, channels in enumerate([1, 64, 200, 7] * 8)]
    packed = [_native.TileWeights(*conv, isa) for _, conv in cases]
    expected = [run_tiles(*case, isa) for case in cases]
    for kept in (range(32), range(1, 32, 3)):
        packed = [weights if number in kept else None for number, weights in enumerate(packed)]
        for number in kept:
            images = cases[number][0]
            source, out = canvas_of(images), _native.Canvas(1, 5, 6, 64)
            everywhere = _native.Positions.all(source.tiles)
            _native.conv_tiles(packed[number], source, out, everywhere, _native.Scratch(), 1)
            assert torch.equal(images_of(out), expected[number])


@pytest.mark.skipif("amx" not in ISAS, reason="needs a processor with AMX")
@pytest.mark.parametrize(
    ("inputs", "outputs", "is_split"),
    [(32, 1, True), (64, 64, True), (64, 256, True), (192, 64, True), (48, 48, False)],
)
def test_convs_of_whole_registers_are_split(inputs: int, outputs: int, is_split: bool) -> None:
    """Split weights take half as much memory again."""
    _, conv = random_conv(0, 1, inputs, outputs, 1, 1)
    amx, avx512 = (_native.TileWeights(*conv, isa).bytes for isa in ("amx", "avx512"))
    assert (amx > avx512) == is_split
