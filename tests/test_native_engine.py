"""The native engine: what it shares between runs, what decides its last bits, and the networks that it refuses."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adadsr.backends import DepthMap, to_numpy
from adadsr.errors import BackendError, InputError
from adadsr.geometry import Box
from adadsr.graph import Attention, ConvWeights, GroupWeights, HeadWeights, NetworkWeights
from adadsr.tensor_ops import OPS, TensorOps
from engine_samples import assert_as_exact_as_float32, defined, run
from graph_samples import KINDS, OTHER_KINDS, Array32, build, config_of, depth_map_of, lr_images, network_of, tensors
from native_samples import ISAS, _native

# isort: split
from adadsr.backends.native import chain_tail, wavefront, workspaces
from adadsr.backends.native.engine import NativeEngine
from adadsr.backends.native.tile_threshold import TileThreshold
from adadsr.backends.native.workspaces import Lease, Needs, Size

adaptive_kind = pytest.mark.parametrize(("backbone", "tile"), KINDS)
every_kind = pytest.mark.parametrize(("backbone", "tile"), [*KINDS, *OTHER_KINDS])
seeds = st.integers(0, 2**31)


FEATURES = {"edsr": 32}
"""Of a backbone whose convs are split where there is AMX; others have 8."""


def engine_of(backbone: str, tile: int, isa: str | None = None, threads: int = 2) -> NativeEngine:
    return NativeEngine(build(backbone, tile, FEATURES.get(backbone, 8)), threads, isa)


def check(engine: NativeEngine, lr: Array32, depth_map: DepthMap | None) -> None:
    exact, plain = (defined(engine.network, lr, depth_map, dtype) for dtype in (torch.float64, torch.float32))
    assert_as_exact_as_float32(run(engine, lr, depth_map), plain, exact, engine)


@pytest.mark.parametrize("isa", ISAS)
@every_kind
def test_every_instruction_set_equals_the_definition(isa: str, backbone: str, tile: int) -> None:
    engine = engine_of(backbone, tile, isa)
    for seed, (height, width) in enumerate([(1, 1), (7, 18), (13, 11)]):
        lr, depth_map = lr_images(seed, 2, height, width), depth_map_of(engine.network, seed, 2, height, width)
        check(engine, lr, None)
        check(engine, lr, depth_map)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("backbone", ["edsr", "esrgan", "compact"])
@settings(max_examples=8)
@given(seed=seeds, height=st.integers(1, 40), width=st.integers(1, 40), size=st.sampled_from([1, 2**20]))
def test_tails_of_every_scale(
    isa: str, scale: int, backbone: str, seed: int, height: int, width: int, size: int
) -> None:
    """However many rows the convs of ESRGAN's and Compact's advance at a time; EDSR's is one conv."""
    config = config_of(backbone, 4 if backbone == "edsr" else 1, FEATURES.get(backbone, 5), scale)
    engine = NativeEngine(network_of(config), 2, isa)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_tail, "WINDOW_BYTES", size)
        check(engine, lr_images(seed, 2, height, width), None)


class Rounding(TensorOps):
    """3x3 convs of factors rounded to bfloat16, for the body."""

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
        if weight.shape[-1] == 3:
            x, weight = (each.bfloat16().to(each.dtype) for each in (x, weight))
        return super().conv(x, weight, bias, stride)


def bfloat16_engine(network: NetworkWeights) -> NativeEngine:
    if _native.bf16_isa() is None:
        pytest.skip("needs AMX")
    return NativeEngine(network, 2, "amx", "bfloat16")


@pytest.mark.parametrize(("backbone", "tile"), [kind for kind in [*KINDS, *OTHER_KINDS] if kind[0] != "esrgan"])
def test_in_bfloat16_the_body_multiplies_rounded_factors(backbone: str, tile: int) -> None:
    """Apart from features near a rounding boundary: sums here are float32, there float64.

    Without ESRGAN, whose packed weights contain a factor.
    """
    engine = bfloat16_engine(build(backbone, tile, 24))
    engine.threshold = TileThreshold(0.0, False)  # single pixels do not round
    lr = lr_images(4, 2, 13, 18)
    z0 = engine.features(lr)
    body, start = tensors(engine.network, torch.float64).body, torch.from_numpy(to_numpy(z0.data.images)).double()
    for depth_map in (None, depth_map_of(engine.network, 4, 2, 13, 18)):
        depths = None if depth_map is None else torch.from_numpy(depth_map).double()
        exact, rounded = (
            body.run(ops, start.permute(0, 3, 1, 2), depths).permute(0, 2, 3, 1).numpy() for ops in (OPS, Rounding())
        )
        found = engine.body(z0, depth_map).data.images
        cost = np.square(rounded - exact).mean()
        assert 0 < np.square(found - rounded).mean() < 0.1 * cost


