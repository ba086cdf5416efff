"""The networks against recorded outputs of the original implementation, for every file in the golden folder."""

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from adadsr import checkpoints
from adadsr.models.layers import rgb_mean
from adadsr.sparse.backends import BACKENDS

FOLDER = Path(os.environ.get("ADADSR_GOLDEN_DIR", Path(__file__).resolve().parents[2] / "shared" / "golden"))
FILES = sorted(FOLDER.glob("*.safetensors"))
TOLERANCE = 1e-3
"""Absolute, in units of 0..255, and in blocks for depth maps."""


def run_network(network, lr, depth):
    """The dense definition, as training runs it."""
    return network(lr, depth)


def run_on(backend):
    """All parts on a backend, as the upscaler runs them."""

    def run(network, lr, depth):
        desired = None if depth is None else lr.new_full(lr.shape[:1], depth)
        z0, scores = backend.prepare_front(network.front())(lr, desired)
        depth_map = None if depth is None else network.adapter.at_depth(scores, desired)
        z = backend.run(network.body.tensors(), z0, depth_map).z
        return backend.prepare_tail(network.tail.tensors())(z) + rgb_mean(z), depth_map

    return run


RUNNERS = {"network": run_network} | {
    name: run_on(backend) for name, backend in BACKENDS.items() if backend.missing(torch.device("cpu")) is None
}
"""Every way to run a network: (network, lr, desired depth or None) -> (sr, depth map or None)."""

golden = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def read_metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_golden_files_are_there(golden_dir):
    if FILES:
        return
    missing = f"{golden_dir} holds no .safetensors; set ADADSR_GOLDEN_DIR to a folder that does"
    if os.environ.get("ADADSR_REQUIRE_SHARED") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@golden
def test_configuration_is_recognised(path):
    config = checkpoints.convert_published(path).config
    metadata = read_metadata(path)
    found = {
        "kind": config.kind,
        "scale": config.scale,
        "n_feats": config.n_feats,
        "n_resblocks": config.n_resblocks,
        "n_groups": config.n_groups,
    }
    expected = {key: metadata[key] if key == "kind" else int(metadata[key]) for key in found}
    expected["n_groups"] = max(1, expected["n_groups"])  # the files say 0 for EDSR, whose body is one group here
    assert found == expected


@golden
@pytest.mark.parametrize("runner", RUNNERS)
def test_outputs_are_reproduced(path, runner):
    network = checkpoints.convert_published(path)
    recorded = load_file(path)
    depths = [depth for depth in read_metadata(path)["depths"].split(",") if depth]
    cases = [(float(depth), f".depth{depth}") for depth in depths] or [(None, "")]
    if runner == "triton":  # interpreted, it takes a second or more for a block
        cases = cases[len(cases) // 2 :][:1]
    for depth, suffix in cases:
        with torch.no_grad():
            sr, depth_map = RUNNERS[runner](network, recorded["input"], depth)
        torch.testing.assert_close(sr, recorded[f"output{suffix}"], atol=TOLERANCE, rtol=0)
        if depth is not None:
            torch.testing.assert_close(depth_map, recorded[f"depth_map{suffix}"], atol=TOLERANCE, rtol=0)
