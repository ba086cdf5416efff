"""The native engine: its kernels against torch's convs in float64, its passes against the definition."""

import os
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from adadsr.errors import BackendError, InputError
from adadsr.models import Network, NetworkConfig
from adadsr.sparse import extension
from adadsr.sparse.backends import choose_backend
from adadsr.sparse.body import Conv, Tail, body_macs
from adadsr.sparse.reference import run_reference, run_tail
from test_gather import BLOCKS, KINDS, build_body, sample, to_double

WHY_MISSING = extension.missing(torch.device("cpu"))
if WHY_MISSING is not None and os.environ.get("ADADSR_REQUIRE_NATIVE") != "1":
    pytest.skip(WHY_MISSING, allow_module_level=True)

from adadsr.sparse import _native, native_tail  # noqa: E402
from adadsr.sparse.native import NativeBody  # noqa: E402

ISAS = _native.isas()
CHANNELS = [1, 2, 3, 7, 8, 16, 17, 31, 32, 33, 48, 64, 100, 257]


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


def assert_error(result: Tensor, images: Tensor, conv: Conv, factor: float) -> None:
    """Error against float64 at most `factor` times that of torch's float32, and below 1e-5 of the largest value."""
    exact = exact_conv(images, conv)
    error = (result - exact).abs().max()
    plain = (F.conv2d(images, conv.weight, conv.bias, padding=1) - exact).abs().max()
    assert error <= factor * plain + 1e-6
    assert error <= 1e-5 * exact.abs().max() + 1e-7


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_convs_of_every_channel_count(isa: str, channels: int) -> None:
    for out in (1, channels, 3):
        images, conv = random_conv(channels, 1, channels, out, 9, 6)
        assert_error(run_tiles(images, conv, isa), images, conv, 10)
        assert_error(run_pixels(images, conv, isa), images, conv, 2)


@pytest.mark.parametrize("isa", ISAS)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    channels=st.integers(1, 40),
    out=st.integers(1, 40),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
)
@settings(max_examples=40)
def test_convs_of_every_size(isa: str, seed: int, batch: int, channels: int, out: int, height: int, width: int) -> None:
    images, conv = random_conv(seed, batch, channels, out, height, width)
    assert_error(run_tiles(images, conv, isa), images, conv, 10)
    assert_error(run_pixels(images, conv, isa), images, conv, 2)


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


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 3), height=st.integers(1, 18), width=st.integers(1, 18))
@settings(max_examples=15)
def test_a_body_equals_the_definition_and_counts_what_is_priced(
    isa: str, backbone: str, depth_tile: int, seed: int, batch: int, height: int, width: int
) -> None:
    body = build_body(backbone, depth_tile)
    native = NativeBody(body, isa)
    z0, depth_map = sample(body, seed, batch, height, width)
    for depth in (depth_map, None):
        exact = run_reference(to_double(body), z0.double(), None if depth is None else depth.double())
        plain = (run_reference(body, z0, depth) - exact).abs().max()
        run = native(z0, depth)
        assert (run.z - exact).abs().max() <= 10 * plain + 1e-6
        assert run.macs == body_macs(body, depth, batch, height, width)


@pytest.mark.parametrize("band", [1, 5000, 20_000])
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 2), height=st.integers(1, 45), width=st.integers(1, 18))
@settings(max_examples=25)
def test_blocks_that_advance_together_equal_one_after_the_other(
    band: int, seed: int, batch: int, height: int, width: int
) -> None:
    """Bit for bit: a band changes the order of convs, not what they see."""
    body = build_body("edsr", 4)
    native = NativeBody(body)
    z0, depth_map = sample(body, seed, batch, height, width)
    for depth in (depth_map, None):
        expected = native(z0, depth)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("adadsr.sparse.native_pass.BAND_BYTES", band)
            run = native(z0, depth)
        assert torch.equal(run.z, expected.z)
        assert run.macs == expected.macs


