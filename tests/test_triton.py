"""The Triton engine: bodies against the definition, the choice between dense and sparse, and that nothing waits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adadsr import Upscaler
from adadsr.errors import BackendError, InputError
from adadsr.sparse import gpu
from adadsr.sparse.backends import BACKENDS, default_backend
from adadsr.sparse.body import Attention, Body, Conv, body_macs, in_type
from adadsr.sparse.reference import run_reference
from adadsr.sparse.triton import TritonBody
from adadsr.sparse.triton_choice import ways
from adadsr.sparse.triton_launch import Weights
from adadsr.sparse.triton_pass import Plan
from adadsr.sparse.tuning import Trial, Tuner, break_even
from test_gather import BLOCKS, KINDS, build_body, sample, to_double
from test_precision import overflowing
from test_upscaler import CONFIGS, build, photo
from triton_samples import DEVICE, HALF, no_waiting

ROOT = Path(__file__).parents[1]
UNTIMED: Tuner = Tuner(None)


def moved(body: Body, dtype: torch.dtype = torch.float32) -> Body:
    """The body's tensors in `dtype` on the device."""
    return in_type(body, dtype) if DEVICE.type == "cpu" else _on_cuda(body, dtype)


def _on_cuda(part: object, dtype: torch.dtype) -> Any:
    if isinstance(part, Tensor):
        return part.to(DEVICE, dtype)
    if isinstance(part, tuple):
        parts = [_on_cuda(item, dtype) for item in part]
        return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)
    return part


def assert_as_exact_as_dense(body: Body, z0: Tensor, depth_map: Tensor | None, plan: Plan | None = None) -> None:
    """Error against float64 at most twice that of the dense float32 computation."""
    depth = None if depth_map is None else depth_map.double()
    exact = run_reference(to_double(body), z0.double(), depth)
    dense = (run_reference(body, z0, depth_map) - exact).abs().max()
    ours = TritonBody(moved(body), UNTIMED, "ieee")
    depth_map = None if depth_map is None else depth_map.to(DEVICE)
    z = ours.run(z0.to(DEVICE), depth_map, ours.sparse_plan if plan is None else plan)
    assert (z.cpu() - exact).abs().max() <= 2 * dense + 1e-6