@every_kind
def test_bfloat16_is_close_and_changes_neither_scores_nor_costs(backbone: str, tile: int) -> None:
    """Error against float64 at most that of the definition in bfloat16, whose skips and pixels are rounded, too."""
    exact, half = engine_of(backbone, tile), bfloat16_engine(engine_of(backbone, tile).network)
    lr, depth_map = lr_images(5, 2, 21, 18), depth_map_of(exact.network, 5, 2, 21, 18)
    wide, dense = (defined(exact.network, lr, depth_map, dtype) for dtype in (torch.float64, torch.bfloat16))
    assert np.abs(run(half, lr, depth_map) - wide).max() <= np.abs(dense - wide).max()
    assert "amx-bf16" in half.variant
    z0 = half.features(lr)
    assert half.body(z0, depth_map).macs == exact.body(exact.features(lr), depth_map).macs
    if exact.adapter is not None:
        np.testing.assert_array_equal(half.scores(z0, 2.0), exact.scores(exact.features(lr), 2.0))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("backbone", ["edsr", "esrgan", "compact"])
def test_tails_of_every_scale_in_bfloat16(scale: int, backbone: str) -> None:
    network = network_of(config_of(backbone, 4 if backbone == "edsr" else 1, 5, scale))
    lr = lr_images(6, 2, 13, 9)
    wide, dense = (defined(network, lr, None, dtype) for dtype in (torch.float64, torch.bfloat16))
    assert np.abs(run(bfloat16_engine(network), lr, None) - wide).max() <= np.abs(dense - wide).max()


def test_bfloat16_needs_amx() -> None:
    with pytest.raises(BackendError, match="bfloat16 on AMX only, and it runs on plain here; use float32"):
        NativeEngine(build("edsr", 4, 8), 2, "plain", "bfloat16")
    with pytest.raises(BackendError, match="precision='float16' is not one of float32, bfloat16"):
        NativeEngine(build("edsr", 4, 8), 2, precision="float16")


@pytest.mark.parametrize("band", [1, 5000, 20_000])
@pytest.mark.parametrize(("backbone", "tile"), [("edsr", 4), ("esrgan", 4), ("esrgan", 1), ("compact", 1)])
@settings(max_examples=20)
@given(seed=seeds, batch=st.integers(1, 2), height=st.integers(1, 45), width=st.integers(1, 18))
def test_blocks_that_advance_together_equal_one_after_the_other(
    band: int, backbone: str, tile: int, seed: int, batch: int, height: int, width: int
) -> None:
    """Bit for bit: a band changes the order of convs, not what they see."""
    engine = engine_of(backbone, tile)
    lr = lr_images(seed, batch, height, width)
    for depth_map in (depth_map_of(engine.network, seed, batch, height, width), None):
        expected = run(engine, lr, depth_map)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wavefront, "BAND_BYTES", band)
            np.testing.assert_array_equal(run(engine, lr, depth_map), expected)


@pytest.mark.parametrize("pixels", [0.0, 3.0, 16.0])
def test_both_algorithms_give_the_same_network(pixels: float) -> None:
    engine = engine_of("rcan", 1)
    engine.threshold = TileThreshold(pixels, False)
    check(engine, lr_images(8, 2, 13, 11), depth_map_of(engine.network, 8, 2, 13, 11))


@every_kind
def test_what_ran_before_leaves_no_trace(backbone: str, tile: int) -> None:
    """Deeper and shallower maps, and features that are NaN."""
    engine, fresh = engine_of(backbone, tile), engine_of(backbone, tile)
    lr, depth_map = lr_images(3, 1, 21, 18), depth_map_of(engine.network, 3, 1, 21, 18)
    expected = run(fresh, lr, depth_map)
    run(engine, np.full_like(lr, np.nan), None)
    for depths in (depth_map, None, depth_map * np.float32(0.4)):
        run(engine, lr, depths)
    np.testing.assert_array_equal(run(engine, lr, depth_map), expected)


