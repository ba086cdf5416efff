"""Transparency is upscaled by the network, as a gray image."""

import numpy as np
import pytest

from adadsr import Execution, Upscaler, images
from adadsr.errors import InputError
from adadsr.images import Picture
from adadsr.resize import imresize
from upscaler_samples import CONFIGS, model_of, photo

SIDE, CENTRE, RADIUS = 64, (31.3, 30.6), 22.4


def disc(scale=1, samples=16):
    """Coverage of each pixel by a disc, in 0..255, for a picture `scale` times as large."""
    at = (np.arange(SIDE * scale * samples) + 0.5) / (scale * samples)
    inside = (at[:, None] - CENTRE[0]) ** 2 + (at - CENTRE[1]) ** 2 <= RADIUS**2
    return 255 * inside.reshape(SIDE * scale, samples, SIDE * scale, samples).mean((1, 3))


def transparent(alpha, color=(200, 60, 20)):
    """A picture of one colour, black where it is invisible."""
    pixels = np.zeros((*alpha.shape, 4), np.uint8)
    pixels[..., :3] = np.where(alpha[..., None] > 0, color, 0)
    pixels[..., 3] = np.rint(alpha)
    return pixels


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_round_shape_is_rounder_than_by_interpolation_and_has_no_fringe(scale):
    pixels, ideal = transparent(disc()), disc(scale)
    result = Upscaler.from_pretrained(f"adaedsr-baseline-x{scale}")(pixels).image
    edge = (ideal > 0) & (ideal < 255)
    interpolated = imresize(pixels[..., 3].astype(np.float32), scale).clip(0, 255)
    by_network, by_kernel = (np.abs(alpha - ideal)[edge].mean() for alpha in (result[..., 3], interpolated))
    assert by_network < 0.8 * by_kernel
    visible = result[..., 3] > 8
    assert np.abs(result[visible][:, :3].astype(int) - (200, 60, 20)).max() <= 3


def test_the_circle_of_the_cases(cases_dir):
    """Its edge stays as opaque as it was: area and centre are those of the input."""
    before = images.read_image(cases_dir / "alpha_circle.png").pixels[..., 3].astype(float)
    after = Upscaler.from_pretrained("adaedsr-baseline-x2")(cases_dir / "alpha_circle.png").image[..., 3]
    assert after.astype(float).sum() / 4 == pytest.approx(before.sum(), rel=2e-3)
    assert np.unique(after[40:44, 60:64]).tolist() == [255]
    assert np.unique(after[-8:, :8]).tolist() == [0]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_even_parts_are_exact(scale):
    """Masks ask for alpha == 0 and alpha == 255."""
    alpha = disc().round()
    pixels = transparent(alpha).astype(np.uint16) * 257
    result = Upscaler.from_pretrained(f"adaedsr-baseline-x{scale}", Execution(tile=40))(pixels).image[..., 3]
    for level, outermost in ((0, np.max), (255, np.min)):
        far = np.ones(alpha.shape, bool)
        for top in range(-3, 4):
            for left in range(-3, 4):
                far &= np.roll(alpha, (top, left), (0, 1)) == level
        assert outermost(result[far.repeat(scale, 0).repeat(scale, 1)]) == level * 257


def test_a_plan_for_other_transparency_is_refused():
    upscaler, even = Upscaler(model_of(CONFIGS["adaedsr"])), np.full((20, 20, 4), 255, np.uint8)
    uneven = even.copy()
    uneven[5:9, 5:9, 3] = 0
    plans = [(each, upscaler.prepare(each)) for each in (even, uneven)]
    for (_, one), (_, other) in (plans, plans[::-1]):
        with pytest.raises(InputError, match="another size, transparency"):
            one.run(other.plan())


@pytest.mark.parametrize("level", [0, 7, 255])
def test_even_transparency_stays_and_costs_nothing(level):
    upscaler, pixels = Upscaler(model_of(CONFIGS["adaedsr"])), photo(20, 17)
    with_alpha = np.dstack([pixels, np.full(pixels.shape[:2], level, np.uint8)])
    result, opaque = upscaler(with_alpha), upscaler(pixels)
    assert (result.image[..., 3] == level).all()
    assert result.report.executed_gmacs == opaque.report.executed_gmacs


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_the_result_for_the_gray_image(channels, dtype):
    upscaler, top = Upscaler(model_of(CONFIGS["adaedsr-tiles"]), Execution(tile=24)), np.iinfo(dtype).max
    alpha = np.random.default_rng(0).integers(0, top, (30, 35), dtype)
    pixels = np.full((30, 35, channels), top, dtype)
    pixels[..., -1] = alpha
    both, gray = upscaler(Picture(pixels), budget=0.9), upscaler(Picture(alpha[..., None]), budget=0.9)
    np.testing.assert_array_equal(both.image[..., -1], gray.image)


@pytest.mark.parametrize("request_", [{}, {"budget": 0.85}, {"depth": 1.5}])
@pytest.mark.parametrize("name", CONFIGS)
def test_transparency_counts_as_cost_and_meets_the_budget(name, request_):
    upscaler = Upscaler(model_of(CONFIGS[name]))
    pixels = np.dstack([photo(40, 40), photo(40, 40, 1)[..., 0]])
    prepared = upscaler.prepare(pixels)
    plan = prepared.plan(**request_)
    report, shares = prepared.run(plan).report, []
    assert plan.alpha is not None
    assert report.executed_gmacs == plan.cost.total / 1e9
    assert report.dense_gmacs == pytest.approx(2 * upscaler(pixels[..., :3]).report.dense_gmacs)
    assert report.achieved_budget <= request_.get("budget", 1)
    prepared.run(plan, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
