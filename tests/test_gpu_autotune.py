"""The Triton engine's autotuner, what it decides in a body, and what is needed for the engine to be there."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from adadsr.backends import gpu
from adadsr.backends.gpu.autotune import Autotuner, Benchmark, break_even
from adadsr.backends.gpu.body import BodyPlan, TritonBody
from adadsr.backends.gpu.launch import configs
from adadsr.errors import BackendError
from gpu_samples import DEVICE
from graph_samples import BLOCKS, assert_as_exact_as_dense, build, tensors, z0_of


def fixed_timer(times: list[float]) -> tuple[Callable[[Callable[[], None]], float], list[Callable[[], None]]]:
    """A timer that runs what it is given and returns these times in turn; and what it was given."""
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


def test_an_autotuner_measures_once_until_it_forgets() -> None:
    shares: list[tuple[str, float]] = []

    def sparse(config: str, share: float) -> Callable[[], None]:
        return lambda: shares.append((config, share))

    timer, seen = fixed_timer([3.0, 2.0, 1.0, 2.5, 2.0])
    autotuner: Autotuner[str] = Autotuner(timer)
    benchmark = Benchmark(["slow", "fast"], sparse, lambda: shares.append(("dense", 1.0)))
    for _ in range(2):
        tuned = autotuner.tuned_config("a conv", lambda: benchmark)
        assert tuned.config == "fast"
        assert tuned.break_even == pytest.approx(0.25 + 0.75 / 1.5)
    assert shares == [("slow", 0.5), ("fast", 0.5), ("fast", 0.25), ("fast", 1.0), ("dense", 1.0)]
    autotuner.forget()
    autotuner.tuned_config("a conv", lambda: benchmark)
    assert len(seen) == 10


def test_a_config_that_the_device_cannot_run_is_left_out() -> None:
    def sparse(config: str, share: float) -> Callable[[], None]:
        def run() -> None:
            if config == "large":
                raise MemoryError(config)

        return run

    timer, _ = fixed_timer([1.0])
    benchmark = Benchmark(["large", "small"], sparse, lambda: None)
    assert Autotuner(timer, (MemoryError,)).tuned_config("a conv", lambda: benchmark).config == "small"
    with pytest.raises(BackendError, match="no kernel fits this device's resources; choose another backend"):
        Autotuner(timer, (MemoryError,)).tuned_config("a conv", lambda: Benchmark(["large"], sparse, lambda: None))
    with pytest.raises(MemoryError):
        Autotuner(timer).tuned_config("a conv", lambda: benchmark)


@pytest.mark.parametrize("depth_tile", [1, 4])
def test_a_body_runs_densely_from_the_break_even_on(depth_tile: int) -> None:
    network = build("edsr", depth_tile)
    body = tensors(network.body, device=DEVICE.type)
    n_configs = len(configs(body.conv))
    timer, seen = fixed_timer([2.0] * n_configs + [1.0, 4.0, 2.5])
    ours = TritonBody(body, Autotuner(timer), "ieee")
    z0, depth_map = z0_of(network, 12, 2, 8, 8), np.zeros((2, *network.map_shape(8, 8)), np.float32)
    positions = depth_map[0].size
    for block, share in enumerate((1.0, 0.75, 0.25)):
        depth_map.reshape(2, -1)[:, : round(share * positions)] = block + 0.5
    features, depths = (tensors(each, device=DEVICE.type) for each in (z0, depth_map))
    state = torch.get_rng_state()
    plan = ours.plan(features, depth_map)
    assert torch.equal(torch.get_rng_state(), state)  # benchmarks draw from their own generator
    assert len(seen) == 2 * (n_configs + 3)  # once for the first convs, once for the second ones
    assert plan == BodyPlan((2,), (2,))  # shares of 1 and 0.75 are above 0.625
    assert ours.plan(features, None) == BodyPlan((BLOCKS,), (BLOCKS,))
    assert_as_exact_as_dense(ours.run(features, depths, plan), network.body, z0, depth_map)
    # At full depth there are no gates, which first convs of pixels never have.
    assert len(seen) == (4 if depth_tile > 1 else 3) * (n_configs + 3)


def test_why_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "it needs a CUDA device" in str(gpu.missing("cpu"))
    assert "it needs a CUDA device" in str(gpu.missing("meta"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch sees no CUDA device" in str(gpu.missing("cuda:1"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert gpu.missing("cuda") == "it needs compute capability 8.0 or newer; this device has 7.5"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert gpu.missing("cuda") is None
    monkeypatch.setitem(sys.modules, "triton", None)
    assert "pip install 'adadsr[gpu]'" in str(gpu.missing("cuda"))
