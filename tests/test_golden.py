"""The networks against recorded outputs of the original implementation, for every file in the golden folder."""

import os

import numpy as np
import pytest
import torch

from adadsr import Execution, Upscaler, backends
from adadsr.backends import BACKENDS, to_numpy
from adadsr.geometry import Box
from adadsr.graph.calibration import family_of
from adadsr.networks import Network
from golden_samples import FILES, read_golden

TOLERANCE = 1e-3
"""Absolute, in units of 0..255, and in blocks for depth maps."""


def run_network(model, case):
    """The dense definition, as training runs it."""
    lr = torch.from_numpy(case.lr).permute(0, 3, 1, 2)
    with torch.no_grad():
        sr, depth_map = Network.of(model)(lr, case.depth)
    return sr.permute(0, 2, 3, 1).numpy(), None if depth_map is None else depth_map.numpy()


def run_engine(name):
    """All parts on a backend."""

    def run(model, case):
        engine = backends.prepare(model.weights(), name)
        z0, depth_map = engine.features(case.lr), None
        if case.depth is not None:
            (scores,) = engine.scores(z0, case.depth)
            depth_map = family_of(engine.network, scores).at_depth(case.depth)[None]
        z = engine.body(z0, depth_map)
        return to_numpy(engine.tail(z, Box(0, 0, z.height, z.width))), depth_map

    return run


def run_upscaler(model, case):
    """As a user runs them; the user gets a depth for each pixel."""
    prepared = Upscaler(model, Execution(border="zero")).prepare(torch.from_numpy(case.lr[0]).permute(2, 0, 1))
    plan = prepared.plan(depth=case.depth)
    result = prepared.run(plan)
    depths = plan.depth_map
    return result.image.permute(1, 2, 0)[None].numpy(), None if depths is None else depths[None]


ENGINES = {name: run_engine(name) for name, backend in BACKENDS.items() if backend.missing("cpu") is None}
RUNNERS = {"network": run_network, "upscaler": run_upscaler} | ENGINES
"""Every way to run a network: (model, case) -> (sr, depth map or None)."""

golden = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def test_golden_files_are_there(golden_dir):
    if FILES:
        return
    missing = f"{golden_dir} holds no .safetensors; set ADADSR_GOLDEN_DIR to a folder that does"
    if os.environ.get("ADADSR_REQUIRE_SHARED") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@golden
def test_configuration_is_recognised(path):
    golden = read_golden(path)
    expected = {key: golden.facts[key] for key in ("kind", "scale", "n_feats", "n_resblocks", "n_groups")}
    if expected["n_groups"] == "0":  # the files say 0 for EDSR, whose body is one group here
        expected["n_groups"] = "1"
    assert {key: str(getattr(golden.model.config, key)) for key in expected} == expected


@golden
@pytest.mark.parametrize("runner", RUNNERS)
def test_outputs_are_reproduced(path, runner):
    model, cases, _ = read_golden(path)
    if runner == "triton":  # interpreted, it takes a second or more for a block
        cases = cases[len(cases) // 2 :][:1]
    if runner == "upscaler":  # it takes a desired depth of all blocks for full depth, without asking the adapter
        cases = [case for case in cases if case.depth != model.config.n_resblocks]
    for case in cases:
        sr, depth_map = RUNNERS[runner](model, case)
        expected = case.sr.clip(0, 255) if runner == "upscaler" else case.sr
        np.testing.assert_allclose(sr, expected, atol=TOLERANCE, rtol=0)
        if case.depth is not None:
            np.testing.assert_allclose(depth_map, case.depth_map, atol=TOLERANCE, rtol=0)
