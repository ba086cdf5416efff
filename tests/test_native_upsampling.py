"""5x5 convs that upsample, against float64, on every instruction set and in rectangles of any place."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from native_samples import ISAS, ROUNDINGS, _native, filled

EDGE_CASES = 16


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [5, 32, 64, 256, 288])
@pytest.mark.parametrize(("factor", "outputs"), [(1, 4), (2, 3), (3, 3), (4, 3), (4, 4), (4, 5)])
def test_long_rows_are_as_exact_as_a_dense_conv(isa: str, channels: int, factor: int, outputs: int) -> None:
    """Of pixels between the borders; registers hold up to 32 pixels, so rows are cut twice."""
    torch.manual_seed(0)
    images = torch.rand(2, channels, 7, 71)
    weight, bias = torch.randn(outputs * factor**2, channels, 5, 5) / channels, torch.randn(outputs * factor**2)
    exact, plain = (
        F.pixel_shuffle(F.conv2d(images.to(dtype), weight.to(dtype), bias.to(dtype)), factor)
        for dtype in (torch.float64, torch.float32)
    )
    source = filled(images.permute(0, 2, 3, 1).numpy())
    sets = [_native.UpsamplingWeights(weight.numpy(), bias.numpy(), isa, factor)] * EDGE_CASES
    sr = np.empty((2, 3 * factor, 67 * factor, outputs), np.float32)
    _native.upsample(sets, source, sr, 2, 2, 2)
    error = (torch.from_numpy(sr).permute(0, 3, 1, 2) - exact).abs().max()
    assert error <= max(2 * (plain - exact).abs().max(), ROUNDINGS * exact.abs().max())


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=15)
@given(data=st.data())
def test_no_bit_depends_on_the_rectangle(isa: str, data: st.DataObject) -> None:
    height, width, factor = 6, 75, 2
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    generator = np.random.default_rng(0)
    source = filled(generator.standard_normal((2, height, width, 32), np.float32))
    weights = generator.standard_normal((EDGE_CASES, 12, 32, 5, 5), np.float32)
    bias = generator.standard_normal(12, np.float32)
    sets = [
        _native.UpsamplingWeights(weight, bias, isa, factor, split=number % 4 == 1)
        for number, weight in enumerate(weights)
    ]
    whole = np.empty((2, height * factor, width * factor, 3), np.float32)
    _native.upsample(sets, source, whole, 0, 0, 2)
    part = np.empty((2, rows * factor, columns * factor, 3), np.float32)
    _native.upsample(sets, source, part, top, left, 2)
    box = np.s_[:, top * factor : (top + rows) * factor, left * factor : (left + columns) * factor]
    np.testing.assert_array_equal(part, whole[box])
