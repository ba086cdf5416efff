"""How numpy's arrays go into the native engine and come out of it, and the arguments that it refuses."""

import gc
from collections.abc import Callable

import numpy as np
import pytest

from native_samples import _native, filled


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_a_view_is_the_canvas_s_memory() -> None:
    canvas = _native.Canvas(2, 5, 6, 3)
    view = canvas.view()
    assert view.shape == (2, 5, 6, 3)
    assert view.dtype == np.float32
    assert not view.any()
    view[1, 2] = 7
    assert (canvas.view()[1, 2] == 7).all()
    assert np.shares_memory(np.from_dlpack(view), canvas.view())


def test_a_view_keeps_the_memory_alive_and_counts() -> None:
    canvas = _native.Canvas(1, 5, 6, 3)
    assert canvas.is_unshared
    part = np.from_dlpack(canvas.view())[0, 1:3]
    part[:] = 2
    assert not canvas.is_unshared
    other = canvas.view()
    del part
    assert not canvas.is_unshared
    del canvas
    gc.collect()
    assert other.sum() == 2 * 2 * 6 * 3


def test_a_canvas_is_unshared_again_when_the_views_are_gone() -> None:
    canvas = _native.Canvas(1, 5, 6, 3)
    views = [canvas.view(), canvas.view()[:, 1:]]
    views.pop()
    assert not canvas.is_unshared
    views.pop()
    assert canvas.is_unshared


def test_what_is_only_read_may_be_read_only() -> None:
    images, weight, bias = read_only(zeros(1, 8, 8, 4)), read_only(zeros(4, 4, 3, 3)), read_only(zeros(4))
    canvas = filled(images)
    everywhere = _native.Positions(read_only(np.arange(4, dtype=np.int32)))
    depths, out = _native.Depths(read_only(zeros(1, 8, 8))), _native.Canvas(1, 8, 8, 4)
    packed, scratch = _native.TileWeights(weight, bias, "plain"), _native.Scratch()
    _native.conv_tiles(packed, canvas, out, everywhere, scratch, 1, depths=depths)
    _native.head(_native.HeadWeights(weight, bias, bias, "plain"), images, out, scratch, 1)
    _native.PixelWeights(weight, bias, "plain")
    canvas.copy_from(images, 1, read_only(zeros(1)))


@pytest.mark.parametrize(
    "index",
    [np.s_[:, ::-1], np.s_[:, :, ::2], np.s_[..., ::-1], np.s_[:, 1:, 2:, 1:3]],
    ids=["upside down", "every second column", "channels reversed", "a window"],
)
def test_images_are_read_and_written_with_any_strides(index: tuple) -> None:
    generator = np.random.default_rng(0)
    whole = generator.standard_normal((2, 9, 12, 4), dtype=np.float32)
    images = whole[index]
    assert not images.flags.c_contiguous
    np.testing.assert_array_equal(filled(images).view(), images)
    batch, height, width, channels = images.shape
    weight, bias = (generator.standard_normal(shape, dtype=np.float32) for shape in ((16, channels, 5, 5), (16,)))
    sets = [_native.UpsamplingWeights(weight, bias, "plain", 2)] * 16
    plain, strided = zeros(batch, 2 * height, 2 * width, 4), zeros(4, batch, 2 * width, 2 * height)
    _native.upsample(sets, filled(images), plain, 0, 0, 2)
    _native.upsample(sets, filled(images), strided.transpose(1, 3, 2, 0), 0, 0, 2)
    np.testing.assert_array_equal(strided.transpose(1, 3, 2, 0), plain)


def test_arrays_of_another_type_or_layout_are_refused() -> None:
    weight, bias, canvas = zeros(4, 4, 3, 3), zeros(4), _native.Canvas(1, 9, 9, 4)
    sets = [_native.UpsamplingWeights(zeros(4, 4, 5, 5), bias, "plain", 2)] * 16
    for bad in (weight.astype(np.float64), weight.transpose(0, 1, 3, 2), weight[0], weight.tolist()):
        with pytest.raises(TypeError):
            _native.TileWeights(bad, bias, "plain")
    for call in (
        lambda: _native.Positions(np.zeros(3, np.int64)),
        lambda: _native.Positions(np.zeros(6, np.int32)[::2]),
        lambda: _native.Depths(np.zeros((1, 3, 3))),
        lambda: canvas.copy_from(np.zeros((1, 9, 9, 4)), 1),
        lambda: canvas.copy_from(zeros(9, 9, 4), 1),
        lambda: canvas.copy_from(zeros(1, 9, 9, 4), 1, np.zeros(1)),
        lambda: _native.upsample(sets, canvas, read_only(zeros(1, 18, 18, 1)), 0, 0, 1),
    ):
        with pytest.raises(TypeError):
            call()


