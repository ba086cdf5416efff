"""Outputs of any size: the networks that are chosen, and the reduction after them."""

import math

import numpy as np
import pytest

from adadsr import images
from adadsr.errors import BudgetError, InputError
from adadsr.networks import NetworkConfig
from adadsr.resize import imresize, reduce_samples
from adadsr.upscaler import Chain, Size, Upscaler
from adadsr.upscaler.size import best_chain
from upscaler_samples import model_of, photo


def chain_of(size, scales=(2, 3, 4)):
    def load(scale):
        config = NetworkConfig("edsr", scale, 8, 4, adaptive=True, depth_tile=4)
        return Upscaler(model_of(config), name=f"x{scale}")

    return Chain(load, scales, size)


def picture_of(height, width, dtype=np.uint8):
    pixels = photo(height, width)
    return images.picture_from_array(pixels if dtype is np.uint8 else pixels.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("scales", "factor", "steps"),
    [
        ((2, 3, 4), 1, (2,)),
        ((2, 3, 4), 2, (2,)),
        ((2, 3, 4), 2.01, (3,)),
        ((2, 3, 4), 4, (4,)),
        ((2, 3, 4), 5, (2, 3)),
        ((2, 3, 4), 8, (2, 4)),
        ((2, 3, 4), 9, (3, 3)),
        ((2, 3, 4), 64, (4, 4, 4)),
        ((2,), 3, (2, 2)),
        ((3,), 8, (3, 3)),
        ((4,), 64, (4, 4, 4)),
        ((4,), 1.5, (4,)),
    ],
)
def test_the_chain_that_is_just_large_enough(scales, factor, steps):
    assert best_chain(scales, (100, 200), (round(100 * factor), round(200 * factor))) == steps


@pytest.mark.parametrize(
    ("size", "after"),
    [
        (Size(scale=2.5), (50, 75)),
        (Size(scale=2.51), (50, 75)),
        (Size(width=100), (67, 100)),
        (Size(height=67), (67, 101)),
        (Size(width=100, height=60), (60, 90)),
        (Size(width=100, height=600), (67, 100)),
        (Size(long_side=64), (43, 64)),
        (Size(megapixels=0.01), (82, 122)),
    ],
)
def test_sizes(size, after):
    assert size.of(20, 30) == after


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no size: pass one size"),
        ({"scale": 2, "long_side": 5}, "scale=2, long_side=5: pass one size, or a width with a height"),
        ({"scale": 0.9}, r"outside 1\.\.64"),
        ({"width": -1}, "must be a finite number above 0"),
        ({"megapixels": math.nan}, "must be a finite number above 0"),
    ],
)
def test_sizes_that_cannot_be(values, message):
    with pytest.raises(InputError, match=message):
        Size(**values)


def test_sizes_that_do_not_enlarge():
    with pytest.raises(InputError, match="width=20 for an image of 30x20: it is larger already"):
        Size(width=20).of(20, 30)
    with pytest.raises(InputError, match="width=1000000 for an image of 30x20: more than 64 times as large"):
        Size(width=1_000_000).of(20, 30)


