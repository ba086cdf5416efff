"""The Triton engine's body against the definition, and that nothing waits for the device."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adadsr.backends.gpu.body import BodyPlan, TritonBody, pack_body
from adadsr.backends.gpu.engine import TritonEngine
from adadsr.backends.gpu.launch import INTERPRETED
from adadsr.errors import BackendError, InputError
from adadsr.graph import Attention, BodyWeights, ConvWeights, map_arrays
from adadsr.graph.price import body_macs
from gpu_samples import DEVICE, HALF, UNTIMED, no_waiting
from graph_samples import (
    BLOCKS,
    RESIDUAL_KINDS,
    Array32,
    assert_as_exact_as_dense,
    build,
    depth_map_of,
    lr_images,
    tensors,
    z0_of,
)

kinds = pytest.mark.parametrize(("backbone", "depth_tile"), RESIDUAL_KINDS)
tiles = pytest.mark.parametrize("depth_tile", [1, 4])


def on_device(part: Any, dtype: torch.dtype = torch.float32) -> Any:
    return tensors(part, dtype, DEVICE.type)


def run(body: BodyWeights, z0: Array32, depth_map: Array32 | None, plan: BodyPlan | None = None) -> Tensor:
    ours = TritonBody(on_device(body), UNTIMED, "ieee")
    depths = None if depth_map is None else on_device(depth_map)
    return ours.run(on_device(z0), depths, ours.sparse_plan if plan is None else plan)


def plan_of(body: BodyWeights, first: int, second: int) -> BodyPlan:
    """This many dense convs in each group."""
    return BodyPlan((first,) * len(body.groups), (second,) * len(body.groups))


@tiles
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 2), height=st.integers(1, 10), width=st.integers(1, 10))
def test_equals_the_definition(depth_tile: int, seed: int, batch: int, height: int, width: int) -> None:
    network = build("edsr", depth_tile)
    z0, depth_map = (make(network, seed, batch, height, width) for make in (z0_of, depth_map_of))
    assert_as_exact_as_dense(run(network.body, z0, depth_map), network.body, z0, depth_map)


@kinds
def test_a_batch_of_different_masks(backbone: str, depth_tile: int) -> None:
    network = build(backbone, depth_tile, n_feats=5)
    z0, depth_map = z0_of(network, 8, 3, 7, 9), depth_map_of(network, 8, 3, 7, 9)
    depth_map[1], depth_map[2] = 0, BLOCKS
    assert_as_exact_as_dense(run(network.body, z0, depth_map), network.body, z0, depth_map)


@kinds
def test_any_plan_gives_the_same(backbone: str, depth_tile: int) -> None:
    """Dense and sparse convs follow each other in any order."""
    network = build(backbone, depth_tile)
    body, z0, depth_map = network.body, z0_of(network, 9, 1, 7, 6), depth_map_of(network, 9, 1, 7, 6)
    for first, second in ((1, 2), (2, 0), (BLOCKS, BLOCKS)):
        assert_as_exact_as_dense(run(body, z0, depth_map, plan_of(body, first, second)), body, z0, depth_map)
    assert_as_exact_as_dense(run(body, z0, None, plan_of(body, BLOCKS, 0)), body, z0, None)


@kinds
def test_a_mixed_plan_reads_nothing_that_nobody_wrote(
    backbone: str, depth_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that was not written holds what was there before; here that is NaN."""
    network = build(backbone, depth_tile)
    body, z0, depth_map = network.body, z0_of(network, 10, 1, 7, 6), depth_map_of(network, 10, 1, 7, 6)
    for name in ("empty_like", "empty"):
        allocate = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *given, allocate=allocate, **also: _poisoned(allocate(*given, **also)))
    for first, second in ((0, 2), (1, BLOCKS), (2, 0)):
        assert torch.isfinite(run(body, z0, depth_map, plan_of(body, first, second))).all()


def _poisoned(tensor: Tensor) -> Tensor:
    return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor


@tiles
@pytest.mark.parametrize("closing", [True, False])
def test_groups_without_attention(depth_tile: int, closing: bool) -> None:
    """No network here has them, nor one without closing convs; a body may."""
    network = build("rcan", depth_tile)
    groups = tuple(
        group._replace(
            blocks=tuple(block._replace(attention=None) for block in group.blocks),  # type: ignore[attr-defined]
            conv=group.conv if closing else None,
        )
        for group in network.body.groups
    )
    body = network.body._replace(groups=groups, conv=network.body.conv if closing else None)
    z0, depth_map = z0_of(network, 13, 1, 5, 6), depth_map_of(network, 13, 1, 5, 6)
    assert_as_exact_as_dense(run(body, z0, depth_map), body, z0, depth_map)


@tiles
def test_full_depth_is_the_plain_body(depth_tile: int) -> None:
    network = build("edsr", depth_tile)
    z0 = z0_of(network, 1, 2, 9, 10)
    assert_as_exact_as_dense(run(network.body, z0, None), network.body, z0, None)