def test_caches_have_a_size() -> None:
    sizes = [_native.cache_bytes(level) for level in (1, 2, 3)]
    assert sizes[0] >= 4096
    assert sizes[0] <= sizes[1]
    for level in (0, 4):
        with pytest.raises(ValueError, match=f"a cache has level 1, 2 or 3, not {level}"):
            _native.cache_bytes(level)


SOURCE, OUT, SCRATCH = _native.Canvas(1, 9, 9, 4), _native.Canvas(1, 9, 9, 4), _native.Scratch()
NARROW, FIVE = _native.Canvas(1, 9, 8, 4), _native.Canvas(1, 9, 9, 5)
WEIGHT, BIAS = zeros(4, 4, 3, 3), zeros(4)
TILES, PIXELS = (kind(WEIGHT, BIAS, "plain") for kind in (_native.TileWeights, _native.PixelWeights))
EVERYWHERE, TOO_MANY = _native.Positions.all(9), _native.Positions.all(10)
TILE_DEPTHS = _native.Depths(zeros(1, 3, 3))
ATTENTION = _native.Attention(zeros(2, 4, 1, 1), zeros(2), zeros(4, 2, 1, 1), zeros(4))
UPSAMPLING = [_native.UpsamplingWeights(zeros(4, 4, 5, 5), BIAS, "plain", 2)]
HEAD = _native.HeadWeights(zeros(4, 3, 3, 3), BIAS, zeros(3), "plain")
PATCH = _native.PatchWeights(zeros(4, 4, 4, 4), BIAS, "plain")


def conv(source=SOURCE, out=OUT, tiles=EVERYWHERE, weights=TILES, **finish: object) -> None:
    _native.conv_tiles(weights, source, out, tiles, SCRATCH, 1, **finish)


def attend(out=OUT, update=SOURCE, tiles=EVERYWHERE, pixels=_native.Positions()) -> None:  # noqa: B008
    _native.attend(ATTENTION, out, update, tiles, pixels, SCRATCH, 1)


def upsample(sets: int = 16, shape: tuple[int, ...] = (1, 18, 18, 1), corner=(0, 0), source=SOURCE) -> None:
    _native.upsample(UPSAMPLING * sets, source, zeros(*shape), *corner, 1)