@pytest.mark.parametrize("size", [Size(scale=2.5), Size(scale=6), Size(width=31), Size(scale=1)])
@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 2), (12, 10, 3), (12, 10, 4), (1, 1, 3)])
def test_every_kind_of_picture_gets_the_exact_size(size, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = images.picture_from_array(pixels)
    result = chain_of(size)(picture)
    assert result.picture.pixels.shape[:2] == size.of(*shape[:2]) == result.report.output_size[::-1]
    assert result.picture.pixels.shape[2] == picture.pixels.shape[2]
    assert result.picture.pixels.dtype == np.uint8


def test_one_network_whose_size_is_exact_runs_as_it_does_alone():
    chain, picture = chain_of(Size(scale=3)), picture_of(12, 10)
    result = chain(picture)
    np.testing.assert_array_equal(result.image, chain.upscaler(3)(picture).image)
    assert (result.report.networks, result.report.reduced_from, result.report.scale) == ((3,), None, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_chain_rounds_once(dtype):
    """To the samples of the output: between networks 16 bits are kept, also of an 8-bit picture."""
    picture = picture_of(12, 10, dtype)
    result = chain_of(Size(scale=5))(picture)
    deep = picture_of(12, 10, np.uint16)
    chain = chain_of(Size(scale=6))
    large = chain.upscaler(3)(chain.upscaler(2)(deep).picture).image
    exact = imresize(large.astype(np.float64), 5 / 6) / (65535 / np.iinfo(dtype).max)
    assert result.image.dtype == dtype
    assert np.abs(result.image - exact.clip(0, np.iinfo(dtype).max)).max() <= 0.51
    assert (result.report.networks, result.report.reduced_from) == ((2, 3), (60, 72))


def test_a_report_of_several_networks_adds_up():
    seen = []
    chain, picture = chain_of(Size(scale=7)), picture_of(24, 20)
    result = chain(picture, budget=0.9, progress=seen.append)
    first = chain.upscaler(2)(images.picture_from_array(picture.pixels.astype(np.uint16) * 257), budget=0.9)
    second = chain.upscaler(4)(first.picture, budget=0.9)
    report, parts = result.report, (first.report, second.report)
    assert report.networks == (2, 4)
    assert (report.input_size, report.output_size, report.scale) == ((20, 24), (140, 168), 7)
    assert report.executed_gmacs == pytest.approx(sum(part.executed_gmacs for part in parts))
    assert report.memory_bytes == max(part.memory_bytes for part in parts) + picture.pixels.nbytes
    assert report.achieved_budget == pytest.approx(0.9, abs=0.02)
    assert report.model == "x2, x4"
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    np.testing.assert_array_equal(result.depth_map, first.depth_map)


@pytest.mark.parametrize("shape", [(40, 30, 3), (7, 901, 1), (900, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_reduction_is_that_of_imresize(shape, dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    out = np.empty((-(-shape[0] * 4 // 5), -(-shape[1] * 4 // 5), shape[2]), dtype)
    if shape[0] % 5 == shape[1] % 5 == 0:
        reduce_samples(image, out)
        expected = imresize(image.astype(np.float64), 4 / 5).clip(0, np.iinfo(dtype).max)
        assert np.abs(out - expected).max() <= 0.5 + np.iinfo(dtype).max * 1e-6
    reduce_samples(np.full(shape, 93, dtype), out)
    assert (out == 93).all()


def test_a_reduction_to_the_same_size_keeps_every_sample():
    image = np.random.default_rng(0).integers(0, 65536, (9, 8, 3), np.uint16)
    out = np.empty_like(image)
    reduce_samples(image, out)
    np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize(
    ("image", "out", "message"),
    [
        ((4, 4, 3), (5, 4, 3), "pass one within"),
        ((4, 4, 3), (4, 4, 1), "with the same channels"),
        ((1, 300_001, 1), (1, 9, 1), "sides are over 300000 pixels"),
    ],
)
def test_reductions_that_cannot_be(image, out, message):
    with pytest.raises(InputError, match=message):
        reduce_samples(np.zeros(image, np.uint8), np.zeros(out, np.uint8))


def test_a_plan_tells_what_all_networks_do():
    chain, picture = chain_of(Size(scale=7)), picture_of(24, 20)
    prepared = chain.prepare(picture)
    plan = prepared.plan()
    assert (plan.scales, plan.after, plan.reduced_from) == ((2, 4), (168, 140), (192, 160))
    result = prepared.run(plan)
    planned = sum(each.cost.total for each in plan.networks) / 1e9
    assert result.report.executed_gmacs == pytest.approx(planned)
    assert result.report.memory_bytes == plan.bytes == prepared.bytes
    budget = (prepared.least_budget + 1) / 2
    within = prepared.run(prepared.plan(budget=budget)).report
    assert within.executed_gmacs < result.report.executed_gmacs
    assert within.achieved_budget <= budget


def test_a_plan_counts_pixels_of_the_image_where_the_network_sees_squares():
    upscaler = Upscaler(model_of(NetworkConfig("esrgan", 2, 4, 1, growth=4, unshuffle=2)))
    prepared = Chain.of(upscaler).prepare(picture_of(13, 9))
    plan = prepared.plan()
    assert (plan.before, plan.after, plan.reduced_from) == ((13, 9), (26, 18), None)
    result = prepared.run(plan)
    assert (result.report.input_size, result.report.output_size) == ((9, 13), (18, 26))
    assert result.report.memory_bytes == plan.bytes


def test_a_budget_too_small_for_any_network_is_refused_before_one_runs():
    chain, picture = chain_of(Size(scale=7)), picture_of(24, 20)
    prepared = chain.prepare(picture)
    least = prepared.least_budget
    with pytest.raises(BudgetError, match="use at least"):
        prepared.plan(budget=least - 0.01)
    report = prepared.run(prepared.plan(budget=least)).report
    assert report.achieved_budget <= least


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_reduction_in_linear_light_averages_light(dtype):
    """A board of black and white is half as bright as white: sRGB 188. Alpha is not light."""
    largest = np.iinfo(dtype).max
    image = np.zeros((40, 40, 4), dtype)
    image[:, ::2] = largest
    out = np.empty((20, 20, 4), dtype)
    reduce_samples(image, out, linear_colors=3)
    inner = out[5:-5, 5:-5] / largest
    assert np.abs(inner[..., :3] - 0.7354).max() < 0.003
    assert np.abs(inner[..., 3] - 0.5).max() < 0.003
    for value in (0, 1, largest // 3, largest):
        reduce_samples(np.full((7, 9, 3), value, dtype), flat := np.empty((5, 4, 3), dtype), linear_colors=3)
        assert (flat == value).all()


def test_a_chain_reduces_in_linear_light_where_that_is_asked():
    picture = images.picture_from_array(np.random.default_rng(0).integers(0, 2, (16, 16, 3), np.uint8) * 255)
    plain = chain_of(Size(scale=1))
    linear = Chain(plain.upscaler, plain.scales, plain.size, linear_light=True)
    assert linear(picture).image.mean() > plain(picture).image.mean() + 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("scale", [2, 2.5, 5])
def test_the_size_alone_tells_how_a_picture_is_cut_and_what_it_takes(scale, channels, bits):
    pixels = np.dstack([photo(20, 28), np.tile(np.arange(28, dtype=np.uint8), (20, 1))])[..., :channels]
    picture = images.picture_from_array(pixels if bits == 8 else pixels.astype(np.uint16) * 257)
    chain = chain_of(Size(scale=scale))
    outlook = chain.outlook(20, 28, channels, bits, has_alpha=channels == 4)
    prepared = chain.prepare(picture)
    plan = prepared.plan()
    assert (plan.after, plan.bytes) == ((outlook.height, outlook.width), outlook.bytes)
    for each, step in zip(plan.networks, outlook.steps, strict=True):
        assert (each.tiles, each.bytes) == (step.layout.tiles, step.layout.bytes)
        assert each.dense_cost == step.dense
    assert prepared.run(plan).report.memory_bytes == outlook.bytes