@every_kind
def test_nothing_is_allocated_for_a_second_image_and_all_of_it_was_announced(backbone: str, tile: int) -> None:
    engine, lr = engine_of(backbone, tile), lr_images(1, 1, 37, 30)
    depth_map = depth_map_of(engine.network, 1, 1, 37, 30)

    def run_all(depths: DepthMap | None) -> None:
        z0 = engine.features(lr)
        if engine.adapter is not None:
            engine.scores(z0, 2.0)
        engine.tail(engine.body(z0, depths), Box(0, 0, 37, 30))

    run_all(depth_map * np.float32(0.3))
    before = _native.allocations()
    for depths in (depth_map, None, depth_map):
        run_all(depths)
    assert _native.allocations() == before
    assert allocated_by(engine) <= engine.footprint(37, 30)


def allocated_by(engine: NativeEngine) -> int:
    """Bytes of what the engine keeps for its next image."""
    total = sum(canvas.bytes for _, canvas in engine._memory._canvases)
    for _, lists in engine._memory._lists:
        total += sum(part.bytes for part in (*lists.positions, *lists.depths, lists.scratch))
    return total


@every_kind
def test_memory_in_bfloat16_was_announced_and_is_used_again(backbone: str, tile: int) -> None:
    """Also where canvases of a run with a depth map hold more than those of one without."""
    engine, lr = bfloat16_engine(engine_of(backbone, tile).network), lr_images(1, 1, 37, 30)
    depth_map = None if engine.adapter is None else depth_map_of(engine.network, 1, 1, 37, 30)
    for depths in (depth_map, None):
        for _ in range(2):
            before = _native.allocations()
            engine.tail(engine.body(engine.features(lr), depths), Box(0, 0, 37, 30))
        assert _native.allocations() == before
        assert allocated_by(engine) <= engine.footprint(37, 30)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("backbone", ["esrgan", "compact"])
@settings(max_examples=10)
@given(seed=seeds, height=st.integers(25, 80), width=st.integers(1, 30), data=st.data())
def test_a_window_that_moves_changes_nothing(
    backbone: str, scale: int, precision: str, seed: int, height: int, width: int, data: st.DataObject
) -> None:
    """Not a bit of any box, and a second run allocates nothing."""
    network = network_of(config_of(backbone, 1, 8, scale))
    engine = NativeEngine(network, 2) if precision == "float32" else bfloat16_engine(network)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(top, left, data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width)))
    z, whole = engine.body(engine.features(lr_images(seed, 2, height, width))), Box(0, 0, height, width)
    expected = engine.tail(z, whole)
    with pytest.MonkeyPatch.context() as patch:
        size = data.draw(st.sampled_from([1, 2**20]))
        patch.setattr(chain_tail, "WINDOW_BYTES", size)
        if size == 1 and height >= 28:
            assert engine.packed_tail.window((height, width))[0] < height
        assert (engine.tail(z, whole) == expected).all()
        rows, columns = box.scaled(scale).slices
        assert (engine.tail(z, box) == expected[:, rows, columns]).all()
        before = _native.allocations()
        engine.tail(z, box)
        assert _native.allocations() == before


