"""Gradients of the native engine's convs and bodies against torch's in float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.graph import BodyWeights, ConvWeights, GroupWeights, ResidualBlock
from adadsr.tensor_ops import OPS
from native_samples import CHANNELS, ISAS, ROUNDINGS, _native, canvas_of, images_of, random_conv

from adadsr.backends.native.body_gradients import BodyPass  # isort: skip
from adadsr.backends.native.gradients import Conv, ConvPass, Convs  # isort: skip

BF16 = _native.bf16_isa()
FACTOR = 20
"""How many times torch's float32 error errors may be: twice the usual ratio of Winograd's algorithm."""
VALUES = 500
"""An error is the largest of at least about this many: two single errors can have any ratio."""
KINK = 1e-5
"""Hidden features nearer to zero may have another sign in float32: then no two gradients agree."""


def arrays_of(conv: ConvWeights) -> Conv:
    return Conv(np.ascontiguousarray(conv.weight.permute(0, 2, 3, 1).numpy()), conv.bias.numpy())


def tensor_of(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def assert_errors(ours: list[Tensor], exact: list[Tensor], single: list[Tensor]) -> None:
    """Each of ours errs against float64 at most `FACTOR` times as much as torch in float32.

    An error is the largest of many values, so small tensors are compared with the rounding of what they sum.
    """
    for mine, right, theirs in zip(ours, exact, single, strict=True):
        assert mine.shape == right.shape
        allowed = max(float((theirs - right).abs().max()), ROUNDINGS * float(right.abs().max()))
        assert float((mine - right).abs().max()) <= FACTOR * allowed


def conv_gradients(images: Tensor, conv: ConvWeights, gradient: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients of a conv in torch: images, weight, bias."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (images, *conv)]
    out = F.conv2d(*leaves, padding=1)
    return [out.detach(), *torch.autograd.grad(out, leaves, gradient.to(dtype))]


def assert_conv(isa: str, seed: int, batch: int, channels: int, out: int, height: int, width: int) -> None:
    """Over as many images and convs as `VALUES` asks for."""
    batch = max(batch, -(-VALUES // (min(channels, out) * height * width)))
    convs, found = Convs(isa, 2), []
    for draw in range(-(-VALUES // (9 * channels * out))):
        images, conv = random_conv(seed + draw, batch, channels, out, height, width)
        gradient = torch.randn(batch, out, height, width, generator=torch.Generator().manual_seed(seed - draw - 1))
        forward = ConvPass(convs, arrays_of(conv), images.permute(0, 2, 3, 1).numpy())
        by_images, by_conv = forward.backward(gradient.permute(0, 2, 3, 1).numpy())
        ours = [tensor_of(forward.features), tensor_of(by_images), tensor_of(by_conv.weight)]
        ours.append(torch.from_numpy(by_conv.bias))
        found.append((ours, *(conv_gradients(images, conv, gradient, each) for each in (torch.float64, torch.float32))))
    assert_errors(*([torch.cat(parts) for parts in zip(*draws, strict=True)] for draws in zip(*found, strict=True)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_gradients_of_every_channel_count(isa: str, channels: int) -> None:
    for out in {3, channels}:
        assert_conv(isa, channels, 3, channels, out, 9, 14)


@pytest.mark.parametrize("isa", ISAS)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 4),
    channels=st.integers(1, 70),
    out=st.integers(1, 70),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
)
@settings(max_examples=25)
def test_gradients_of_every_size(
    isa: str, seed: int, batch: int, channels: int, out: int, height: int, width: int
) -> None:
    assert_conv(isa, seed, batch, channels, out, height, width)


def rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()


@pytest.mark.skipif(BF16 is None, reason="no instruction set here multiplies bfloat16")
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from(CHANNELS),
    out=st.sampled_from(CHANNELS),
    sides=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=60)
def test_bfloat16_rounds_the_factors_of_products_and_nothing_else(
    seed: int, channels: int, out: int, sides: tuple[int, int], share: float
) -> None:
    """At some tiles, which is where the gradient counts. Sums err as float32 does."""
    images, conv = random_conv(seed, 3, channels, out, *sides)
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.rand(3, -(-sides[0] // 4), -(-sides[1] // 4), generator=generator) < share
    mask = tiles.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None, : sides[0], : sides[1]]
    gradient = torch.randn(3, out, *sides, generator=generator) * mask
    convs, listed = Convs(BF16, 2), _native.Positions(np.flatnonzero(tiles).astype(np.int32))
    source, end = canvas_of(images), canvas_of(gradient)
    found, back = canvas_of(torch.zeros_like(gradient)), canvas_of(torch.zeros_like(images))
    convs.run(arrays_of(conv), source, found, listed)
    convs.input_gradient(arrays_of(conv), end, back, _native.Positions.all(back.tiles))
    by_conv = convs.weight_gradient(source, end, listed)
    ours = [images_of(found), images_of(back), tensor_of(by_conv.weight), torch.from_numpy(by_conv.bias)]
    factors = rounded(images), ConvWeights(rounded(conv.weight), conv.bias)
    exact = conv_gradients(*factors, rounded(gradient), torch.float64)
    exact[0], exact[3] = exact[0] * mask, gradient.double().sum((0, 2, 3))
    for mine, right in zip(ours, exact, strict=True):
        assert float((mine - right).abs().max()) <= 1e-5 * max(1.0, float(right.abs().max()))


class Sample(NamedTuple):
    """A body, its input, its depth map and the gradient of its output."""

    body: BodyWeights
    z0: Tensor
    depth_map: Tensor | None
    gradient: Tensor

    @property
    def convs(self) -> list[ConvWeights]:
        return [conv for block in self.body.blocks for conv in (block.conv1, block.conv2)] + [self.body.conv]

    def in_torch(self, dtype: torch.dtype) -> list[Tensor]:
        """Output and gradients by the definition: z0, depth map, parameters."""
        leaves = [self.z0, *([] if self.depth_map is None else [self.depth_map])]
        leaves += [parameter for conv in self.convs for parameter in conv]
        leaves = [tensor.to(dtype).requires_grad_() for tensor in leaves]
        parameters = leaves[-2 * len(self.convs) :]
        convs = [ConvWeights(*pair) for pair in zip(parameters[::2], parameters[1::2], strict=True)]
        blocks = tuple(ResidualBlock(*pair) for pair in zip(convs[:-1:2], convs[1::2], strict=True))
        body = BodyWeights((GroupWeights(blocks),), convs[-1], self.body.depth_tile)
        out = body.run(OPS, leaves[0], None if self.depth_map is None else leaves[1])
        found = torch.autograd.grad(out, leaves, self.gradient.to(dtype), allow_unused=True, materialize_grads=True)
        return [out.detach(), *_by_kind(found, len(parameters))]

    def natively(self, convs: Convs) -> list[Tensor]:
        """The same on the native engine."""
        depths = None if self.depth_map is None else self.depth_map[:, 0].numpy()
        weights = [arrays_of(conv) for conv in self.convs]
        forward = BodyPass(convs, weights, self.z0.permute(0, 2, 3, 1).numpy(), depths, self.body.depth_tile)
        by_z0, by_depth, by_weights, _ = forward.backward(self.gradient.permute(0, 2, 3, 1).numpy())
        found = [tensor_of(forward.features), tensor_of(by_z0)]
        found += [] if by_depth is None else [torch.from_numpy(by_depth)[:, None]]
        parts = [part for conv in by_weights for part in (tensor_of(conv.weight), torch.from_numpy(conv.bias))]
        return _by_kind([*found, *parts], len(parts))

    def nearest_kink(self) -> float:
        """How near to zero the hidden features come, in float64."""
        nearest, ops = [np.inf], OPS

        class Watching(type(ops)):
            def relu(self, x: Tensor) -> Tensor:
                nearest.append(float(x.abs().min()))
                return super().relu(x)

        z0, depth_map = self.z0.double(), None if self.depth_map is None else self.depth_map.double()
        blocks = tuple(
            ResidualBlock(*(ConvWeights(*(part.double() for part in conv)) for conv in block[:2]))
            for block in self.body.blocks
        )
        body = BodyWeights((GroupWeights(blocks),), None, self.body.depth_tile)
        body.run(Watching(), z0, depth_map)
        return min(nearest)


def _by_kind(tensors: Sequence[Tensor], parameters: int) -> list[Tensor]:
    """Weights, and biases, as one tensor each; `parameters` is their number, at the end."""
    first = len(tensors) - parameters
    return [*tensors[:first], torch.cat(tensors[first::2]), torch.cat(tensors[first + 1 :: 2])]


def sample(
    seed: int, batch: int, channels: int, blocks: int, height: int, width: int, tile: int, gated: bool
) -> Sample:
    """A random body. Some depths are whole numbers, where the gradient of a gate is that of torch's clamp."""
    z0, _ = random_conv(seed, batch, channels, channels, height, width)
    convs = [random_conv(seed + 1 + each, 1, channels, channels, 1, 1)[1] for each in range(2 * blocks + 1)]
    pairs = zip(convs[:-1:2], convs[1::2], strict=True)
    body = BodyWeights((GroupWeights(tuple(ResidualBlock(*pair) for pair in pairs)),), convs[-1], tile)
    generator = torch.Generator().manual_seed(seed)
    depths = torch.rand(batch, 1, -(-height // tile), -(-width // tile), generator=generator) * (blocks + 1) - 0.5
    depths = torch.where(torch.rand(depths.shape, generator=generator) < 0.3, depths.round(), depths).clamp(0, blocks)
    gradient = torch.randn(z0.shape, generator=generator)
    return Sample(body, z0, depths if gated else None, gradient)


@pytest.mark.parametrize("isa", ISAS)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 2),
    channels=st.integers(4, 24),
    blocks=st.integers(0, 3),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    tile=st.sampled_from([1, 4]),
    gated=st.booleans(),
)
@settings(max_examples=25)
def test_gradients_of_a_body(
    isa: str, seed: int, batch: int, channels: int, blocks: int, height: int, width: int, tile: int, gated: bool
) -> None:
    """Of z0, the depth map and all parameters, at any gates, with and without a mask of the hidden features."""
    batch = max(batch, -(-VALUES // (height * width)))
    case = sample(seed, batch, channels, blocks, height, width, tile, gated)
    convs = Convs(isa, 2)
    assume(case.nearest_kink() > KINK)
    assert_errors(case.natively(convs), case.in_torch(torch.float64), case.in_torch(torch.float32))


@pytest.mark.parametrize("isa", [ISAS[0], *([] if BF16 is None else [BF16])])
def test_gradients_do_not_depend_on_threads_or_on_what_ran_before(isa: str) -> None:
    """Bit for bit, in memory that was used before."""
    case, other = (sample(seed, 2, 24, 2, 21, 30, 4, True) for seed in (1, 2))
    alone = case.natively(Convs(isa, 1))
    shared = Convs(isa, 3)
    other.natively(shared)
    assert all(torch.equal(*pair) for pair in zip(case.natively(shared), alone, strict=True))


def test_memory_is_reused() -> None:
    case, convs = sample(1, 2, 24, 2, 21, 30, 4, True), Convs(ISAS[0], 1)

    def canvases() -> int:
        return sum(len(free) for free in convs._free.values())

    case.natively(convs)
    free = canvases()
    case.natively(convs)
    assert canvases() == free
    image = case.z0.permute(0, 2, 3, 1).numpy()
    BodyPass(convs, [arrays_of(conv) for conv in case.convs], image).discard()
    assert canvases() == free


def test_a_pass_runs_backwards_once() -> None:
    images, conv = random_conv(1, 1, 3, 3, 5, 5)
    array, convs = images.permute(0, 2, 3, 1).numpy(), Convs(ISAS[0], 1)
    for forward in (ConvPass(convs, arrays_of(conv), array), BodyPass(convs, [arrays_of(conv)], array)):
        forward.backward(array)
        with pytest.raises(RuntimeError, match="were already computed; run the forward pass again"):
            forward.backward(array)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("channels", "out"), [(3, 5), (64, 64), (20, 33)])
def test_repacked_weights_are_those_that_were_packed(isa: str, channels: int, out: int) -> None:
    """Within the rounding of single precision; packing at once works in double."""
    images, conv = random_conv(5, 1, channels, out, 8, 8)
    results = []
    for packed in (_native.TileWeights(*conv, isa), _native.blank_weights(channels, out, isa)):
        source, result = canvas_of(images), _native.Canvas(1, 8, 8, out)
        if results:
            _native.repack(packed, *arrays_of(conv), False, 1)
        _native.conv_tiles(packed, source, result, _native.Positions.all(4), _native.Scratch(), 1)
        results.append(images_of(result))
    torch.testing.assert_close(*results, rtol=0, atol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [16, 32])
def test_weights_that_were_zero_run_once_they_are_replaced(isa: str, channels: int) -> None:
    """Points whose weights are all zero are left out, until others take their place."""
    images, conv = random_conv(6, 1, channels, channels, 8, 8)
    blank, results = _native.blank_weights(channels, channels, isa), []
    for packed in (_native.TileWeights(*map(torch.zeros_like, conv), isa), blank):
        result = _native.Canvas(1, 8, 8, channels)
        _native.repack(packed, *arrays_of(conv), False, 1)
        _native.conv_tiles(packed, canvas_of(images), result, _native.Positions.all(4), _native.Scratch(), 1)
        results.append(images_of(result))
    assert results[0].any()
    assert torch.equal(*results)


@pytest.mark.parametrize("isa", ISAS)
def test_a_gradient_passes_where_the_relu_did(isa: str) -> None:
    """Not where it returned zero, minus zero or NaN."""
    images, conv = random_conv(2, 1, 8, 8, 8, 8)
    passed = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    passed[0, 0, 0, :3] = torch.tensor([0.0, -0.0, torch.nan])
    source, out, packed = canvas_of(images), _native.Canvas(1, 8, 8, 8), _native.TileWeights(*conv, isa)
    tiles, scratch = _native.Positions.all(4), _native.Scratch()
    _native.conv_tiles(packed, source, out, tiles, scratch, 1)
    whole = images_of(out).clone()
    _native.conv_tiles(packed, source, out, tiles, scratch, 1, passed=canvas_of(passed))
    assert torch.equal(images_of(out), torch.where(passed > 0, whole, 0.0))


def test_arguments_that_do_not_match_are_refused() -> None:
    canvas, other, isa = _native.Canvas(1, 8, 8, 3), _native.Canvas(1, 8, 9, 3), ISAS[0]
    weight, bias, packed = np.zeros((3, 3, 3, 3), np.float32), np.zeros(3, np.float32), _native.blank_weights(3, 3, isa)
    tiles, beyond, scratch = _native.Positions.all(4), _native.Positions.all(5), _native.Scratch()
    depths = _native.Depths(np.zeros((1, 3, 3), np.float32))
    shuffled = _native.TileWeights(np.zeros((4, 3, 3, 3), np.float32), np.zeros(4, np.float32), isa, 2)
    with pytest.raises(ValueError, match="a weight of 2x3x3x3, not 3x3x3x3"):
        _native.repack(packed, weight[:2], bias, False, 1)
    with pytest.raises(ValueError, match="the bias has 2 channels, the weight 3"):
        _native.repack(packed, weight, bias[:2], False, 1)
    with pytest.raises(ValueError, match="weights with an upscale factor cannot be replaced"):
        _native.repack(shuffled, weight, bias, False, 1)
    with pytest.raises(ValueError, match="a conv of 0 to 3 channels"):
        _native.blank_weights(0, 3, isa)
    with pytest.raises(ValueError, match="the two canvases differ in size"):
        _native.weight_gradient(isa, canvas, other, tiles, weight, bias, scratch, 1)
    with pytest.raises(ValueError, match="position"):
        _native.weight_gradient(isa, canvas, canvas, beyond, weight, bias, scratch, 1)
    with pytest.raises(ValueError, match="a weight of 3x3x3x3, not 3x3x3x4"):
        _native.weight_gradient(isa, _native.Canvas(1, 8, 8, 4), canvas, tiles, weight, bias, scratch, 1)
    with pytest.raises(ValueError, match="has neither the pixels nor the tiles"):
        _native.multiply_gate(canvas, depths, 0, canvas, 1)
    with pytest.raises(ValueError, match="source and out differ in size"):
        _native.multiply_gate(canvas, depths, 0, other, 1)
    with pytest.raises(ValueError, match="has neither the pixels nor the tiles"):
        _native.gate_gradient(canvas, canvas, tiles, np.zeros((1, 3, 2, 1), np.float32), 1)
    with pytest.raises(ValueError, match="passed is 1x8x9x3, not 1x8x8x3"):
        _native.conv_tiles(packed, _native.Canvas(1, 8, 8, 3), canvas, tiles, scratch, 1, passed=other)
