"""The native engine's passes: bodies and tails against the definition, workspaces, threads, and what is refused."""

import os
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adadsr.errors import BackendError, InputError
from adadsr.models import Network, NetworkConfig
from adadsr.sparse import extension
from adadsr.sparse.backends import choose_backend
from adadsr.sparse.body import Attention, Conv, Tail, body_macs
from adadsr.sparse.reference import run_reference, run_tail
from test_gather import BLOCKS, KINDS, build_body, sample, to_double
from test_native import ROUNDINGS

WHY_MISSING = extension.missing(torch.device("cpu"))
if WHY_MISSING is not None and os.environ.get("ADADSR_REQUIRE_NATIVE") != "1":
    pytest.skip(WHY_MISSING, allow_module_level=True)

from adadsr.sparse import _native, native_tail  # noqa: E402
from adadsr.sparse.native import NativeBody  # noqa: E402

ISAS = _native.isas()


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
        assert (run.z - exact).abs().max() <= 10 * max(plain, ROUNDINGS * exact.abs().max())
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
    plain = (run_tail(tail, z) - exact).abs().max()
    assert (result - exact).abs().max() <= 10 * max(plain, ROUNDINGS * exact.abs().max())


def test_a_tail_that_the_engine_cannot_run_is_refused() -> None:
    tail = build_tail(2, 4)
    with pytest.raises(BackendError, match=r"conv 2 of the tail has weights \(3, 4, 1, 1\)"):
        native_tail.NativeTail(tail._replace(last=Conv(torch.zeros(3, 4, 1, 1), torch.zeros(3))))
    elsewhere = Conv(tail.last.weight.to("meta"), tail.last.bias)
    with pytest.raises(BackendError, match=r"conv 2 of the tail has weights .* on meta; .* float32 on the CPU"):
        native_tail.NativeTail(tail._replace(last=elsewhere))
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


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_nothing_is_allocated_for_a_second_image(backbone: str, depth_tile: int) -> None:
    """And the size of what is was known in advance."""
    body = build_body(backbone, depth_tile)
    native, (z0, depth_map) = NativeBody(body), sample(body, 1, 2, 37, 30)
    wanted = native.workspace_bytes(2, 37, 30)
    native(z0, depth_map * 0.3)
    before = _native.allocations()
    for depth in (depth_map + 1, None, depth_map):
        native(z0, depth)
    assert _native.allocations() == before
    ((_, workspace),) = native._workspaces._free
    assert workspace.bytes == wanted


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_nothing_is_allocated_for_a_second_tail(scale: int) -> None:
    native, z = native_tail.NativeTail(build_tail(scale, 5)), torch.randn(2, 5, 21, 30)
    native(z)
    before = _native.allocations()
    native(z)
    assert _native.allocations() == before
    ((_, workspace),) = native._workspaces._free
    assert workspace.bytes == native.workspace_bytes(21, 30)


def test_a_result_is_not_overwritten_by_the_next_run() -> None:
    body = build_body("edsr", 4)
    native, cases = NativeBody(body), [sample(body, seed, 1, 12, 14) for seed in range(3)]
    results = [native(*case).z for case in cases]
    for result, case in zip(results, cases, strict=True):
        torch.testing.assert_close(result, run_reference(body, *case), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_what_is_not_a_number_does_not_reach_the_next_image(backbone: str, depth_tile: int) -> None:
    body = build_body(backbone, depth_tile)
    native, (z0, depth_map) = NativeBody(body), sample(body, 3, 1, 21, 18)
    expected = native(z0, depth_map).z.clone()
    native(torch.full_like(z0, torch.nan), None)
    assert torch.equal(native(z0, depth_map).z, expected)


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
    narrow = group._replace(blocks=(group.blocks[0]._replace(conv1=Conv(torch.zeros(8, 7, 3, 3), torch.zeros(8))),))
    with pytest.raises(
        BackendError,
        match=r"a conv of block 0 of group 0 has weights \(8, 7, 3, 3\); the native engine needs \(8, 8, 3, 3\)",
    ):
        NativeBody(body._replace(groups=(narrow,)))
    squeeze, excite = (Conv(torch.zeros(out, into, 1, 1), torch.zeros(out)) for out, into in ((2, 9), (9, 2)))
    attending = (group.blocks[0]._replace(attention=Attention(squeeze, excite)), *group.blocks[1:])
    with pytest.raises(BackendError, match=r"attention of block 0 of group 0 has weights \(2, 9, 1, 1\)"):
        NativeBody(body._replace(groups=(group._replace(blocks=attending),)))
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
