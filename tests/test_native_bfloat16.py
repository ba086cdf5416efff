"""Canvases that hold bfloat16, and the convs that read them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import ConvWeights
from native_samples import _native, canvas_of, images_of, random_conv

ISA = _native.bf16_isa()
needs_amx = pytest.mark.skipif(ISA is None, reason="no instruction set here multiplies bfloat16")
seeds = st.integers(0, 2**31)


def nearest(values: Tensor) -> Tensor:
    """Rounded to bfloat16."""
    return values.bfloat16().float()


def filled_as(images: Tensor, precision: str) -> _native.Canvas:
    """A canvas of a precision that holds images (N, C, H, W)."""
    batch, channels, height, width = images.shape
    canvas = _native.Canvas(batch, height, width, channels, precision)
    canvas.copy_from(images.permute(0, 2, 3, 1).numpy(), 2)
    return canvas


def rounded_of(canvas: _native.Canvas) -> Tensor:
    """The images (N, C, H, W) of a canvas that holds only bfloat16."""
    bits = canvas.view()
    assert bits.dtype == np.uint16
    return torch.from_numpy((bits.astype(np.uint32) << 16).view(np.float32)).permute(0, 3, 1, 2)


def as_read(canvas: _native.Canvas) -> Tensor:
    """What a conv in bfloat16 reads of a canvas: a conv that returns its input tells."""
    batch, height, width, channels = canvas.view().shape
    weight = torch.zeros(channels, channels, 3, 3)
    weight[range(channels), range(channels), 1, 1] = 1
    out = _native.Canvas(batch, height, width, channels)
    run(_native.TileWeights(weight, torch.zeros(channels), ISA), canvas, out)
    return images_of(out)


def run(weights: _native.TileWeights, source: _native.Canvas, out: _native.Canvas, tiles=None, **options) -> None:  # type: ignore[no-untyped-def]
    listed = _native.Positions.all(source.tiles) if tiles is None else _native.Positions(tiles)
    _native.conv_tiles(weights, source, out, listed, _native.Scratch(), 2, **options)


def exactly(images: Tensor, conv: ConvWeights) -> Tensor:
    """The conv of rounded factors, without any other rounding."""
    factors = (nearest(each).double() for each in (images, conv.weight))
    return F.conv2d(*factors, conv.bias.double(), padding=1).float()


@given(seed=seeds, height=st.integers(1, 9), width=st.integers(1, 9), channels=st.integers(1, 70))
@settings(max_examples=30)
def test_a_canvas_of_bfloat16_holds_the_nearest_numbers(seed: int, height: int, width: int, channels: int) -> None:
    images = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(seed))
    images[0, 0, 0, 0] = torch.nan
    torch.testing.assert_close(
        rounded_of(filled_as(images, "bfloat16")), nearest(images), rtol=0, atol=0, equal_nan=True
    )
    scaled = _native.Canvas(2, height, width, channels, "bfloat16")
    scaled.copy_from(images.permute(0, 2, 3, 1).numpy(), 1, np.array([1, 3], np.float32))
    torch.testing.assert_close(rounded_of(scaled)[1], nearest(3 * images[1]), rtol=0, atol=0)


def test_canvases_take_what_they_hold() -> None:
    sizes = {each: _native.Canvas.bytes_of(1, 32, 32, 64, each) for each in ("float32", "bfloat16", "both")}
    assert sizes["float32"] == 2 * sizes["bfloat16"]
    assert sizes["both"] == 3 * sizes["bfloat16"]
    assert _native.Canvas(1, 32, 32, 64, "bfloat16").bytes == sizes["bfloat16"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "both"])
def test_tiles_are_cleared_and_copied_in_each_precision(precision: str) -> None:
    images = torch.randn(2, 1, 17, 10, 9)
    source, out = (filled_as(each, precision) for each in images)
    shown = images_of if precision != "bfloat16" else rounded_of
    expected = shown(out).clone()
    _native.copy_tiles(source, out, _native.Positions(np.array([4, 8], np.int32)), 2)
    _native.clear_tiles(out, _native.Positions(np.array([0], np.int32)), 2)
    expected[..., 4:8, 4:8], expected[..., 8:, 8:] = shown(source)[..., 4:8, 4:8], shown(source)[..., 8:, 8:]
    expected[..., :4, :4] = 0
    assert torch.equal(shown(out), expected)
    if precision == "both" and ISA:
        assert torch.equal(as_read(out), nearest(expected))


@needs_amx
@given(
    seed=seeds,
    channels=st.integers(1, 130),
    outputs=st.integers(1, 70),
    height=st.integers(1, 10),
    width=st.integers(1, 40),
    share=st.floats(0, 1),
)
@settings(max_examples=60)
def test_only_factors_are_rounded_and_a_tile_does_not_depend_on_its_neighbours(
    seed: int, channels: int, outputs: int, height: int, width: int, share: float
) -> None:
    """Registers hold neighbours of a row where a list has them, and tiles from anywhere elsewhere."""
    images, conv = random_conv(seed, 2, channels, outputs, height, width)
    source, packed = canvas_of(images), _native.TileWeights(*conv, ISA)
    everywhere, some = (_native.Canvas(2, height, width, outputs) for _ in range(2))
    run(packed, source, everywhere)
    expected = exactly(images, conv)
    torch.testing.assert_close(images_of(everywhere), expected, rtol=0, atol=2e-6 * float(expected.abs().max() + 1))
    chosen = np.flatnonzero(np.random.default_rng(seed).random(source.tiles) < share).astype(np.int32)
    run(packed, source, some, chosen)
    listed = _native.Canvas(2, height, width, outputs)
    _native.copy_tiles(everywhere, listed, _native.Positions(chosen), 1)
    assert torch.equal(images_of(some), images_of(listed))


@needs_amx
@given(
    seed=seeds, grown=st.sampled_from([[16], [32], [48], [32, 32], [48, 48]]), first=st.sampled_from([16, 32, 40, 64])
)
@settings(max_examples=30)
def test_convs_read_several_canvases(seed: int, grown: list[int], first: int) -> None:
    """Whose lines of 32 channels may end in the middle."""
    images, conv = random_conv(seed, 1, first + sum(grown), 24, 7, 30)
    padding = -first % 16
    spread = torch.cat([conv.weight[:, :first], torch.zeros(24, padding, 3, 3), conv.weight[:, first:]], dim=1)
    packed = _native.TileWeights(spread.contiguous(), conv.bias, ISA)
    source, *more = (canvas_of(part) for part in images.split([first, *grown], dim=1))
    results = []
    for precision in ("both", "bfloat16"):
        out = _native.Canvas(1, 7, 30, 24, precision)
        run(packed, source, out, more=more, slope=0.2)
        results.append((images_of if precision == "both" else rounded_of)(out))
    torch.testing.assert_close(results[0], F.leaky_relu(exactly(images, conv), 0.2), rtol=0, atol=1e-5)
    assert torch.equal(nearest(results[0]), results[1])


@needs_amx
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("taps", [(0, 1, 3, 4), (4,), (2, 5, 8), tuple(range(9))])
def test_taps_of_zero_and_pixel_shuffle(factor: int, taps: tuple[int, ...]) -> None:
    images, conv = random_conv(3, 1, 40, 5 * factor**2, 6, 21)
    weight = torch.zeros_like(conv.weight)
    weight.flatten(2)[..., list(taps)] = conv.weight.flatten(2)[..., list(taps)]
    expected = F.pixel_shuffle(exactly(images, conv._replace(weight=weight)), factor)
    for precision in ("float32", "both", "bfloat16"):
        out = _native.Canvas(1, 6 * factor, 21 * factor, 5, precision)
        run(_native.TileWeights(weight, conv.bias, ISA, factor), canvas_of(images), out)
        shown = rounded_of(out) if precision == "bfloat16" else images_of(out)
        torch.testing.assert_close(shown, expected, rtol=2**-8 if precision == "bfloat16" else 0, atol=1e-5)
        if precision == "both":
            assert torch.equal(as_read(out), nearest(images_of(out)))


@needs_amx
@pytest.mark.parametrize("per_tile", [True, False])
def test_gates_in_each_precision(per_tile: bool) -> None:
    """Closed ones without anything to add, half open ones and open ones, on tiles that overhang the image, too."""
    images, conv = random_conv(7, 1, 20, 20, 10, 18)
    depth = torch.tensor([0.0, 0.5, 1.0]).repeat(60)[torch.randperm(180, generator=torch.Generator().manual_seed(1))]
    depth = depth[:15].reshape(1, 3, 5) if per_tile else depth.reshape(1, 10, 18)
    wide = depth.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :10, :18] if per_tile else depth
    expected = wide[:, None] * exactly(images, conv)
    for precision in ("float32", "both", "bfloat16"):
        out = filled_as(torch.full((1, 20, 10, 18), 7.0), precision)
        run(_native.TileWeights(*conv, ISA), canvas_of(images), out, depths=_native.Depths(depth))
        shown = rounded_of(out) if precision == "bfloat16" else images_of(out)
        torch.testing.assert_close(shown, expected, rtol=2**-8 if precision == "bfloat16" else 0, atol=1e-5)


@needs_amx
def test_every_operation_writes_what_a_canvas_holds() -> None:
    """In both precisions: afterwards a conv reads the nearest numbers."""
    images, conv = random_conv(5, 2, 20, 20, 9, 18)
    other = torch.randn(2, 20, 9, 18)
    scratch, everywhere = _native.Scratch(), _native.Positions.all(2 * 3 * 5)
    pixels = _native.Positions(np.arange(0, 2 * 9 * 18, 3, dtype=np.int32))
    depths = _native.Depths(torch.rand(2, 9, 18) * 2)
    attention = _native.Attention(torch.randn(4, 20, 1, 1), torch.randn(4), torch.randn(20, 4, 1, 1), torch.randn(20))
    head = _native.HeadWeights(torch.randn(20, 3, 3, 3), torch.randn(20), torch.randn(3), "plain")
    patches = _native.PatchWeights(torch.randn(20, 20, 2, 2), torch.randn(20), "plain")
    wide, source = filled_as(torch.randn(2, 20, 17, 35), "float32"), canvas_of(other)
    float_tiles, float_pixels = (kind(*conv, "plain") for kind in (_native.TileWeights, _native.PixelWeights))
    shuffled = _native.TileWeights(torch.randn(180, 20, 3, 3), torch.randn(180), "plain", 3)
    operations: list[Callable[[_native.Canvas], object]] = [
        lambda out: run(float_tiles, source, out),
        lambda out: run(shuffled, filled_as(torch.randn(2, 20, 3, 6), "float32"), out),
        lambda out: run(_native.TileWeights(*conv, ISA), source, out, depths=depths, plus=out),
        lambda out: _native.conv_pixels(float_pixels, source, out, pixels, 2),
        lambda out: _native.attend(attention, out, source, everywhere, _native.Positions(), scratch, 2),
        lambda out: _native.head(head, other[:, :3].permute(0, 2, 3, 1).numpy(), out, scratch, 2),
        lambda out: _native.patch_embed(patches, wide, out, scratch, 2),
        lambda out: _native.multiply_gate(source, depths, 0.0, out, 2),
        lambda out: np.copyto(out.view(), 0.3) or out.round(2),
    ]
    for operation in operations:
        out = filled_as(images, "both")
        operation(out)
        assert not torch.equal(images_of(out), images)
        assert torch.equal(as_read(out), nearest(images_of(out)))


@pytest.mark.parametrize("channels", [16, 20, 64])
def test_rounding_a_canvas_is_rounding_to_the_nearest(channels: int) -> None:
    """Ties to even, numbers of all sizes but the subnormal ones, which the instruction drops, and infinity."""
    bits = torch.randint(-(2**31), 2**31, (2, 9, 11, channels), dtype=torch.int64).to(torch.int32)
    bits[..., ::2] = bits[..., ::2] & ~0xFFFF | 0x8000
    values = bits.view(torch.float32)
    values = torch.where(values.isnan() | (values.abs() < 2.0**-126), torch.inf, values)
    canvas = _native.Canvas(*values.shape, "both")
    np.copyto(canvas.view(), values.numpy())
    canvas.round(2)
    rounded = _native.Canvas(*values.shape, "bfloat16")
    _native.copy_tiles(canvas, rounded, _native.Positions.all(canvas.tiles), 1)
    found = torch.from_numpy(rounded.view().astype(np.int32) << 16).view(torch.float32)
    assert torch.equal(found[..., :channels], values.bfloat16().float())


def test_operations_refuse_canvases_without_what_they_read() -> None:
    floats, rounded = (_native.Canvas(1, 9, 9, 4, each) for each in ("float32", "bfloat16"))
    weight, bias, tiles, scratch = torch.zeros(4, 4, 3, 3), torch.zeros(4), _native.Positions.all(9), _native.Scratch()
    packed, other = _native.TileWeights(weight, bias, "plain"), _native.Canvas(1, 9, 9, 4)
    head = _native.HeadWeights(torch.zeros(4, 3, 3, 3), bias, torch.zeros(3), "plain")
    image, attention = np.zeros((1, 9, 9, 3), np.float32), torch.zeros(4, 4, 1, 1)
    attended = _native.Attention(attention, bias, attention, bias)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("source holds only bfloat16", lambda: run(packed, rounded, floats)),
        ("out holds only bfloat16", lambda: run(packed, floats, rounded)),
        ("plus holds only bfloat16", lambda: run(packed, floats, other, plus=rounded)),
        ("out holds only bfloat16", lambda: _native.head(head, image, rounded, scratch, 1)),
        (
            "update holds only bfloat16",
            lambda: _native.attend(attended, floats, rounded, tiles, _native.Positions(), scratch, 1),
        ),
        ("source does not hold every precision of out", lambda: _native.copy_tiles(rounded, floats, tiles, 1)),
        ("source holds only bfloat16", lambda: _native.shuffle_pixels(rounded, image[..., :1], 0, 0, 2, 1)),
        ("precision 'half' is not float32, bfloat16 or both", lambda: _native.Canvas(1, 9, 9, 4, "half")),
    ]
    if ISA is not None:
        ours = _native.TileWeights(weight, bias, ISA)
        calls.append(
            ("source holds only float32; give one of precision bfloat16 or both", lambda: run(ours, floats, other))
        )
        calls.append(
            (
                "source holds only float32",
                lambda: _native.weight_gradient(
                    ISA, floats, other, tiles, np.zeros((4, 3, 3, 4), np.float32), np.zeros(4, np.float32), scratch, 1
                ),
            )
        )
    for why, call in calls:
        with pytest.raises(ValueError, match=why):
            call()