@pytest.mark.parametrize("depth_tile", [1, 4])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 2), height=st.integers(1, 10), width=st.integers(1, 10))
def test_equals_the_definition(depth_tile: int, seed: int, batch: int, height: int, width: int) -> None:
    body = build_body("edsr", depth_tile)
    assert_as_exact_as_dense(body, *sample(body, seed, batch, height, width))


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_a_batch_of_different_masks(backbone: str, depth_tile: int) -> None:
    body = build_body(backbone, depth_tile, n_feats=5)
    z0, depth_map = sample(body, 8, 3, 7, 9)
    depth_map[1], depth_map[2] = 0, BLOCKS
    assert_as_exact_as_dense(body, z0, depth_map)


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_any_plan_gives_the_same(backbone: str, depth_tile: int) -> None:
    """Dense and sparse convs follow each other in any order."""
    body = build_body(backbone, depth_tile)
    z0, depth_map = sample(body, 9, 1, 7, 6)
    groups = len(body.groups)
    for first, second in ((1, 2), (2, 0), (BLOCKS, BLOCKS)):
        assert_as_exact_as_dense(body, z0, depth_map, Plan((first,) * groups, (second,) * groups))
    assert_as_exact_as_dense(body, z0, None, Plan((BLOCKS,) * groups, (0,) * groups))


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_a_mixed_plan_reads_nothing_that_nobody_wrote(
    backbone: str, depth_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that was not written holds what was there before; here that is no number."""
    body = build_body(backbone, depth_tile)
    z0, depth_map = sample(body, 10, 1, 7, 6)
    for name in ("empty_like", "empty"):
        allocate = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *given, allocate=allocate, **also: _poisoned(allocate(*given, **also)))
    ours = TritonBody(moved(body), UNTIMED, "ieee")
    groups = len(body.groups)
    for first, second in ((0, 2), (1, BLOCKS), (2, 0)):
        plan = Plan((first,) * groups, (second,) * groups)
        assert torch.isfinite(ours.run(z0.to(DEVICE), depth_map.to(DEVICE), plan)).all()


def _poisoned(tensor: Tensor) -> Tensor:
    return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_groups_without_attention(depth_tile: int) -> None:
    """No network here has them; a body may."""
    body = build_body("rcan", depth_tile)
    groups = tuple(
        group._replace(blocks=tuple(block._replace(attention=None) for block in group.blocks)) for group in body.groups
    )
    body = body._replace(groups=groups)
    assert_as_exact_as_dense(body, *sample(body, 13, 1, 5, 6))


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_full_depth_is_the_plain_body(depth_tile: int) -> None:
    body = build_body("edsr", depth_tile)
    assert_as_exact_as_dense(body, sample(body, 1, 2, 9, 10)[0], None)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("depth_tile", [1, 4])
def test_half_precision(depth_tile: int, dtype: torch.dtype) -> None:
    """Error against float64 at most twice that of the dense computation in the same type."""
    body = build_body("edsr", depth_tile, n_feats=16)
    z0, depth_map = sample(body, 10, 1, 9, 10)
    exact = run_reference(to_double(body), z0.double(), depth_map.double())
    dense = (run_reference(in_type(body, dtype), z0.to(dtype), depth_map.to(dtype)) - exact).abs().max()
    run = TritonBody(moved(body, dtype), UNTIMED)(z0.to(DEVICE, dtype), depth_map.to(DEVICE))
    assert run.z.dtype == dtype
    assert (run.z.cpu() - exact).abs().max() <= 2 * dense + 1e-6


@pytest.mark.parametrize(("backbone", "depth_tile"), KINDS)
def test_nothing_waits_for_the_device(backbone: str, depth_tile: int) -> None:
    """Also not to know what was executed: that is counted when it is asked for."""
    body = build_body(backbone, depth_tile)
    z0, depth_map = (part.to(DEVICE) for part in sample(body, 11, 2, 6, 5))
    ours = TritonBody(moved(body), UNTIMED)
    if DEVICE.type == "cuda":
        ours(z0, depth_map)  # compiles
    with no_waiting():
        run = ours(z0, depth_map)
    assert run.macs == body_macs(body, depth_map.cpu(), 2, 6, 5)


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


def fixed_timer(times: list[float]) -> tuple[Callable[[Callable[[], None]], float], list[Callable[[], None]]]:
    """A timer that runs what it is given and says these times, and what it was given."""
    seen: list[Callable[[], None]] = []

    def timer(run: Callable[[], None]) -> float:
        run()
        seen.append(run)
        return times[(len(seen) - 1) % len(times)]

    return timer, seen


@pytest.mark.parametrize(
    ("few", "all_", "dense", "share"),
    [(1, 4, 5, float("inf")), (1, 4, 4, float("inf")), (1, 4, 2.5, 0.625), (1, 4, 1, 0.25), (1, 4, 0.5, 0.125)],
)
def test_the_break_even(few: float, all_: float, dense: float, share: float) -> None:
    assert break_even(few, all_, dense) == share


def test_a_tuner_measures_once_until_it_forgets() -> None:
    shares: list[tuple[str, float]] = []

    def sparse(way: str, share: float) -> Callable[[], None]:
        return lambda: shares.append((way, share))

    timer, seen = fixed_timer([3.0, 2.0, 1.0, 2.5, 2.0])
    tuner: Tuner[str] = Tuner(timer)
    trial = Trial(["slow", "fast"], sparse, lambda: shares.append(("dense", 1.0)))
    for _ in range(2):
        choice = tuner.choice("a conv", lambda: trial)
        assert choice.way == "fast"
        assert choice.break_even == pytest.approx(0.25 + 0.75 / 1.5)
    assert shares == [("slow", 0.5), ("fast", 0.5), ("fast", 0.25), ("fast", 1.0), ("dense", 1.0)]
    tuner.forget()
    tuner.choice("a conv", lambda: trial)
    assert len(seen) == 10


def test_a_way_that_the_device_cannot_run_is_left_out() -> None:
    def sparse(way: str, share: float) -> Callable[[], None]:
        def run() -> None:
            if way == "large":
                raise MemoryError(way)

        return run

    timer, _ = fixed_timer([1.0])
    trial = Trial(["large", "small"], sparse, lambda: None)
    assert Tuner(timer, (MemoryError,)).choice("a conv", lambda: trial).way == "small"
    with pytest.raises(BackendError, match="has not the resources for any of the kernels"):
        Tuner(timer, (MemoryError,)).choice("a conv", lambda: Trial(["large"], sparse, lambda: None))
    with pytest.raises(MemoryError):
        Tuner(timer).choice("a conv", lambda: trial)


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_a_body_runs_densely_from_the_break_even_on(depth_tile: int) -> None:
    body = moved(build_body("edsr", depth_tile))
    few_ways = len(ways(Weights(*body.conv)))
    timer, seen = fixed_timer([2.0] * few_ways + [1.0, 4.0, 2.5])
    ours = TritonBody(body, Tuner(timer), "ieee")
    z0, depth_map = sample(body, 12, 2, 8, 8)
    depth_map = torch.zeros_like(depth_map)
    places = depth_map[0].numel()
    for block, share in enumerate((1.0, 0.75, 0.25)):
        depth_map.view(2, -1)[:, : round(share * places)] = block + 0.5
    z0, depth_map = z0.to(DEVICE), depth_map.to(DEVICE)
    plan = ours.plan(z0, depth_map)
    assert len(seen) == 2 * (few_ways + 3)  # once for the first convs, once for the second ones
    assert plan.second == (2,)  # shares of 1 and 0.75 are above 0.625
    assert plan.first == (2,)
    assert ours.plan(z0, None) == Plan((BLOCKS,), (BLOCKS,))
    exact = run_reference(to_double(build_body("edsr", depth_tile)), z0.cpu().double(), depth_map.cpu().double())
    assert (ours(z0, depth_map).z.cpu() - exact).abs().max() < 1e-4
    # At full depth there are no gates, which first convs of pixels never have.
    assert len(seen) == (4 if depth_tile > 1 else 3) * (few_ways + 3)


def test_bad_input_is_refused() -> None:
    body = moved(build_body("edsr", 4))
    ours = TritonBody(body, UNTIMED)
    z0, depth_map = (part.to(DEVICE) for part in sample(body, 1, 1, 8, 8))
    with pytest.raises(InputError, match=r"z0 is \(1, 7, 8, 8\) of torch.float32, not \(N, 8, H, W\)"):
        ours(z0[:, :7], depth_map)
    with pytest.raises(InputError, match=r"of torch.float64, not .* of torch.float32"):
        ours(z0.double(), depth_map)
    with pytest.raises(InputError, match=r"depth_map is \(1, 1, 8, 8\) .* not \(1, 1, 2, 2\) of floating point"):
        ours(z0, torch.zeros(1, 1, 8, 8, device=DEVICE))
    with pytest.raises(BackendError, match=r"weights are torch\.float64; the triton engine runs"):
        TritonBody(to_double(body))
    with pytest.raises(BackendError, match="precision='half' is not one of tf32, ieee"):
        TritonBody(body, precision="half")
    wide = torch.zeros(8, 8, 5, 5, device=DEVICE)
    with pytest.raises(BackendError, match=r"\(8, 8, 5, 5\) .* runs 3x3 convs of 8 channels"):
        TritonBody(body._replace(conv=body.conv._replace(weight=wide)))
    group = body.groups[0]
    squeeze = torch.zeros(1, 8, 1, 1, device=DEVICE)
    attention = Attention(Conv(squeeze, squeeze[:, 0, 0, 0]), Conv(squeeze.view(8, 1, 1, 1), torch.zeros(8)))
    mixed = group._replace(blocks=(group.blocks[0]._replace(attention=attention), *group.blocks[1:]))
    with pytest.raises(BackendError, match="some blocks have channel attention, some have none"):
        TritonBody(body._replace(groups=(mixed,)))


@pytest.mark.parametrize("name", ["adaedsr", "adaedsr-tiles", "adarcan-tiles"])
def test_an_upscaler_runs_on_it(name: str) -> None:
    network, image = build(CONFIGS[name]), torch.from_numpy(photo(13, 18)).permute(2, 0, 1).float()
    plain = Upscaler(network, device=DEVICE, backend="torch")(image, depth=2.0)
    ours = Upscaler(network, device=DEVICE, backend="triton")(image, depth=2.0)
    torch.testing.assert_close(ours.image, plain.image, rtol=0, atol=0.05)
    assert ours.report.backend == "triton"
    assert ours.report.executed_gmacs == plain.report.executed_gmacs


def test_an_image_that_overflows_is_run_again() -> None:
    """A value that is no number passes the engine's ReLU, or else the result would look right."""
    network, image = overflowing("weights"), torch.from_numpy(photo(9, 12)).permute(2, 0, 1).float()
    ours = Upscaler(network, device=DEVICE, backend="triton", precision="float16")(image)
    assert ours.report.precision == "float32"
    assert torch.isfinite(ours.image).all()


def test_nobody_gets_it_unasked() -> None:
    assert default_backend(DEVICE) != "triton"
    names = list(BACKENDS)
    assert names.index("triton") > names.index("torch")


def test_why_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "it runs on CUDA devices" in str(gpu.missing(cpu))
    assert "it runs on CUDA devices" in str(gpu.missing(torch.device("meta")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch sees no CUDA device" in str(gpu.missing(cuda))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert gpu.missing(cuda) == "it needs compute capability 8.0 or newer, and this device has 7.5"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert gpu.missing(cuda) is None
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "pip install 'adadsr[gpu]'" in str(gpu.missing(cuda))


def last_line(*command: str, **variables: str) -> dict[str, Any]:
    """The JSON that a command of the repository ends with."""
    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def test_the_benchmark_checks_equality_and_times_nothing_here() -> None:
    result = last_line("benchmarks/gpu_network.py", "--interpret")
    assert {entry["run"] for entry in result["equal"]} == {"sparse", "peer", "im2col"}
    assert set(result) == {"interpreted", "equal"}


def test_the_kernels_compile_to_tensor_core_instructions() -> None:
    """For an H100, which need not be here: what the interpreter accepts the compiler might not."""
    command = ("benchmarks/gpu_compile.py", "--channels", "64", "--types", "float16", "float32", "--first-way")
    rows = last_line(*command, TRITON_INTERPRET="0")["rows"]
    assert len(rows) == 2 * (6 + 5)
    for row in rows:
        assert row["stack"] == 0, row  # everything stays in registers
        if row["way"] is not None:
            assert row["wgmma"] > 0, row
            assert row["asynchronous_copies"] > 0, row
