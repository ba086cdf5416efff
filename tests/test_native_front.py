"""Head and adapter on the native engine against the definition in float64, its kernels, and what is refused."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr import Upscaler
from adadsr.errors import BackendError, InputError
from adadsr.models import Network, NetworkConfig
from adadsr.sparse import extension
from adadsr.sparse.body import Conv
from adadsr.sparse.front import Front, run_adapter, run_front, run_head
from test_gather import to_double

WHY_MISSING = extension.missing(torch.device("cpu"))
if WHY_MISSING is not None and os.environ.get("ADADSR_REQUIRE_NATIVE") != "1":
    pytest.skip(WHY_MISSING, allow_module_level=True)

from adadsr.sparse import _native  # noqa: E402
from adadsr.sparse.native_front import NativeFront  # noqa: E402
from test_native import CHANNELS, canvas_of, images_of, random_conv  # noqa: E402

ISAS = _native.isas()
KINDS = {
    "edsr": NetworkConfig("edsr", 2, 8, 3, adaptive=True),
    "rcan": NetworkConfig("rcan", 2, 8, 3, 2, adaptive=True),
    "tiles": NetworkConfig("edsr", 2, 8, 3, adaptive=True, depth_tile=4),
    "tiles of groups": NetworkConfig("rcan", 2, 8, 3, 3, adaptive=True, depth_tile=4),
}


def build_front(kind: str, n_feats: int = 8) -> Front:
    """A front whose parameters are all random: slopes of either sign."""
    torch.manual_seed(0)
    config = NetworkConfig(**(vars(KINDS[kind]) | {"n_feats": n_feats}))
    network = Network(config).requires_grad_(False)
    for name, value in network.adapter.named_parameters():
        if "activation" in name:
            value.normal_()
    return network.front()


def assert_close_to_exact(result: Tensor, plain: Tensor, exact: Tensor, factor: float) -> None:
    """Error against float64 at most `factor` times that of torch's float32, and below 1e-5 of the largest value."""
    error = (result - exact).abs().max()
    assert error <= factor * (plain - exact).abs().max() + 1e-6 * exact.abs().max()
    assert error <= 1e-5 * exact.abs().max() + 1e-7


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
@given(
    n_feats=st.sampled_from([2, 3, 8, 17, 33]),
    batch=st.integers(1, 3),
    height=st.integers(1, 19),
    width=st.integers(1, 60),
)
@settings(max_examples=15)
def test_a_front_equals_the_definition(isa: str, kind: str, n_feats: int, batch: int, height: int, width: int) -> None:
    front = build_front(kind, n_feats)
    lr, desired = torch.rand(batch, 3, height, width) * 255, torch.rand(batch) * 3
    run = NativeFront(front, isa)(lr, desired)
    exact_head, exact_adapter = to_double(front)
    assert_close_to_exact(run.z0, run_head(front.head, lr), run_head(exact_head, lr.double()), 2)
    # The scores of the same features: what the head errs by is not the adapter's.
    plain = run_adapter(front.adapter, run.z0, desired)
    exact = run_adapter(exact_adapter, run.z0.double(), desired.double())
    assert run.scores.shape == exact.shape
    assert run.scores.is_contiguous()
    assert_close_to_exact(run.scores, plain, exact, 10)


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
    exact = F.conv2d(images.double() - mean.double().view(1, -1, 1, 1), *to_double(conv), padding=1)
    assert_close_to_exact(images_of(out), F.conv2d(shifted, *conv, padding=1), exact, 2)
    assert_only_the_image_is_stored(out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("side", [1, 3, 4])
def test_embeddings_of_every_channel_count(isa: str, channels: int, side: int) -> None:
    for size in ((9, 30), (side, side), (1, 2)):
        images = torch.randn(2, channels, *size)
        weight = torch.randn(7, channels, side, side) / (side * side * channels) ** 0.5
        conv = Conv(weight, torch.randn(7))
        out = _native.Canvas(2, -(-size[0] // side), -(-size[1] // side), 7)
        packed, source = _native.EmbeddingWeights(*conv, isa), canvas_of(images)
        _native.embed(packed, source, out, _native.Scratch(), 2, slope=-0.3)

        def define(x: Tensor, conv: Conv = conv) -> Tensor:
            overhang = (0, -x.shape[3] % side, 0, -x.shape[2] % side)
            x = F.conv2d(F.pad(x, overhang, mode="replicate"), conv.weight.to(x), conv.bias.to(x), stride=side)
            return F.prelu(x, x.new_tensor([-0.3]))

        assert_close_to_exact(images_of(out), define(images), define(images.double()), 2)
        assert_only_the_image_is_stored(out)


def assert_only_the_image_is_stored(canvas: _native.Canvas) -> None:
    """What a canvas holds besides is still zero: a conv that sums all that it sees finds the image's values alone."""
    images = images_of(canvas)
    conv = Conv(torch.ones(1, images.shape[1], 3, 3), torch.zeros(1))
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


def test_a_window_of_an_image_is_read_where_it_lies() -> None:
    """As tiling does it: the strides are those of the whole image."""
    front = build_front("tiles")
    lr = torch.rand(2, 3, 40, 50) * 255
    for image in (lr, lr.contiguous(memory_format=torch.channels_last)):
        window = image[:, :, 3:22, 5:32]
        z0 = NativeFront(front)(window, None).z0
        torch.testing.assert_close(z0, run_head(front.head, window.contiguous()), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_a_window_are_those_of_the_image_to_the_last_bit(kind: str) -> None:
    """Where it reaches as far as `Adapter.reach` says, and starts at a multiple of four pixels."""
    front = build_front(kind)
    native, desired, lr = NativeFront(front), torch.tensor([2.0]), torch.rand(1, 3, 77, 90) * 255
    unit = KINDS[kind].depth_tile
    core, window = (slice(32 // unit, 52 // unit), slice(28 // unit, 60 // unit)), (slice(12, 72), slice(8, 80))
    whole, part = native(lr, desired).scores, native(lr[:, :, window[0], window[1]], desired).scores
    inside = [slice(c.start - w.start // unit, c.stop - w.start // unit) for c, w in zip(core, window, strict=True)]
    assert torch.equal(part[:, :, inside[0], inside[1]], whole[:, :, core[0], core[1]])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_returned_is_not_overwritten(kind: str) -> None:
    front = build_front(kind)
    native, desired = NativeFront(front), torch.tensor([2.0])
    images = [torch.rand(1, 3, 13, 18) * 255 for _ in range(3)]
    runs = [native(lr, desired) for lr in images]
    for run, lr in zip(runs, images, strict=True):
        for result, expected in zip(run, run_front(front, lr, desired), strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_allocated_for_a_second_image(kind: str) -> None:
    native, lr, desired = NativeFront(build_front(kind)), torch.rand(2, 3, 21, 18), torch.tensor([1.0, 2.0])
    native(lr, None)
    before = _native.allocations()
    for wanted in (desired, None, desired):
        native(lr, wanted)
    assert _native.allocations() == before
    ((_, workspace),) = native._workspaces._free
    assert workspace.bytes == native.workspace_bytes(2, 21, 18)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_allocated_for_the_second_image_of_an_upscaler(kind: str) -> None:
    """Head, adapter, body and tail together, whatever the depth."""
    torch.manual_seed(0)
    upscaler, lr = Upscaler(Network(KINDS[kind]), backend="native"), torch.rand(1, 3, 33, 42) * 255
    upscaler(lr)
    before = _native.allocations()
    for depth in (1.5, None, 3.0):
        upscaler(lr, depth=depth)
    assert _native.allocations() == before


def test_bad_images_and_depths_are_refused() -> None:
    native, lr, desired = NativeFront(build_front("tiles")), torch.zeros(2, 3, 9, 9), torch.zeros(2)
    for bad in (lr.double(), lr[:, :2], lr[0], lr[..., :0], lr.to("meta")):
        with pytest.raises(InputError, match="lr is"):
            native(bad, None)
    for depth in (desired.double(), desired[:1], desired[:, None]):
        with pytest.raises(InputError, match=r"desired_depth is .*, not \(2,\) of float32"):
            native(lr, depth)
    with pytest.raises(InputError, match="desired_depth holds a value that is not a finite number"):
        native(lr, torch.tensor([1.0, torch.nan]))
    with pytest.raises(InputError, match="there is no adapter"):
        NativeFront(build_front("tiles")._replace(adapter=None))(lr, desired)


def test_a_front_that_the_engine_cannot_run_is_refused_by_name() -> None:
    front = build_front("edsr")
    large = Conv(torch.zeros(8, 3, 5, 5), torch.zeros(8))
    with pytest.raises(BackendError, match=r"the head's conv has weights \(8, 3, 5, 5\)"):
        NativeFront(front._replace(head=front.head._replace(conv=large)))
    activated = front.adapter.rest[1]
    rest = (front.adapter.rest[0], activated._replace(conv=Conv(activated.conv.weight.double(), activated.conv.bias)))
    with pytest.raises(BackendError, match=r"conv 2 of the adapter has weights .* of torch.float64"):
        NativeFront(front._replace(adapter=front.adapter._replace(rest=rest)))
    for wrong in (front.adapter.rest[0]._replace(slope=torch.zeros(2)), front.adapter.rest[-1]):
        with pytest.raises(BackendError, match=r"conv [12] of the adapter takes \d+ channels and \d slopes"):
            NativeFront(front._replace(adapter=front.adapter._replace(rest=(wrong, wrong))))
    tiles = build_front("tiles of groups")
    with pytest.raises(BackendError, match="the adapter's first conv has weights"):
        NativeFront(front._replace(adapter=front.adapter._replace(tile=4)))
    with pytest.raises(BackendError, match="multiplies the input of an adapter for single pixels only"):
        NativeFront(tiles._replace(adapter=tiles.adapter._replace(input_times_depth=True)))


def test_bad_arguments_of_the_kernels_are_refused() -> None:
    images, conv = random_conv(5, 1, 3, 4, 9, 9)
    out, scratch, rows = _native.Canvas(1, 9, 9, 4), _native.Scratch(), images.permute(0, 2, 3, 1)
    weights = _native.HeadWeights(*conv, torch.zeros(3), "plain")
    embedding = _native.EmbeddingWeights(torch.zeros(4, 4, 4, 4), torch.zeros(4), "plain")
    tiles, source = _native.Canvas(1, 3, 3, 4), _native.Canvas(1, 9, 9, 4)
    refused = [
        lambda: _native.HeadWeights(*conv, torch.zeros(4), "plain"),
        lambda: _native.HeadWeights(torch.zeros(4, 3, 5, 5), conv.bias, torch.zeros(3), "plain"),
        lambda: _native.HeadWeights(torch.zeros(4, 1025, 3, 3), conv.bias, torch.zeros(1025), "plain"),
        lambda: _native.EmbeddingWeights(torch.zeros(4, 4, 4, 3), torch.zeros(4), "plain"),
        lambda: _native.EmbeddingWeights(torch.zeros(4, 4, 17, 17), torch.zeros(4), "plain"),
        lambda: _native.EmbeddingWeights(torch.zeros(4, 4, 4, 4), torch.zeros(3), "plain"),
        lambda: _native.head(weights, rows[..., :2], out, scratch, 1),
        lambda: _native.head(weights, rows[:, :8], out, scratch, 1),
        lambda: _native.head(weights, rows, _native.Canvas(1, 9, 9, 5), scratch, 1),
        lambda: _native.embed(embedding, source, _native.Canvas(1, 3, 2, 4), scratch, 1),
        lambda: _native.embed(embedding, source, _native.Canvas(1, 3, 3, 5), scratch, 1),
        lambda: _native.embed(embedding, _native.Canvas(1, 9, 9, 5), tiles, scratch, 1),
        lambda: source.take(torch.zeros(1, 9, 9, 4), 1, torch.zeros(2)),
    ]
    for number, call in enumerate(refused):
        with pytest.raises(ValueError):  # noqa: PT011
            print(number, call())
    for call in (
        lambda: _native.head(weights, rows.double(), out, scratch, 1),
        lambda: source.take(torch.zeros(1, 9, 9, 4), 1, torch.zeros(1).double()),
    ):
        with pytest.raises(TypeError):
            call()