@pytest.mark.parametrize("dtype", HALF)
@tiles
def test_half_precision(depth_tile: int, dtype: torch.dtype) -> None:
    """Error against float64 at most twice that of the dense computation in the same type.

    The interpreter cuts bfloat16 off instead of rounding it, which errs twice as much.
    """
    network = build("edsr", depth_tile, n_feats=16)
    z0, depth_map = z0_of(network, 10, 1, 9, 10), depth_map_of(network, 10, 1, 9, 10)
    ours = TritonBody(on_device(network.body, dtype), UNTIMED)
    z = ours.run(on_device(z0, dtype), on_device(depth_map), ours.sparse_plan)
    assert z.dtype == dtype
    factor = 4 if INTERPRETED and dtype == torch.bfloat16 else 2
    assert_as_exact_as_dense(z, network.body, z0, depth_map, dtype, factor)


@kinds
def test_nothing_waits_for_the_device(backbone: str, depth_tile: int) -> None:
    """Neither to plan nor to say what ran: both are known from the depth map."""
    network, depth_map = build(backbone, depth_tile), depth_map_of(build(backbone, depth_tile), 11, 2, 6, 5)
    engine = TritonEngine(network, DEVICE, torch.float32)
    z0 = engine.features(lr_images(11, 2, 6, 5))
    if DEVICE.type == "cuda":
        engine.body(z0, depth_map)  # compiles
    with no_waiting():
        run = engine.body(z0, depth_map)
    assert run.macs == body_macs(network.body, 6, 5, depth_map)


def test_what_waits_is_noticed() -> None:
    depth_map = torch.ones(1, 1, 2, 2, device=DEVICE)
    for wait in (
        lambda tensor: torch.nonzero(tensor),
        lambda tensor: tensor.tolist(),
        lambda tensor: bool(tensor.sum() > 0),
        lambda tensor: int(tensor.sum()),
    ):
        with pytest.raises((AssertionError, RuntimeError)), no_waiting():
            wait(depth_map)


def test_packed_weights_are_shared() -> None:
    """Packing a packed body copies nothing, and an engine holds its weights once."""
    network = build("rcan", 4)
    packed, pointers = pack_body(on_device(network.body)), list[int]()
    map_arrays((packed, pack_body(packed)), lambda tensor: pointers.append(tensor.data_ptr()))
    half = len(pointers) // 2
    assert pointers[:half] == pointers[half:]
    engine = TritonEngine(network, DEVICE, torch.float32)
    assert engine.body_weights is engine.triton_body.weights


def test_bad_input_is_refused() -> None:
    network = build("edsr", 4)
    ours = TritonBody(on_device(network.body), UNTIMED)
    z0, plan = on_device(z0_of(network, 1, 1, 8, 8)), ours.sparse_plan
    with pytest.raises(
        InputError, match=r"z0 has shape \(1, 7, 8, 8\) and type torch.float32; pass .*, \(N, 8, H, W\)"
    ):
        ours.run(z0[:, :7], None, plan)
    with pytest.raises(InputError, match=r"type torch.float64; pass torch.float32, "):
        ours.run(z0.double(), None, plan)
    with pytest.raises(InputError, match=r"depth_map has shape \(1, 1, 8, 8\) .*; pass floating point, \(1, 1, 2, 2\)"):
        ours.run(z0, torch.zeros(1, 1, 8, 8, device=DEVICE), plan)


def test_bodies_that_the_kernels_cannot_run_are_refused() -> None:
    body = on_device(build("edsr", 4).body)
    with pytest.raises(BackendError, match=r"weights are torch\.float64; the triton engine runs"):
        TritonBody(on_device(build("edsr", 4).body, torch.float64))
    with pytest.raises(BackendError, match="precision='half' is not one of tf32, ieee"):
        TritonBody(body, precision="half")
    wide = body._replace(conv=body.conv._replace(weight=torch.zeros(8, 8, 5, 5, device=DEVICE)))
    with pytest.raises(BackendError, match=r"\(8, 8, 5, 5\) .* runs 3x3 convs of 8 channels"):
        TritonBody(wide)
    squeeze = ConvWeights(torch.zeros(1, 8, 1, 1, device=DEVICE), torch.zeros(1, device=DEVICE))
    excite = ConvWeights(torch.zeros(8, 1, 1, 1, device=DEVICE), torch.zeros(8, device=DEVICE))
    first, *rest = body.groups[0].blocks
    mixed = (first._replace(attention=Attention(squeeze, excite)), *rest)
    with pytest.raises(BackendError, match="only some blocks have channel attention"):
        TritonBody(body._replace(groups=(body.groups[0]._replace(blocks=mixed),)))
    with pytest.raises(BackendError, match="this network has PlainBlock; choose another backend"):
        TritonBody(on_device(build("compact").body))


def test_the_engine_says_what_decides_its_last_bits() -> None:
    network = build("edsr", 4)
    variant = TritonEngine(network, DEVICE, torch.float32).variant
    assert variant in ("float32, tf32 products, autotuned", "float32, ieee products, autotuned")
    assert TritonEngine(network, DEVICE, torch.float16).variant == "float16, autotuned"