@pytest.mark.parametrize("scale", [2, 4])
@every_kind
def test_the_footprint_is_what_is_allocated(
    backbone: str, tile: int, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, but for canvases of one part that another uses again."""
    config = config_of(backbone, tile, FEATURES.get(backbone, 8), scale)
    engine, lr = NativeEngine(network_of(config), 2), lr_images(1, 2, 37, 30)
    canvases: dict[int, _native.Canvas] = {}
    lease_canvas = engine._memory._canvas

    def recorded(size: Size) -> Lease:
        lease = lease_canvas(size)
        canvases[id(lease.canvas)] = lease.canvas
        return lease

    monkeypatch.setattr(engine._memory, "_canvas", recorded)
    z0 = engine.features(lr)
    if engine.adapter is not None:
        engine.scores(z0, 2.0)
    z = engine.body(z0, depth_map_of(engine.network, 1, 2, 37, 30))
    sr = engine.tail(z, Box(0, 0, 37, 30))
    lists = [part for _, each in engine._memory._lists for part in (*each.positions, *each.depths, each.scratch)]
    allocated = sum(canvas.bytes for canvas in canvases.values())
    wanted = sum(Needs(needs.canvases).bytes for needs, _ in engine._memory._lists)
    assert allocated <= wanted
    assert engine.footprint(37, 30, 2) == wanted + sum(part.bytes for part in lists) + sr.nbytes


def test_memory_of_images_of_other_sizes_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspaces, "KEPT_BYTES", 200_000)
    engine = engine_of("edsr", 4)
    for height in range(10, 60):
        engine.body(engine.features(lr_images(0, 1, height, 20)))
    assert len(engine._memory._lists) <= workspaces.KEPT_LISTS
    assert 0 < sum(canvas.bytes for _, canvas in engine._memory._canvases) <= 200_000


def test_an_interruption_leaves_the_engine_usable() -> None:
    engine, lr = engine_of("edsr", 4), lr_images(0, 1, 21, 18)
    depth_map = depth_map_of(engine.network, 0, 1, 21, 18)
    expected = run(engine, lr, depth_map)

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.body(engine.features(lr), depth_map, interrupt)
    np.testing.assert_array_equal(run(engine, lr, depth_map), expected)


def test_untouched_pixels_keep_their_features() -> None:
    network, lr = build("edsr", 1), lr_images(6, 1, 16, 16)
    depth_map = depth_map_of(network, 6, 1, 16, 16)
    depth_map[..., :8] = 0
    identity = np.zeros((8, 8, 3, 3), np.float32)
    identity[:, :, 1, 1] = np.eye(8)
    closing = ConvWeights(identity, np.zeros(8, np.float32))
    engine = NativeEngine(network._replace(body=network.body._replace(conv=closing)), 2)
    z0 = engine.features(lr)
    z = engine.body(z0, depth_map)
    change = np.abs(z.data.images - 2 * z0.data.images)
    assert change[:, :, :8].max() < 1e-4
    assert change[:, :, 8:].max() > 1


def test_what_a_run_returned_is_not_overwritten() -> None:
    engine = engine_of("edsr", 4)
    images = [lr_images(seed, 1, 12, 14) for seed in range(3)]
    features = [engine.body(engine.features(lr)) for lr in images]
    results = [engine.tail(z, Box(0, 0, 12, 14)) for z in features]
    for lr, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result, run(engine_of("edsr", 4), lr, None))


def test_a_forked_process_can_run() -> None:
    engine, lr = engine_of("edsr", 4), lr_images(1, 1, 30, 30)
    before = run(engine, lr, None)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(run(engine, lr, None), before) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("attempt", range(3))
def test_a_process_ends_while_daemon_threads_run(attempt: int) -> None:
    script = """
import threading, time
import numpy as np
from adadsr.backends.native import _native
images, canvas = np.zeros((1, 64, 64, 16), np.float32), _native.Canvas(1, 64, 64, 16)
def work():
    while True:
        canvas.copy_from(images, 1)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


@every_kind
def test_threads_change_no_bit(backbone: str, tile: int) -> None:
    lr, depth_map = lr_images(6, 1, 33, 40), depth_map_of(build(backbone, tile), 6, 1, 33, 40)
    results = [run(engine_of(backbone, tile, threads=threads), lr, depth_map) for threads in (1, 2, 3)]
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@adaptive_kind
def test_the_scores_of_a_window_are_those_of_the_image_to_the_last_bit(backbone: str, tile: int) -> None:
    """Where it reaches as far as the adapter and the head do, and starts at a multiple of four pixels."""
    engine, lr = engine_of(backbone, tile), lr_images(2, 1, 77, 90)
    whole = engine.scores(engine.features(lr), 2.0)
    window, core = Box(12, 8, 72, 80), Box(32, 28, 52, 60)
    part = engine.scores(engine.features(lr[:, window.top : window.bottom, window.left : window.right]), 2.0)
    inside = core.relative_to(window).coarse(tile)
    np.testing.assert_array_equal(inside.of(part), core.coarse(tile).of(whole))


@pytest.mark.parametrize("isa", ISAS)
def test_the_environment_chooses_the_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADADSR_ISA", isa)
    assert engine_of("edsr", 4).variant == isa


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADADSR_ISA", "mmx")
    with pytest.raises(InputError, match=r"ADADSR_ISA=mmx .*plain"):
        engine_of("edsr", 4)
    with pytest.raises(BackendError, match=r"'sse' .*plain"):
        NativeEngine(build("edsr"), threads=1, isa="sse")


def test_the_variant_names_the_threshold_of_pixel_masks() -> None:
    assert engine_of("edsr", 1).variant.startswith(f"{ISAS[0]}, whole tiles above ")


def conv(*shape: int) -> ConvWeights:
    return ConvWeights(np.zeros(shape, np.float32), np.zeros(shape[0], np.float32))


def with_block(network: NetworkWeights, number: int, **parts: object) -> NetworkWeights:
    """The network with other parts in one block of its first group."""
    group = network.body.groups[0]
    blocks = [block._replace(**parts) if index == number else block for index, block in enumerate(group.blocks)]
    return network._replace(body=network.body._replace(groups=(group._replace(blocks=tuple(blocks)),)))


EDSR, RCAN_TILES, ESRGAN, COMPACT = build("edsr", 1), build("rcan", 4), build("esrgan"), build("compact")
REFUSED = {
    r"a conv of block 1 of group 0 has weights \(8, 8, 5, 5\)": with_block(EDSR, 1, conv2=conv(8, 8, 5, 5)),
    r"block 0 of group 0 has weights \(8, 7, 3, 3\); .* needs \(8, 8, 3, 3\)": with_block(
        EDSR, 0, conv1=conv(8, 7, 3, 3)
    ),
    r"attention of block 0 of group 0 has weights \(2, 9, 1, 1\)": with_block(
        EDSR, 0, attention=Attention(conv(2, 9, 1, 1), conv(9, 2, 1, 1))
    ),
    r"a depth_tile of 1 or 4, not 2": EDSR._replace(body=EDSR.body._replace(depth_tile=2)),
    r"bodies that end in a 3x3 conv and a skip": EDSR._replace(body=EDSR.body._replace(conv=None)),
    r"the head's conv has weights \(8, 3, 5, 5\)": EDSR._replace(head=EDSR.head._replace(conv=conv(8, 3, 5, 5))),
    r"in 0\.\.255; choose another backend": EDSR._replace(head=HeadWeights(EDSR.head.conv, range=1.0)),
    r"conv 2 of the tail has weights \(3, 8, 1, 1\)": EDSR._replace(tail=EDSR.tail._replace(last=conv(3, 8, 1, 1))),
    r"the adapter's first conv has weights": EDSR._replace(adapter=EDSR.adapter._replace(tile=4)),
    r"multiplies the input of an adapter for single pixels only": RCAN_TILES._replace(
        adapter=RCAN_TILES.adapter._replace(input_times_depth=True)
    ),
    r"conv 1 of the adapter takes \d+ channels and 2 slopes": EDSR._replace(
        adapter=EDSR.adapter._replace(
            rest=(EDSR.adapter.rest[0]._replace(slope=np.zeros(2, np.float32)), *EDSR.adapter.rest[1:])
        )
    ),
    r"block 0 of group 0 is a ResidualDenseBlock": ESRGAN._replace(
        body=ESRGAN.body._replace(groups=(GroupWeights((*ESRGAN.body.blocks, *EDSR.body.blocks)),))
    ),
    r"conv 2 of chain 1 of block 1 has weights \(4, 8, 3, 3\); .* needs \(8, 12, 3, 3\)": with_block(
        ESRGAN, 1, chains=((conv(4, 8, 3, 3), conv(4, 8, 3, 3)),) * 3
    ),
    r"block 1 has 2 chains, block 0 has 3": with_block(ESRGAN, 1, chains=ESRGAN.body.blocks[1].chains[:2]),
    r"the conv of block 1 has weights \(8, 9, 3, 3\)": with_block(COMPACT, 1, conv=conv(8, 9, 3, 3)),
    r"the conv of block 2 has slopes \(1,\) of float32, not \(8,\)": with_block(
        COMPACT, 2, slope=np.zeros(1, np.float32)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_network_that_the_engine_cannot_run_is_refused_by_name(message: str) -> None:
    with pytest.raises(BackendError, match=message):
        NativeEngine(REFUSED[message], 1)


def test_weights_of_another_type_are_refused() -> None:
    double = ConvWeights(*(part.astype(np.float64) for part in EDSR.body.conv))
    with pytest.raises(BackendError, match=r"the closing conv has weights .* of float64"):
        NativeEngine(EDSR._replace(body=EDSR.body._replace(conv=double)), 1)
