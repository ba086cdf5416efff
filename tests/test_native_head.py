"""The native kernels of head and adapter against torch's convs in float64, and what they refuse."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import ConvWeights
from native_samples import CHANNELS, ISAS, _native, canvas_of, images_of, random_conv


def assert_close_to_exact(result: Tensor, plain: Tensor, exact: Tensor, factor: float) -> None:
    """Error against float64 at most `factor` times that of torch's float32, and below 1e-5 of the largest value."""
    error = (result - exact).abs().max()
    assert error <= factor * (plain - exact).abs().max() + 1e-6 * exact.abs().max()
    assert error <= 1e-5 * exact.abs().max() + 1e-7


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("colours", [1, 3, 4, 19])
def test_heads_of_every_channel_count(isa: str, channels: int, colours: int) -> None:
    images, conv = random_conv(channels, 2, colours, channels, 5, 27)
    mean = torch.randn(colours)
    out = _native.Canvas(2, 5, 27, channels)
    weights = _native.HeadWeights(*conv, mean, isa)
    _native.head(weights, images.permute(0, 2, 3, 1), out, _native.Scratch(), 2)
    shifted = images - mean.view(1, -1, 1, 1)
    exact = F.conv2d(images.double() - mean.double().view(1, -1, 1, 1), *(part.double() for part in conv), padding=1)
    assert_close_to_exact(images_of(out), F.conv2d(shifted, *conv, padding=1), exact, 2)
    assert_only_the_image_is_stored(out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("side", [1, 3, 4])
def test_patch_embeddings_of_every_channel_count(isa: str, channels: int, side: int) -> None:
    for size in ((9, 30), (side, side), (1, 2)):
        images = torch.randn(2, channels, *size)
        weight = torch.randn(7, channels, side, side) / (side * side * channels) ** 0.5
        conv = ConvWeights(weight, torch.randn(7))
        out = _native.Canvas(2, -(-size[0] // side), -(-size[1] // side), 7)
        packed, source = _native.PatchWeights(*conv, isa), canvas_of(images)
        _native.patch_embed(packed, source, out, _native.Scratch(), 2, slope=-0.3)

        def define(x: Tensor, conv: ConvWeights = conv) -> Tensor:
            overhang = (0, -x.shape[3] % side, 0, -x.shape[2] % side)
            x = F.conv2d(F.pad(x, overhang, mode="replicate"), conv.weight.to(x), conv.bias.to(x), stride=side)
            return F.prelu(x, x.new_tensor([-0.3]))

        assert_close_to_exact(images_of(out), define(images), define(images.double()), 2)
        assert_only_the_image_is_stored(out)


def assert_only_the_image_is_stored(canvas: _native.Canvas) -> None:
    """What a canvas holds besides is still zero: a conv that sums all that it sees finds the image's values alone."""
    images = images_of(canvas)
    conv = ConvWeights(torch.ones(1, images.shape[1], 3, 3), torch.zeros(1))
    out = _native.Canvas(*images.shape[:1], *images.shape[2:], 1)
    everywhere = _native.Positions.all(canvas.pixels)
    _native.conv_pixels(_native.PixelWeights(*conv, "plain"), canvas, out, everywhere, 1)
    torch.testing.assert_close(images_of(out), F.conv2d(images, *conv, padding=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("slope", [0.25, 0.0, -0.5, 2.0])
def test_prelu_follows_a_conv(isa: str, slope: float) -> None:
    images, conv = random_conv(7, 1, 5, 6, 9, 11)
    images[0, :, 0, 0] = torch.nan
    source, out = canvas_of(images), _native.Canvas(1, 9, 11, 6)
    tiles, packed = _native.Positions.all(source.tiles), _native.TileWeights(*conv, isa)
    _native.conv_tiles(packed, source, out, tiles, _native.Scratch(), 1, slope=slope)
    before = _native.Canvas(1, 9, 11, 6)
    _native.conv_tiles(packed, source, before, tiles, _native.Scratch(), 1)
    expected = F.prelu(images_of(before), torch.tensor([slope]))
    torch.testing.assert_close(images_of(out), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_bad_arguments_of_the_kernels_are_refused() -> None:
    images, conv = random_conv(5, 1, 3, 4, 9, 9)
    out, scratch, rows = _native.Canvas(1, 9, 9, 4), _native.Scratch(), images.permute(0, 2, 3, 1)
    weights = _native.HeadWeights(*conv, torch.zeros(3), "plain")
    embedding = _native.PatchWeights(torch.zeros(4, 4, 4, 4), torch.zeros(4), "plain")
    tiles, source = _native.Canvas(1, 3, 3, 4), _native.Canvas(1, 9, 9, 4)
    refused = [
        lambda: _native.HeadWeights(*conv, torch.zeros(4), "plain"),
        lambda: _native.HeadWeights(torch.zeros(4, 3, 5, 5), conv.bias, torch.zeros(3), "plain"),
        lambda: _native.HeadWeights(torch.zeros(4, 1025, 3, 3), conv.bias, torch.zeros(1025), "plain"),
        lambda: _native.PatchWeights(torch.zeros(4, 4, 4, 3), torch.zeros(4), "plain"),
        lambda: _native.PatchWeights(torch.zeros(4, 4, 17, 17), torch.zeros(4), "plain"),
        lambda: _native.PatchWeights(torch.zeros(4, 4, 4, 4), torch.zeros(3), "plain"),
        lambda: _native.head(weights, rows[..., :2], out, scratch, 1),
        lambda: _native.head(weights, rows[:, :8], out, scratch, 1),
        lambda: _native.head(weights, rows, _native.Canvas(1, 9, 9, 5), scratch, 1),
        lambda: _native.patch_embed(embedding, source, _native.Canvas(1, 3, 2, 4), scratch, 1),
        lambda: _native.patch_embed(embedding, source, _native.Canvas(1, 3, 3, 5), scratch, 1),
        lambda: _native.patch_embed(embedding, _native.Canvas(1, 9, 9, 5), tiles, scratch, 1),
        lambda: source.copy_from(torch.zeros(1, 9, 9, 4), 1, torch.zeros(2)),
    ]
    for number, call in enumerate(refused):
        with pytest.raises(ValueError):  # noqa: PT011
            print(number, call())
    for call in (
        lambda: _native.head(weights, rows.double(), out, scratch, 1),
        lambda: source.copy_from(torch.zeros(1, 9, 9, 4), 1, torch.zeros(1).double()),
    ):
        with pytest.raises(TypeError):
            call()
