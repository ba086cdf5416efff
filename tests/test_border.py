"""Pictures are continued beyond their border: constant ones stay constant, and the cost counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr import Execution, Upscaler, checkpoints, images
from adadsr.checkpoints import bundled_models
from adadsr.errors import InputError
from adadsr.upscaler.frame import REFLECTED, Frame
from upscaler_samples import CONFIGS, model_of, photo

BUNDLED = [model.name for model in bundled_models()]
sides = st.integers(1, 30)
colors = st.tuples(*3 * [st.sampled_from([0, 64, 128, 192, 255])])


@pytest.fixture(scope="module", params=BUNDLED)
def upscaler(request):
    return Upscaler.from_pretrained(request.param)


@settings(max_examples=12)
@given(height=sides, width=sides, color=colors, budget=st.sampled_from([1.0, 0.75, 0.6]))
def test_constant_pictures_stay_constant(upscaler, height, width, color, budget):
    picture = np.full((height, width, 3), color, np.uint8)
    result = upscaler(picture, budget=budget if upscaler.config.adaptive else None)
    assert np.abs(result.image.astype(int) - color).max() <= 1


def drawing(colors) -> tuple[np.ndarray, np.ndarray]:
    """A disc with an outline on a plain ground, (80, 80, 3), and where no edge is within 8 pixels."""
    distance = np.hypot(*(np.mgrid[:80, :80] - 40))
    parts = [distance < 25, (distance >= 25) & (distance < 27), distance >= 27]
    picture = sum(part[..., None] * np.array(color, np.uint8) for part, color in zip(parts, colors, strict=True))
    return picture.astype(np.uint8), np.abs(distance - 26) > 9


@settings(max_examples=6)
@given(colors=st.tuples(colors, st.just((0, 0, 0)), colors))
def test_plain_areas_of_a_drawing_stay_plain(upscaler, colors):
    picture, plain = drawing(colors)
    result = upscaler(picture, budget=0.75 if upscaler.config.adaptive else None)
    expected, plain = (each.repeat(result.report.scale, 0).repeat(result.report.scale, 1) for each in (picture, plain))
    assert np.abs(result.image.astype(int) - expected)[plain].max() <= 4  # 3 in adaedsr-photo-x2; at 0.6 more than 10


def test_constant_pictures_stay_constant_in_tiles(upscaler):
    tiled = Upscaler(checkpoints.load_model(upscaler.name), Execution(tile=40))
    result = tiled(np.full((90, 70, 3), 255, np.uint8))
    assert result.report.tiles > 1
    assert result.image.min() >= 254


@pytest.mark.parametrize("name", BUNDLED)
def test_a_white_page_has_no_edge(cases_dir, name):
    result = Upscaler.from_pretrained(name)(cases_dir / "white_background.png")
    picture = images.read_image(cases_dir / "white_background.png").pixels[..., :3]
    white = (picture == 255).all(-1).repeat(result.report.scale, 0).repeat(result.report.scale, 1)
    edge = np.ones_like(white)
    edge[4:-4, 4:-4] = False
    assert result.picture.pixels[..., :3][white & edge].min() >= 254


@given(height=st.integers(1, 12), width=st.integers(1, 12), border=st.integers(0, 9))
def test_a_frame_is_the_picture_reflected(height, width, border):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    mirrored = ((border, border), (border, border), (0, 0))
    expected = np.pad(picture, mirrored, mode="reflect")
    np.testing.assert_array_equal(Frame(height, width, border).extended(picture), expected)


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("name", ["adaedsr", "adaedsr-tiles"])
def test_a_result_is_that_of_the_reflected_picture(name, tile):
    model, picture = model_of(CONFIGS[name]), photo(33, 29)
    mirrored = np.pad(picture, ((REFLECTED, REFLECTED), (REFLECTED, REFLECTED), (0, 0)), mode="reflect")
    inner = slice(2 * REFLECTED, -2 * REFLECTED)
    expected = Upscaler(model, Execution(border="zero"))(mirrored).image[inner, inner]
    result = Upscaler(model, Execution(tile=tile))(picture)
    assert np.abs(result.image.astype(int) - expected).max() <= 1  # rounding
    assert result.report.border == "reflect"


@pytest.mark.parametrize("name", CONFIGS)
def test_the_border_counts_as_cost_and_meets_the_budget(name):
    model, picture = model_of(CONFIGS[name]), photo(24, 24)
    zero, reflected = (Upscaler(model, Execution(border=border))(picture, budget=0.9) for border in ("zero", "reflect"))
    assert reflected.report.dense_gmacs > 1.5 * zero.report.dense_gmacs  # 32x32 instead of 24x24
    assert reflected.report.achieved_budget <= 0.9
    assert reflected.report.achieved_budget == pytest.approx(
        reflected.report.executed_gmacs / reflected.report.dense_gmacs, abs=1e-6
    )
    assert reflected.depth_map.shape == zero.depth_map.shape


def test_an_unknown_border_is_refused():
    with pytest.raises(InputError, match="border='mirror' is not one of reflect, zero"):
        Execution(border="mirror")
