"""What chained convs need: inputs of several canvases, slopes per channel, two residuals, folded upsampling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from adadsr.graph import ConvWeights
from native_samples import ISAS, _native, canvas_of, images_of, random_conv

# isort: split
from adadsr.backends.native.nearest_folding import fold_nearest

isas = pytest.mark.parametrize("isa", ISAS)
seeds = st.integers(0, 2**31)
sizes = st.integers(1, 14)


def run_all(weights, source, out, **options) -> None:  # type: ignore[no-untyped-def]
    _native.conv_tiles(weights, source, out, _native.Positions.all(source.tiles), _native.Scratch(), 2, **options)


@isas
@settings(max_examples=15)
@given(seed=seeds, height=sizes, width=sizes, outputs=st.integers(1, 33), own=st.sampled_from([16, 32]))
@pytest.mark.parametrize("grown", [[16], [16, 16, 16], [32, 32], [48, 48]])
def test_a_conv_reads_several_canvases_as_if_they_were_one(
    isa: str, grown: list[int], seed: int, height: int, width: int, outputs: int, own: int
) -> None:
    channels = [own, *grown]
    images, conv = random_conv(seed, 2, sum(channels), outputs, height, width)
    parts, joined = [canvas_of(part) for part in images.split(channels, dim=1)], canvas_of(images)
    out, whole = (_native.Canvas(2, height, width, outputs) for _ in "ab")
    run_all(_native.TileWeights(*conv, isa), parts[0], out, more=parts[1:])
    run_all(_native.TileWeights(*conv, isa), joined, whole)
    assert torch.equal(images_of(out), images_of(whole))


@isas
@pytest.mark.parametrize("outputs", [32, 64])
@pytest.mark.parametrize("channels", [[64, 32, 32, 32, 32], [16, 112], [64, 32], [80, 16, 16]])
def test_a_conv_of_many_channels_adds_in_place(isa: str, channels: list[int], outputs: int) -> None:
    """AMX reads 64 channels at a time, which may lie in several canvases; with 64 outputs in rounds."""
    images, conv = random_conv(len(channels), 2, sum(channels), outputs, 11, 18)
    start = torch.randn(2, outputs, 11, 18, generator=torch.Generator().manual_seed(1))
    source, *more = (canvas_of(part) for part in images.split(channels, dim=1))
    out = canvas_of(start)
    run_all(_native.TileWeights(*conv, isa), source, out, more=more, plus=out)
    exact = start + F.conv2d(images.double(), conv.weight.double(), conv.bias.double(), padding=1)
    assert (images_of(out) - exact).abs().max() <= 1e-5 * exact.abs().max()


@isas
@pytest.mark.parametrize("outputs", [32, 64])
def test_points_that_vanish_are_left_out_of_a_conv_of_many_channels(isa: str, outputs: int) -> None:
    images, conv = random_conv(4, 1, 96, outputs, 9, 13)
    weight = conv.weight.clone()
    weight[:, :, 2], weight[:, :, :, 2] = 0, 0
    out = _native.Canvas(1, 9, 13, outputs)
    run_all(_native.TileWeights(weight, conv.bias, isa), canvas_of(images), out)
    exact = F.conv2d(images.double(), weight.double(), conv.bias.double(), padding=1)
    assert (images_of(out) - exact).abs().max() <= 1e-5 * exact.abs().max()


@isas
def test_a_mask_of_a_gradient_leaves_what_is_added(isa: str) -> None:
    """gate * (masked conv + factor * also) + plus."""
    images, conv = random_conv(3, 1, 8, 8, 9, 7)
    depth, (passed, plus, also) = torch.rand(1, 9, 7), torch.randn(3, 1, 8, 9, 7)
    source, plain, out = canvas_of(images), _native.Canvas(1, 9, 7, 8), _native.Canvas(1, 9, 7, 8)
    packed = _native.TileWeights(*conv, isa)
    run_all(packed, source, plain)
    canvases = {"passed": canvas_of(passed), "plus": canvas_of(plus), "also": canvas_of(also)}
    run_all(packed, source, out, **canvases, also_factor=0.5, depths=_native.Depths(depth))
    masked = torch.where(passed > 0, images_of(plain), 0.0)
    torch.testing.assert_close(images_of(out), depth[:, None] * (masked + 0.5 * also) + plus)


@isas
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize(("inputs", "channels"), [(8, 8), (32, 32), (160, 64)])
def test_two_residuals_and_a_gate(isa: str, inputs: int, channels: int, in_place: bool) -> None:
    """gate * (conv + factor * also) + plus. A closed gate gives `plus`, even where the sum is infinite."""
    images, conv = random_conv(1, 2, inputs, channels, 10, 7)
    images[0, :, 0, 0] = torch.inf
    depth = torch.rand(2, 10, 7) * 2
    depth[0, 0, 0], depth[0, :3, :3] = 0, 0
    plus, also = torch.randn(2, channels, 10, 7), torch.randn(2, channels, 10, 7)
    source, plain = canvas_of(images), _native.Canvas(2, 10, 7, channels)
    run_all(_native.TileWeights(*conv, isa), source, plain)
    added, out = canvas_of(plus), _native.Canvas(2, 10, 7, channels)
    out = added if in_place else out
    depths = _native.Depths(depth)
    run_all(
        _native.TileWeights(*conv, isa), source, out,
        depths=depths, block=0.5, plus=added, also=canvas_of(also), also_factor=0.25,
    )  # fmt: skip
    gate = (depth - 0.5).clamp(0, 1)[:, None]
    expected = torch.where(gate == 0, plus, gate * (images_of(plain) + 0.25 * also) + plus)
    torch.testing.assert_close(images_of(out), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


@isas
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 12), (64, 256)])
def test_slopes_of_channels(isa: str, inputs: int, outputs: int, factor: int) -> None:
    images, conv = random_conv(2, 1, inputs, outputs, 9, 6)
    slopes, height, width = torch.randn(outputs), 9 * factor, 6 * factor
    source, plain, out = canvas_of(images), *(_native.Canvas(1, height, width, outputs // factor**2) for _ in "ab")
    run_all(_native.TileWeights(*conv, isa, factor), source, plain)
    run_all(_native.TileWeights(*conv, isa, factor, slopes=slopes), source, out)
    unshuffled = F.pixel_unshuffle(images_of(plain), factor)
    expected = F.pixel_shuffle(F.prelu(unshuffled, slopes), factor)
    torch.testing.assert_close(images_of(out), expected, rtol=0, atol=1e-6)


@isas
@settings(max_examples=10)
@given(seed=seeds, channels=st.integers(1, 40), outputs=st.integers(1, 20), height=sizes, width=sizes)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_upsampling_folded_into_a_conv(
    isa: str, factor: int, seed: int, channels: int, outputs: int, height: int, width: int
) -> None:
    """Exact but for rounding, also at the border; points of the transform that vanish are left out."""
    images, conv = random_conv(seed, 1, channels, outputs, height, width)
    folded = fold_nearest(ConvWeights(*(part.numpy() for part in conv)), factor)
    source, out = canvas_of(images), _native.Canvas(1, height * factor, width * factor, outputs)
    run_all(_native.TileWeights(*folded, isa, factor), source, out)
    upsampled = F.interpolate(images.double(), scale_factor=factor)
    exact = F.conv2d(upsampled, conv.weight.double(), conv.bias.double(), padding=1)
    assert (images_of(out) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_folded_convs_have_two_by_two_taps() -> None:
    _, conv = random_conv(0, 1, 3, 2, 1, 1)
    weight = fold_nearest(ConvWeights(*(part.numpy() for part in conv)), 2).weight.reshape(2, 2, 2, 3, 3, 3)
    assert not weight[:, 0, :, :, 2].any()
    assert not weight[:, 1, :, :, 0].any()
    assert not weight[:, :, 0, :, :, 2].any()
    assert not weight[:, :, 1, :, :, 0].any()
    assert np.count_nonzero(weight) == 2 * 4 * 3 * 4


@settings(max_examples=20)
@given(seed=seeds, height=sizes, width=sizes, factor=st.integers(1, 4), added=st.booleans())
def test_a_part_of_a_canvas_becomes_pixels(seed: int, height: int, width: int, factor: int, added: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3 * factor**2, height, width, generator=generator)
    images = torch.randn(2, 3, height, width, generator=generator)
    top, left = height // 3, width // 2
    expected = F.pixel_shuffle(features, factor) + (F.interpolate(images, scale_factor=factor) if added else 0)
    out = np.empty((2, 3, (height - top) * factor, (width - left) * factor), np.float32).transpose(0, 2, 3, 1)
    base = images[:, :, top:, left:].permute(0, 2, 3, 1) if added else None
    _native.shuffle_pixels(canvas_of(features), out, top, left, factor, 2, base)
    np.testing.assert_array_equal(out.transpose(0, 3, 1, 2), expected[..., top * factor :, left * factor :])


def test_tiles_are_copied_and_nothing_else() -> None:
    images, others = torch.randn(2, 5, 10, 7), torch.randn(2, 5, 10, 7)
    out = canvas_of(others)
    _native.copy_tiles(canvas_of(images), out, _native.Positions(np.array([1, 2, 11], np.int32)), 2)
    expected = others.clone()
    for image, row, column in ((0, 0, 4), (0, 4, 0), (1, 8, 4)):
        expected[image, :, row : row + 4, column : column + 4] = images[image, :, row : row + 4, column : column + 4]
    assert torch.equal(images_of(out), expected)


def refused(message: str, call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_does_not_fit_is_refused() -> None:
    weight, bias = np.zeros((16, 32, 3, 3), np.float32), np.zeros(16, np.float32)
    packed = _native.TileWeights(weight, bias, "plain")
    narrow, wide, other = _native.Canvas(1, 5, 5, 16), _native.Canvas(1, 5, 5, 48), _native.Canvas(1, 6, 5, 16)
    out, three = _native.Canvas(1, 5, 5, 16), np.zeros(3, np.float32)

    def conv(*canvases, **options):  # type: ignore[no-untyped-def]
        return lambda: run_all(packed, *canvases, **options)

    refused("further channels of 1x6x5x16", conv(narrow, out, more=[other]))
    with pytest.raises((TypeError, ValueError)):
        conv(narrow, out, more=[None])()
    refused("further channels of 1x5x5x48", conv(narrow, out, more=[narrow, wide]))
    refused("does not fit a source of 1x5x5x16 and 1 canvases of 1x5x5x48", conv(narrow, out, more=[wide]))
    refused("source and out are the same", conv(narrow, narrow, more=[narrow]))
    refused("reads what it writes", conv(narrow, out, more=[out]))
    refused("also is 1x6x5x16", conv(narrow, out, more=[narrow], also=other))
    doubled = _native.TileWeights(np.zeros((64, 16, 3, 3), np.float32), np.zeros(64, np.float32), "plain", 2)
    large = _native.Canvas(1, 10, 10, 16)
    refused("plus needs a conv without an upscale factor", lambda: run_all(doubled, narrow, large, plus=large))
    refused("3 slopes for 16", lambda: _native.TileWeights(weight, bias, "plain", slopes=three))
    refused("size and the channels", lambda: _native.copy_tiles(narrow, wide, _native.Positions(), 1))
    pixels = np.zeros((1, 5, 5, 16), np.float32)
    refused("leaves the canvas", lambda: _native.shuffle_pixels(narrow, pixels, 1, 0, 1, 1))
    refused("does not fit 16 channels", lambda: _native.shuffle_pixels(narrow, pixels, 0, 0, 3, 1))
    refused("from 1 to 8, not 9", lambda: _native.shuffle_pixels(narrow, pixels, 0, 0, 9, 1))
    refused("the images have to be", lambda: _native.shuffle_pixels(narrow, pixels, 0, 0, 1, 1, pixels[:, :4]))
