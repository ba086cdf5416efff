"""The GPU benchmarks as far as they run without a device: what they run, with the timing and the graphs left out."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adadsr.networks import NetworkConfig
from gpu_samples import DEVICE

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu_cases
import gpu_network
import gpu_peers
from networks import shapes_only

ROOT = Path(__file__).parents[1]
SMALL = NetworkConfig("edsr", 2, 8, 2, 1, adaptive=True, depth_tile=4)
SMALL_RCAN = NetworkConfig("rcan", 2, 8, 2, 2, adaptive=True, depth_tile=4)


@pytest.mark.parametrize("config", [SMALL, SMALL_RCAN])
def test_every_variant_runs_and_gets_its_row(config: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[torch.Tensor] = []

    def untimed(runners: dict[str, gpu_peers.Runner], rounds: int) -> dict[str, float]:
        results.extend(run() for run in runners.values())
        return {name: 2.0 if name.startswith("eager") else 1.0 for name in runners}

    for module in (gpu_network, gpu_peers):
        monkeypatch.setattr(module, "Captured", lambda function, *examples: function)
        monkeypatch.setattr(module, "median_times", untimed)
    case = gpu_cases.Case("small", config, 1, 9, 14)
    with torch.inference_mode():
        rows = gpu_network.measure(case, DEVICE, (0.5,), 100.0, math.inf, compiled=False)
    masks = [row["mask"] for row in rows]
    assert masks == ["dense, eager", "dense, eager, graph", "tiles", "pixels"]
    assert all(result.shape == (1, 3, 18, 28) and torch.isfinite(result).all() for result in results)
    paper = {"im2col"} if config is SMALL else set()
    assert set(rows[-1]["ms"]) == {"sparse", "auto", "eager"} | paper
    assert rows[-1]["ratio_to_fastest_dense"]["sparse"] == 2.0
    assert rows[-1]["tflops"] < rows[0]["tflops"] * 2


def test_variants_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(gpu_peers, "_seconds", lambda run, count: calls.append((run(), count)) or 0.005)
    assert gpu_peers.median_times({"a": lambda: "a", "b": lambda: "b"}, 2) == {"a": 5.0, "b": 5.0}
    assert calls == 2 * [("a", 1), ("a", 4), ("b", 1), ("b", 4)]


def test_what_there_is_no_time_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_peers, "Captured", lambda function, *examples: function)
    monkeypatch.setattr(gpu_network, "median_times", lambda runners, rounds: dict.fromkeys(runners, 1.0))
    case = gpu_cases.Case("small", SMALL, 1, 9, 14)
    with torch.inference_mode():
        rows = gpu_network.measure(case, DEVICE, (1.0, 0.5), 100.0, -math.inf, compiled=False)
    assert [row["mask"] for row in rows if row.get("left_out")] == ["tiles", "tiles", "pixels", "pixels"]


def test_a_case_that_fails_does_not_lose_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(case: gpu_cases.Case, *_: object, **__: object) -> list[dict[str, object]]:
        if case.height == 512:
            raise RuntimeError("out of luck")
        return [{"case": str(case), "mask": "tiles"}]

    monkeypatch.setattr(gpu_network, "measure", measure)
    monkeypatch.setattr(gpu_network, "check_equal", lambda case, device: [])
    monkeypatch.setattr(gpu_network, "environment", lambda: {"device": "none"})
    for name in ("measured_peak", "measured_bandwidth"):
        monkeypatch.setattr(gpu_network, name, lambda device: 1.0)
    result = gpu_network.measure_all({"small": SMALL}, [1], DEVICE, math.inf, quick=True)
    assert [row.get("error", row.get("left_out")) for row in result["rows"]] == [
        "--quick",
        "out of luck",
        "--quick",
        None,
    ]


@pytest.mark.parametrize("density", gpu_cases.DENSITIES)
@pytest.mark.parametrize("side", [1, 4])
def test_depth_maps_have_their_density(side: int, density: float) -> None:
    case = gpu_cases.Case("x", gpu_cases.NETWORKS["edsr-x2"], 2, 128, 160)
    depth = gpu_cases.depth_map(case, side, density)
    assert depth.shape == (2, 1, 128 // side, 160 // side)
    assert float(depth.mean()) / 32 == pytest.approx(density, abs=0.01)
    assert float(depth.min()) >= 0
    assert float(depth.max()) <= 32


def test_bytes_and_operations_of_a_case() -> None:
    case = gpu_cases.Case("x", SMALL, 1, 8, 12)
    network = shapes_only(SMALL)
    pixels, conv = 8 * 12, 9 * 8 * 8
    tail = 9 * 8 * 32 + 4 * 9 * 8 * 3
    assert gpu_cases.executed_macs(case, network, None, 4) == pixels * (9 * 3 * 8 + 5 * conv + tail)
    assert gpu_cases.moved_bytes(case, None, 4) == 2 * (8 * pixels * (5 * 2 + 3) + 5 * conv)
    half = np.array([[[[2.0, 0, 1], [0, 0, 0]]]], np.float32)
    adapter = network.require_adapter().macs(8, 12)
    active = (
        2 * 3 * 16 + pixels
    ) * conv  # two positions in the first block and one in the second, and the closing conv
    assert gpu_cases.executed_macs(case, network, half, 4) == pixels * (9 * 3 * 8 + tail) + adapter + active
    assert gpu_cases.moved_bytes(case, half, 4) == 2 * (8 * (5 * 3 * 16 + 3 * pixels) + 5 * conv)


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
    command = ("benchmarks/gpu_compile.py", "--channels", "64", "--types", "float16", "float32", "--first-config")
    rows = last_line(*command, TRITON_INTERPRET="0")["rows"]
    assert len(rows) == 2 * (6 + 5)
    for row in rows:
        assert row["stack"] == 0, row  # everything stays in registers
        if row["config"] is not None:
            assert row["wgmma"] > 0, row
            assert row["asynchronous_copies"] > 0, row