@pytest.mark.parametrize("worth", [0.0, 3.0, 16.0])
def test_both_algorithms_give_the_same_body(worth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adadsr.sparse.native_pass.tile_worth", lambda *arguments: worth)
    body = build_body("rcan", 1)
    z0, depth_map = sample(body, 8, 2, 13, 11)
    torch.testing.assert_close(NativeBody(body)(z0, depth_map).z, run_reference(body, z0, depth_map), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_a_body_runs_again_after_deeper_and_shallower_maps(backbone: str, depth_tile: int) -> None:
    """Nothing of a run stays in the workspace that the next one uses."""
    body = build_body(backbone, depth_tile)
    native = NativeBody(body)
    for seed in range(4):
        z0, depth_map = sample(body, seed, 1, 12, 14)
        for depth in (depth_map, None, depth_map * 0.4):
            torch.testing.assert_close(native(z0, depth).z, run_reference(body, z0, depth), rtol=0, atol=1e-5)


def build_tail(scale: int, n_feats: int) -> Tail:
    torch.manual_seed(0)
    return Network(NetworkConfig("edsr", scale, n_feats, 1)).requires_grad_(False).tail.tensors()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("scale", [2, 3, 4])
@given(
    channels=st.sampled_from([2, 5, 16, 19]),
    batch=st.integers(1, 2),
    height=st.integers(1, 20),
    width=st.integers(1, 9),
    step=st.sampled_from([1, 200, 2**14]),
)
@settings(max_examples=12)
def test_a_tail_equals_the_definition(
    isa: str, scale: int, channels: int, batch: int, height: int, width: int, step: int
) -> None:
    tail = build_tail(scale, channels)
    z = torch.randn(batch, channels, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_tail, "STEP_PIXELS", step)
        result = native_tail.NativeTail(tail, isa)(z)
    doubled = Tail(*(to_double(part) if index != 1 else part for index, part in enumerate(tail)))
    exact = run_tail(doubled, z.double())
    assert (result - exact).abs().max() <= 10 * (run_tail(tail, z) - exact).abs().max() + 1e-6


def test_a_tail_that_the_engine_cannot_run_is_refused() -> None:
    tail = build_tail(2, 4)
    with pytest.raises(BackendError, match=r"a conv of the tail has weights \(3, 4, 1, 1\)"):
        native_tail.NativeTail(tail._replace(last=Conv(torch.zeros(3, 4, 1, 1), torch.zeros(3))))
    with pytest.raises(InputError, match="z is"):
        native_tail.NativeTail(tail)(torch.zeros(1, 5, 8, 8))


def test_threads_may_share_a_body() -> None:
    body = build_body("rcan", 1, n_feats=16)
    native = NativeBody(body)
    cases = [sample(body, seed, 1, 20 + seed % 2, 24) for seed in range(8)]
    results: dict[int, Tensor] = {}

    def work(first: int) -> None:
        for index in range(first, len(cases), 2):
            for _ in range(5):
                results[index] = native(*cases[index]).z

    workers = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, case in enumerate(cases):
        torch.testing.assert_close(results[index], run_reference(body, *case), rtol=0, atol=1e-5)


def test_a_forked_process_can_run_a_body() -> None:
    body = build_body("edsr", 4)
    native, (z0, depth_map) = NativeBody(body), sample(body, 1, 1, 30, 30)
    before = native(z0, depth_map).z
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(native(z0, depth_map).z, before) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_nothing_is_allocated_for_a_second_image() -> None:
    body = build_body("rcan", 4)
    native, (z0, depth_map) = NativeBody(body), sample(body, 1, 1, 30, 30)
    native(z0, None)
    ((_, workspace),) = native._workspaces._free
    size = workspace.bytes
    native(z0, depth_map)
    assert native._workspaces._free == [((1, 30, 30), workspace)]
    assert workspace.bytes == size


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_the_size_of_a_workspace_is_known_in_advance(backbone: str, depth_tile: int) -> None:
    body = build_body(backbone, depth_tile)
    native = NativeBody(body)
    z0, depth_map = sample(body, 1, 2, 37, 30)
    wanted = native.workspace_bytes(2, 37, 30)
    native(z0, depth_map + 1)
    ((_, workspace),) = native._workspaces._free
    assert workspace.bytes == wanted


@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_chooses_the_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADADSR_ISA", isa)
    assert NativeBody(build_body("edsr", 4)).isa == isa


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADADSR_ISA", "mmx")
    with pytest.raises(BackendError, match=r"'mmx' is not one of this machine's: .*plain"):
        NativeBody(build_body("edsr", 4))


def test_a_backend_says_why_it_cannot_run() -> None:
    with pytest.raises(BackendError, match="backend 'native' cannot run on meta: it runs on the CPU only"):
        choose_backend("native", torch.device("meta"))


def test_a_body_that_the_engine_cannot_run_is_refused_by_name() -> None:
    body = build_body("edsr", 4)
    (group,) = body.groups
    large = Conv(torch.zeros(8, 8, 5, 5), torch.zeros(8))
    blocks = (group.blocks[0], group.blocks[1]._replace(conv2=large), group.blocks[2])
    with pytest.raises(BackendError, match=r"a conv of block 1 of group 0 has weights \(8, 8, 5, 5\)"):
        NativeBody(body._replace(groups=(group._replace(blocks=blocks),)))
    with pytest.raises(BackendError, match="a depth_tile of 1 or 4, not 2"):
        NativeBody(body._replace(depth_tile=2))


def test_bad_features_and_depth_maps_are_refused() -> None:
    body = build_body("edsr", 4)
    native, (z0, depth_map) = NativeBody(body), sample(body, 1, 1, 9, 9)
    for bad in (z0.double(), z0[:, :7], z0[0], z0[..., :0]):
        with pytest.raises(InputError, match="z0 is"):
            native(bad, None)
    for bad in (depth_map.double(), depth_map[..., :2], torch.zeros(1, 1, 9, 9), depth_map[0]):
        with pytest.raises(InputError, match="depth_map is"):
            native(z0, bad)
    depth_map[..., 1, 1] = torch.nan
    with pytest.raises(ValueError, match="not a number"):
        native(z0, depth_map)
    assert native(z0.expand(2, -1, -1, -1)[:1].transpose(2, 3), None).z.shape == z0.shape


def test_bad_arguments_of_the_kernels_are_refused() -> None:
    images, conv = random_conv(5, 1, 4, 4, 9, 9)
    source, out, scratch = canvas_of(images), canvas_of(images), _native.Scratch()
    tiles, pixels = _native.TileWeights(*conv, "plain"), _native.PixelWeights(*conv, "plain")
    everywhere, other = _native.Positions.all(9), _native.Canvas(1, 9, 8, 4)
    per_tile = _native.Depths(torch.zeros(1, 3, 3))
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
        lambda: _native.sum_positions(out, everywhere, _native.Positions.all(82), scratch, 1),
        lambda: _native.add_scaled(out, source, torch.zeros(1, 5), everywhere, everywhere, 1),
        lambda: _native.add_scaled(out, out, torch.zeros(1, 4), everywhere, everywhere, 1),
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
        lambda: _native.select_within(everywhere, 0, 3, everywhere),
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


def test_untouched_pixels_keep_their_features_and_threads_change_nothing() -> None:
    body = build_body("edsr", 1)
    z0, depth_map = sample(body, 6, 1, 16, 16)
    depth_map[..., :8] = 0
    identity = torch.zeros_like(body.conv.weight)
    identity[:, :, 1, 1] = torch.eye(8)
    native = NativeBody(body._replace(conv=Conv(identity, torch.zeros(8))))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(native(z0, depth_map.clamp_max(BLOCKS)).z)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(results[0][..., :8], 2 * z0[..., :8], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=1e-5)
