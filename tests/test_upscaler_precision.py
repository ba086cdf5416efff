"""Half precision: what runs in it, and that only a tile that leaves its range is run again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from adadsr import Execution, Upscaler, checkpoints, images
from adadsr.backends import PRECISIONS, to_numpy
from adadsr.errors import BackendError
from adadsr.images import Picture
from adadsr.networks import Model
from cli_samples import call
from upscaler_samples import BLOCKS, CONFIGS, Spy, model_of, photo, spied, tensor_photo

EXECUTION = Execution(backend="torch", precision="float16")


def overflowing(where: str) -> Model:
    """A network that works in float32 and whose weights or features are beyond float16's 65504."""
    model = model_of(CONFIGS["adaedsr-tiles"])
    factor = np.float32(3e7 if where == "weights" else 3e4)
    model.tensors["body.blocks.1.conv1.weight"] *= factor
    model.tensors["body.blocks.1.conv2.weight"] /= factor
    return model


class Overflows(Spy):
    """An engine that claims half precision, and whose results are infinite for some windows, by their number."""

    half = True

    def __init__(self, engine, numbers):
        super().__init__(engine)
        self.numbers = numbers

    def tail(self, z, box):
        sr = super().tail(z, box)
        if self.count("features") - 1 in self.numbers:
            sr = to_numpy(sr).copy()
            sr[0, -1, -1, 1] = np.inf
        return sr


@pytest.mark.parametrize("backend", ["torch", "dense"])
@pytest.mark.parametrize(("precision", "step"), [("float16", 0.125), ("bfloat16", 1.0)])
@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_is_close_and_said(name, precision, step, backend):
    """step: between neighbouring numbers at 255, in which the result is stored."""
    model, lr = model_of(CONFIGS[name]), tensor_photo(33, 29)
    exact = Upscaler(model, Execution(backend=backend))(lr, depth=2.0)
    half = Upscaler(model, Execution(backend=backend, precision=precision))(lr, depth=2.0)
    assert (half.image - exact.image).abs().max() <= 2 * step
    assert half.report.requested_precision == half.report.precision == precision
    assert exact.report.requested_precision == exact.report.precision == "float32"
    np.testing.assert_array_equal(half.depth_map, exact.depth_map)
    assert half.report.executed_gmacs == exact.report.executed_gmacs


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("where", ["weights", "features"])
def test_an_image_that_overflows_is_run_again_in_float32(where, tile):
    model, lr = overflowing(where), tensor_photo(24, 20)
    exact = Upscaler(model, Execution(backend="torch", tile=tile))(lr, depth=BLOCKS - 1)
    assert torch.isfinite(exact.image).all()
    upscaler = Upscaler(model, replace(EXECUTION, tile=tile))
    for _ in range(2):
        half = upscaler(lr, depth=BLOCKS - 1)
        torch.testing.assert_close(half.image, exact.image, rtol=0, atol=0)
        assert (half.report.requested_precision, half.report.precision) == ("float16", "float32")
    wide = Upscaler(model, replace(EXECUTION, tile=tile, precision="bfloat16"))(lr, depth=BLOCKS - 1)
    assert wide.report.precision == "bfloat16"


@pytest.mark.parametrize("numbers", [(), (0,), (2, 5), tuple(range(6))])
def test_only_the_tiles_that_overflow_run_again_and_every_part_is_written_once(numbers, monkeypatch):
    model, image = model_of(CONFIGS["adaedsr-tiles"]), tensor_photo(40, 24)
    upscaler, full = spied(Upscaler(model, Execution(backend="torch", tile=16)))
    expected = upscaler(image)
    full.calls.clear()
    upscaler.engine = Overflows(full, numbers)
    monkeypatch.setattr(upscaler, "full_precision", lambda: full)
    written = torch.zeros(80, 48, dtype=torch.int)

    def write(box, sr):
        assert torch.isfinite(torch.as_tensor(sr)).all()
        box.of(written).add_(1)

    prepared = upscaler.prepare(image)
    upscaler.engine.calls.clear()  # those of the scores
    full.calls.clear()
    plan = prepared.plan()
    assert prepared._color.run(plan, write, lambda share: None).in_precision == (not numbers)
    assert (written == 1).all()
    assert upscaler.engine.count("body") == len(plan.tiles) == 6
    assert full.count("body") == 6 + len(numbers)  # each tile in half, and some again
    upscaler.engine.calls.clear()
    assert torch.equal(upscaler(image).image, expected.image)


def test_one_image_that_overflows_does_not_change_the_next():
    """Whether features overflow depends on the image; here on whether its blocks run."""
    upscaler = Upscaler(overflowing("features"), EXECUTION)
    ran = [upscaler(tensor_photo(33, 29), depth=depth).report.precision for depth in (BLOCKS - 1, 0, BLOCKS - 1)]
    assert ran == ["float32", "float16", "float32"]


def test_precisions_that_cannot_run_are_refused():
    model = model_of(CONFIGS["adaedsr-tiles"])
    with pytest.raises(BackendError, match="backend 'native' does not support float16; use torch, triton, dense"):
        Upscaler(model, Execution(backend="native", precision="float16"))
    assert Upscaler(model, Execution(precision="float16")).engine.backend == "torch"


def test_the_command_takes_a_precision_and_its_report_says_what_ran(here):
    images.write_image(here / "photo.png", Picture(photo(20, 24)))
    checkpoints.save(overflowing("features"), here / "wild.safetensors")
    command = ("upscale", "photo.png", "-o", "large.png", "-m", "wild.safetensors", "--precision")
    run = call(*command, "float16", "--report", "report.json")
    assert run.exit_code == 0, run.output
    report = json.loads((here / "report.json").read_text())["images"][0]
    assert (report["requested_precision"], report["precision"]) == ("float16", "float32")
    refused = call(*command, "half")
    assert refused.exit_code == 2
    assert f"'half' is not one of {', '.join(PRECISIONS)}" in refused.output
