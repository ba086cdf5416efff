"""Half precision in engines: what computes in it, how close it stays, and that leaving its range shows."""

import numpy as np
import pytest
import torch

from adadsr.backends import BACKENDS, Engine, prepare
from adadsr.errors import BackendError
from adadsr.geometry import Box
from adadsr.graph import NetworkWeights, ResidualBlock
from engine_samples import defined
from graph_samples import BLOCKS, KINDS, OTHER_KINDS, Array32, build, depth_map_of, lr_images

HERE = [name for name, row in BACKENDS.items() if "float16" in row.precisions and row.missing("cpu") is None]
CASES = [
    (name, *kind)
    for name in HERE
    for kind in [*KINDS, *OTHER_KINDS]
    if name != "triton" or kind == ("edsr", 4)  # interpreted, a block takes a second
]
backends = pytest.mark.parametrize("backend", HERE)


def run(engine: Engine, lr: Array32, depth_map: Array32 | None) -> Array32:
    z = engine.body(engine.features(lr), depth_map)
    sr = engine.tail(z, Box(0, 0, *lr.shape[1:3]))
    assert "float32" in str(sr.dtype)
    return np.asarray(sr)


def overflowing(where: str) -> NetworkWeights:
    """A network that works in float32 and whose weights or features are beyond float16's 65504."""
    network, factor = build("edsr", 4), np.float32(3e7 if where == "weights" else 3e5)
    group = network.body.groups[0]
    block = group.blocks[1]
    assert isinstance(block, ResidualBlock)
    grown = block.conv1._replace(weight=block.conv1.weight * factor)
    shrunk = block.conv2._replace(weight=block.conv2.weight / factor)
    blocks = (group.blocks[0], block._replace(conv1=grown, conv2=shrunk), *group.blocks[2:])
    return network._replace(body=network.body._replace(groups=(group._replace(blocks=blocks),)))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize(("backend", "backbone", "depth_tile"), CASES)
def test_half_precision_is_close_and_said(backend: str, backbone: str, depth_tile: int, precision: str) -> None:
    """Error against float64 at most twice that of the definition in the same type."""
    network, lr = build(backbone, depth_tile), lr_images(1, 1, 13, 9)
    depth_map = depth_map_of(network, 1, 1, 13, 9)
    exact, half = (prepare(network, backend, precision=each) for each in ("float32", precision))
    wide = defined(network, lr, depth_map, torch.float64)
    dense = np.abs(defined(network, lr, depth_map, getattr(torch, precision)) - wide).max()
    # Triton's interpreter cuts bfloat16 off instead of rounding it.
    factor = 4 if (backend, precision) == ("triton", "bfloat16") else 2
    assert np.abs(run(half, lr, depth_map) - wide).max() <= factor * dense
    assert precision in half.variant
    assert "float32" in exact.variant
    assert half.weight_bytes < 0.8 * exact.weight_bytes
    z0 = half.features(lr)
    assert half.body(z0, depth_map).macs == exact.body(exact.features(lr), depth_map).macs
    if network.adapter is not None:  # head and adapter compute in float32: the depth map is the same
        np.testing.assert_array_equal(half.scores(z0, 2.0), exact.scores(exact.features(lr), 2.0))


@backends
@pytest.mark.parametrize("where", ["weights", "features"])
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_what_leaves_the_range_shows(backend: str, where: str) -> None:
    """A NaN passes ReLU and gates to the result, or else the result would look right."""
    network, lr = overflowing(where), lr_images(2, 1, 8, 12)
    depth_map = np.full((1, 1, 2, 3), BLOCKS, np.float32)
    assert not np.isfinite(run(prepare(network, backend, precision="float16"), lr, depth_map)).all()
    for precision in ("float32", "bfloat16"):
        assert np.isfinite(run(prepare(network, backend, precision=precision), lr, depth_map)).all()


@backends
def test_what_does_not_run_does_not_overflow(backend: str) -> None:
    """Whether features overflow depends on the image; here on whether its blocks run."""
    network, lr = overflowing("features"), lr_images(3, 1, 8, 12)
    engine = prepare(network, backend, precision="float16")
    shallow = np.full((1, 1, 2, 3), 1, np.float32)
    finite = [np.isfinite(run(engine, lr, depths)).all() for depths in (shallow, shallow + 1, shallow)]
    assert finite == [backend != "dense", False, backend != "dense"]  # 0 times inf is NaN


def test_a_backend_without_half_precision_names_those_that_have_it() -> None:
    with pytest.raises(BackendError, match="backend 'native' does not support float16; use torch, triton, dense"):
        prepare(build("edsr"), "native", precision="float16")
    assert prepare(build("edsr"), precision="float16").backend == "torch"
