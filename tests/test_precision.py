"""Half precision: what runs in it, and that an image which leaves its range is run again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from adadsr import Upscaler, checkpoints, images
from adadsr.errors import BackendError, InputError
from adadsr.images import Picture
from adadsr.models import Network
from cli_samples import call
from test_upscaler import BLOCKS, CONFIGS, build, photo


def overflowing(where: str) -> Network:
    """A network that works in float32 and whose weights or features are beyond float16's 65504."""
    network = build(CONFIGS["adaedsr-tiles"]).requires_grad_(False)
    block = network.body.blocks[1]
    if where == "weights":
        block.conv1.weight.mul_(3e7)
        block.conv2.weight.div_(3e7)
    else:
        block.conv1.weight.mul_(3e4)
        block.conv2.weight.div_(3e4)
    return network


def lr(height: int = 33, width: int = 29) -> torch.Tensor:
    return torch.from_numpy(photo(height, width)).permute(2, 0, 1).float()


@pytest.mark.parametrize("backend", ["torch", "dense"])
@pytest.mark.parametrize(("precision", "step"), [("float16", 0.125), ("bfloat16", 1.0)])
@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_is_close_and_said(name: str, precision: str, step: float, backend: str) -> None:
    """step: between neighbouring numbers at 255, in which the result is stored."""
    network = build(CONFIGS[name])
    exact = Upscaler(network, backend=backend)(lr(), depth=2.0)
    half = Upscaler(network, backend=backend, precision=precision)(lr(), depth=2.0)
    assert (half.image - exact.image).abs().max() <= 2 * step
    assert half.report.requested_precision == half.report.precision == precision
    assert exact.report.requested_precision == exact.report.precision == "float32"
    np.testing.assert_array_equal(half.depth_map, exact.depth_map)
    assert half.report.executed_gmacs == exact.report.executed_gmacs


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("where", ["weights", "features"])
def test_an_image_that_overflows_is_run_again_in_float32(where: str, tile: int | None) -> None:
    network = overflowing(where)
    exact = Upscaler(network, backend="torch", tile=tile)(lr(24, 20), depth=BLOCKS - 1)
    assert torch.isfinite(exact.image).all()
    upscaler = Upscaler(network, backend="torch", precision="float16", tile=tile)
    for _ in range(2):
        half = upscaler(lr(24, 20), depth=BLOCKS - 1)
        torch.testing.assert_close(half.image, exact.image, rtol=0, atol=0)
        assert (half.report.requested_precision, half.report.precision) == ("float16", "float32")
    wide = Upscaler(network, backend="torch", precision="bfloat16", tile=tile)(lr(24, 20), depth=BLOCKS - 1)
    assert wide.report.precision == "bfloat16"


def test_one_image_that_overflows_does_not_change_the_next() -> None:
    """Whether features overflow depends on the image; here on whether its blocks run."""
    upscaler = Upscaler(overflowing("features"), backend="torch", precision="float16")
    ran = [upscaler(lr(), depth=depth).report.precision for depth in (BLOCKS - 1, 0, BLOCKS - 1)]
    assert ran == ["float32", "float16", "float32"]


def test_precisions_that_cannot_run_are_refused() -> None:
    network = build(CONFIGS["adaedsr-tiles"])
    with pytest.raises(InputError, match="precision='half' is not one of float32, float16, bfloat16"):
        Upscaler(network, precision="half")
    with pytest.raises(BackendError, match="backend 'native' cannot run in float16; these can: torch, triton, dense"):
        Upscaler(network, backend="native", precision="float16")
    assert Upscaler(network, precision="float16").backend == "torch"


def test_the_command_takes_a_precision_and_its_report_says_what_ran(here: Path) -> None:
    images.write_image(here / "photo.png", Picture(photo(20, 24)))
    checkpoints.save(overflowing("features"), here / "wild.safetensors")
    command = ("upscale", "photo.png", "-o", "large.png", "-m", "wild.safetensors", "--precision")
    run = call(*command, "float16", "--report", "report.json")
    assert run.exit_code == 0, run.output
    report = json.loads((here / "report.json").read_text())["images"][0]
    assert (report["requested_precision"], report["precision"]) == ("float16", "float32")
    refused = call(*command, "half")
    assert refused.exit_code == 2
    assert "'half' is not one of float32, float16, bfloat16" in refused.output