REFUSED: dict[str, Callable[[], object]] = {
    "source and out are the same canvas": lambda: conv(out=SOURCE),
    "out is 1x9x8x4, which is not 1 times the size of the source, 1x9x9x4": lambda: conv(out=NARROW),
    "a conv of 4 to 4 channels does not fit a source of 1x9x9x4 and out of 1x9x9x5": lambda: conv(out=FIVE),
    "plus is 1x9x8x4, not 1x9x9x4": lambda: conv(plus=NARROW),
    "position 9 lies outside the canvas, which has 9": lambda: conv(tiles=TOO_MANY),
    "a depth map of 1x2x3 has neither": lambda: conv(depths=_native.Depths(zeros(1, 2, 3))),
    "not 2 times the size": lambda: conv(weights=_native.TileWeights(WEIGHT, BIAS, "plain", 2)),
    "position 81 lies outside the canvas, which has 81": lambda: _native.conv_pixels(
        PIXELS, SOURCE, OUT, _native.Positions.all(82), 1
    ),
    "needs a depth for each pixel": lambda: _native.conv_pixels(PIXELS, SOURCE, OUT, EVERYWHERE, 1, depths=TILE_DEPTHS),
    "position 9 lies outside": lambda: _native.clear_tiles(OUT, TOO_MANY, 1),
    "position 81 lies outside": lambda: attend(pixels=_native.Positions.all(82)),
    "update has to be another canvas": lambda: attend(update=OUT),
    "update has to be another canvas of the size of out": lambda: attend(update=NARROW),
    "the attention has 4 channels, the canvas 5": lambda: attend(FIVE, _native.Canvas(1, 9, 9, 5)),
    "is of a 3x3 conv, not of a 1x1 one": lambda: _native.Attention(zeros(2, 4, 3, 3), zeros(2), WEIGHT, BIAS),
    "not 4 to 2 and 3 to 4": lambda: _native.Attention(zeros(2, 4, 1, 1), zeros(2), zeros(4, 3, 1, 1), zeros(4)),
    "not 4 to 5 and 5 to 4": lambda: _native.Attention(zeros(5, 4, 1, 1), zeros(5), zeros(4, 5, 1, 1), zeros(4)),
    "positions have to rise": lambda: _native.Positions(np.array([3, 3], np.int32)),
    "positions have to rise and to start at 0": lambda: _native.Positions(np.array([-1, 3], np.int32)),
    "positions have to start at 0": lambda: _native.Positions().span(-1, 3),
    "1 images of 0x9 pixels with 4 channels; give at least 1": lambda: _native.Canvas(1, 0, 9, 4),
    "2^31 pixels or more; run the image in tiles": lambda: _native.Canvas(1, 2**30, 2**30, 4),
    "a value that is not a number": lambda: _native.Depths(zeros(1, 3, 3) / np.float32("nan")),
    "is of a 5x5 conv, not of a 3x3 one": lambda: _native.TileWeights(zeros(4, 4, 5, 5), BIAS, "plain"),
    "the bias has 3 channels, the weight 4": lambda: _native.TileWeights(WEIGHT, zeros(3), "plain"),
    "from 1 to 65536 channels, not 0": lambda: _native.TileWeights(zeros(0, 4, 3, 3), zeros(0), "plain"),
    "'mmx' is not one of this machine's: .*plain": lambda: _native.TileWeights(WEIGHT, BIAS, "mmx"),
    "4 output channels are not divisible by .* 9": lambda: _native.TileWeights(WEIGHT, BIAS, "plain", 3),
    "from 1 to 4, not 5": lambda: _native.TileWeights(WEIGHT, BIAS, "plain", 5),
    "tiles and pixels are the same list": lambda: _native.select_pixels(TILE_DEPTHS, 0, 3, EVERYWHERE, EVERYWHERE, 1),
    "the images are 1x9x9x5, not 1x9x9x4": lambda: SOURCE.copy_from(zeros(1, 9, 9, 5), 1),
    "2 scales for 1 images": lambda: SOURCE.copy_from(zeros(1, 9, 9, 4), 1, zeros(2)),
    "is of a 3x3 conv, not of a 5x5 one": lambda: _native.UpsamplingWeights(WEIGHT, BIAS, "plain", 2),
    "6 output channels are not divisible": lambda: _native.UpsamplingWeights(zeros(6, 4, 5, 5), zeros(6), "plain", 2),
    "0 sets of weights; give 16": lambda: upsample(sets=0),
    "15 sets of weights; give 16": lambda: upsample(sets=15),
    "out has to be 1xHxWx1 with multiples of 2": lambda: upsample(shape=(1, 18, 17, 1)),
    "out has to be 1xHxWx1 with": lambda: upsample(shape=(1, 18, 18, 2)),
    "rows 3 to 10 of 9": lambda: upsample(shape=(1, 14, 18, 1), corner=(3, 0)),
    "rows -1 to 3 of 9": lambda: upsample(shape=(1, 8, 18, 1), corner=(-1, 0)),
    "columns 3 to 10 of 9": lambda: upsample(shape=(1, 18, 14, 1), corner=(0, 3)),
    "columns -1 to 3 of 9": lambda: upsample(shape=(1, 18, 8, 1), corner=(0, -1)),
    "the weights do not fit the canvas": lambda: upsample(source=FIVE),
    "the mean has 4 channels, the images 3": lambda: _native.HeadWeights(zeros(4, 3, 3, 3), BIAS, BIAS, "plain"),
    "at most 1024 channels, not 1025": lambda: _native.HeadWeights(zeros(4, 1025, 3, 3), BIAS, zeros(1025), "plain"),
    "the images are 1x9x9x2, not 1x9x9x3": lambda: _native.head(HEAD, zeros(1, 9, 9, 2), OUT, SCRATCH, 1),
    "out has 5 channels, the weights have 4": lambda: _native.head(HEAD, zeros(1, 9, 9, 3), FIVE, SCRATCH, 1),
    "is of a 4x3 conv": lambda: _native.PatchWeights(zeros(4, 4, 4, 3), BIAS, "plain"),
    "a side of 1 to 16 pixels, not 17": lambda: _native.PatchWeights(zeros(4, 4, 17, 17), BIAS, "plain"),
    "a pixel for each patch": lambda: _native.patch_embed(PATCH, SOURCE, _native.Canvas(1, 3, 2, 4), SCRATCH, 1),
    "source has 5 channels": lambda: _native.patch_embed(PATCH, FIVE, _native.Canvas(1, 3, 3, 4), SCRATCH, 1),
    "1 positions of 0 images": lambda: _native.attention_bytes(0, 4, 1),
}


@pytest.mark.parametrize("why", REFUSED)
def test_arguments_that_do_not_match_are_refused(why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("^", r"\^")):
        REFUSED[why]()
