"""The native engine's lists of positions: selections, channel attention at lists, and threads that run side by side."""

import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_samples import ISAS, _native, filled

TILE = 4
SIZES = st.sampled_from([(1, 1, 1), (1, 4, 4), (2, 5, 7), (3, 33, 18), (1, 130, 141), (2, 150, 201)])
"""Images, rows and columns of a depth map: up to more than four pieces of a selection."""


def depth_map(seed: int, size: tuple[int, int, int]) -> np.ndarray:
    """Random depths from -1 to 4, many of them whole numbers."""
    generator = np.random.default_rng(seed)
    depths = generator.uniform(-1, 4, size)
    return np.where(generator.random(size) < 0.5, depths.round(), depths).astype(np.float32)


@given(
    seed=st.integers(0, 2**31),
    size=SIZES,
    low=st.sampled_from([-np.inf, 0.0, 1.0, 1.5]),
    high=st.sampled_from([0.0, 1.0, 2.5, np.inf]),
    first=st.integers(-3, 40_000),
    last=st.integers(-3, 70_000),
    threads=st.integers(-1, 5),
)
@settings(max_examples=60)
def test_depths_in_a_range_are_selected_in_raster_order(
    seed: int, size: tuple[int, int, int], low: float, high: float, first: int, last: int, threads: int
) -> None:
    depths, found = depth_map(seed, size), _native.Positions()
    _native.select_between(_native.Depths(depths), low, high, first, last, found, threads)
    matches = np.flatnonzero((depths > low) & (depths <= high))
    assert found.tolist() == [number for number in matches.tolist() if first <= number < last]


def tiles_and_pixels(depths: np.ndarray, low: float, break_even: float) -> tuple[list[int], list[int], int]:
    """The definition of `select_pixels`."""
    tiles: list[int] = []
    pixels: list[int] = []
    batch, rows, columns = depths.shape
    numbers = np.arange(depths.size).reshape(depths.shape)
    tile = 0
    for image in range(batch):
        for top in range(0, rows, TILE):
            for left in range(0, columns, TILE):
                window = image, slice(top, top + TILE), slice(left, left + TILE)
                active = numbers[window][depths[window] > low].tolist()
                if len(active) > break_even:
                    tiles.append(tile)
                else:
                    pixels += active
                tile += 1
    return tiles, pixels, int((depths > low).sum())


@given(
    seed=st.integers(0, 2**31),
    size=SIZES,
    low=st.sampled_from([-2.0, 0.0, 1.5, 4.0]),
    break_even=st.sampled_from([0.0, 3.5, 8.0, 16.0]),
    threads=st.integers(1, 5),
)
@settings(max_examples=60)
def test_tiles_and_pixels_are_selected_as_defined(
    seed: int, size: tuple[int, int, int], low: float, break_even: float, threads: int
) -> None:
    depths, tiles, pixels = depth_map(seed, size), _native.Positions.all(7), _native.Positions.all(7)
    active = _native.select_pixels(_native.Depths(depths), low, break_even, tiles, pixels, threads)
    assert (tiles.tolist(), pixels.tolist(), active) == tiles_and_pixels(depths, low, break_even)


def test_selections_reuse_the_memory_of_their_lists() -> None:
    depths = _native.Depths(depth_map(0, (1, 150, 201)))
    tiles, pixels = _native.Positions.with_room(38 * 51), _native.Positions.with_room(150 * 201)
    before = _native.allocations()
    for low in (-2.0, 1.0, 4.0, 0.0):
        _native.select_pixels(depths, low, 5.0, tiles, pixels, 3)
        _native.select_between(depths, low, 4.0, 0, 150 * 201, pixels, 3)
    assert _native.allocations() == before


def random_attention(channels: int, squeezed: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(1)
    shapes = ((squeezed, channels, 1, 1), (squeezed,), (channels, squeezed, 1, 1), (channels,))
    return tuple(generator.standard_normal(shape, dtype=np.float32) for shape in shapes)


@given(seed=st.integers(0, 2**31), height=st.integers(1, 40), width=st.integers(1, 40), threads=st.integers(1, 3))
@settings(max_examples=25)
def test_attention_counts_what_is_not_listed_as_zero(seed: int, height: int, width: int, threads: int) -> None:
    channels, size = 19, (2, height, width)
    generator = np.random.default_rng(seed)
    start, update = (generator.standard_normal((*size, channels), dtype=np.float32) for _ in range(2))
    depths, tiles, pixels = depth_map(seed, size), _native.Positions(), _native.Positions()
    _native.select_pixels(_native.Depths(depths), 1.0, 5.0, tiles, pixels, threads)
    listed = np.zeros(size, bool)
    listed.reshape(-1)[pixels.tolist()] = True
    tile_rows, tile_columns = -(-height // TILE), -(-width // TILE)
    for tile in tiles.tolist():
        image, row, column = np.unravel_index(tile, (2, tile_rows, tile_columns))
        listed[image, row * TILE : row * TILE + TILE, column * TILE : column * TILE + TILE] = True
    squeeze, squeeze_bias, excite, excite_bias = weights = random_attention(channels, 5)
    means = (update.astype(np.float64) * listed[..., None]).mean((1, 2))
    between = np.maximum(means @ squeeze[:, :, 0, 0].T + squeeze_bias, 0)
    scale = 1 / (1 + np.exp(-(between @ excite[:, :, 0, 0].T + excite_bias)))
    expected = start + scale[:, None, None] * update * listed[..., None]
    out = filled(start)
    _native.attend(_native.Attention(*weights), out, filled(update), tiles, pixels, _native.Scratch(), threads)
    np.testing.assert_allclose(out.view(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out.view()[~listed], start[~listed])


@pytest.mark.parametrize("pixel", [0, 3 * 9 + 3, 8 * 9 + 8, 81 + 4 * 9 + 4])
def test_attention_refuses_a_pixel_in_a_tile(pixel: int) -> None:
    """Two threads would add to it at the same time."""
    start = np.ones((2, 9, 9, 4), np.float32)
    out, update, scratch = filled(start), filled(start), _native.Scratch()
    attention = _native.Attention(*random_attention(4, 2))
    pixels = _native.Positions(np.array([pixel], np.int32))
    image, row, column = pixel // 81, pixel % 81 // 9, pixel % 9
    tile = image * 9 + row // TILE * 3 + column // TILE
    others = _native.Positions(np.array([number for number in range(18) if number != tile], np.int32))
    _native.attend(attention, out, update, others, pixels, scratch, 2)
    before = out.view().copy()
    with pytest.raises(ValueError, match="a pixel lies in one of the tiles"):
        _native.attend(attention, out, update, _native.Positions.all(18), pixels, scratch, 2)
    np.testing.assert_array_equal(out.view(), before)


class Operations:
    """Every operation that takes time, on arguments of its own, with what it writes."""

    def __init__(self, isa: str, seed: int, threads: int) -> None:
        self.threads, generator = threads, np.random.default_rng(seed)
        size, self.channels = (1, 90, 90), 16

        def random(*shape: int) -> np.ndarray:
            return generator.standard_normal(shape, dtype=np.float32)

        weight, bias = random(16, 16, 3, 3), random(16)
        self.images, self.depths = random(*size, 16), _native.Depths(np.abs(random(*size)))
        self.source, self.out = filled(self.images), _native.Canvas(*size, 16)
        self.patches, self.sr = _native.Canvas(1, 23, 23, 16), np.zeros((1, 180, 180, 3), np.float32)
        self.tiles, self.pixels = _native.Positions(), _native.Positions()
        self.lists, self.scratch = (_native.Positions(), _native.Positions()), _native.Scratch()
        _native.select_pixels(self.depths, 0.5, 8.0, self.tiles, self.pixels, 1)
        self.tile_weights, self.pixel_weights = (
            kind(weight, bias, isa) for kind in (_native.TileWeights, _native.PixelWeights)
        )
        self.head = _native.HeadWeights(random(16, 16, 3, 3), bias, random(16), isa)
        self.patch = _native.PatchWeights(random(16, 16, 4, 4), bias, isa)
        self.upsampling = [_native.UpsamplingWeights(random(12, 16, 5, 5), random(12), isa, 2)] * 16
        self.attention = _native.Attention(*random_attention(16, 4))
        self.large, self.map = random(256, 256, 3, 3), np.zeros((1, 1000, 1000), np.float32)
        self.isa = isa

    def conv_tiles(self) -> None:
        _native.conv_tiles(self.tile_weights, self.source, self.out, self.tiles, self.scratch, self.threads)

    def conv_pixels(self) -> None:
        _native.conv_pixels(self.pixel_weights, self.source, self.out, self.pixels, self.threads)

    def attend(self) -> None:
        lists = self.tiles, self.pixels
        _native.attend(self.attention, self.out, self.source, *lists, self.scratch, self.threads)

    def apply_head(self) -> None:
        _native.head(self.head, self.images, self.out, self.scratch, self.threads)

    def patch_embed(self) -> None:
        _native.patch_embed(self.patch, self.source, self.patches, self.scratch, self.threads)

    def upsample(self) -> None:
        _native.upsample(self.upsampling, self.source, self.sr, 0, 0, self.threads)

    def clear_tiles(self) -> None:
        _native.clear_tiles(self.out, self.tiles, self.threads)

    def copy_images(self) -> None:
        self.out.copy_from(self.images, self.threads)

    def copy_depths(self) -> None:
        _native.Depths(self.map)

    def select_between(self) -> None:
        _native.select_between(self.depths, 0.5, 9.0, 0, 90 * 90, self.lists[0], self.threads)

    def select_pixels(self) -> None:
        _native.select_pixels(self.depths, 0.5, 8.0, *self.lists, self.threads)

    def pack_tiles(self) -> None:
        _native.TileWeights(self.large, np.zeros(256, np.float32), self.isa)

    def pack_pixels(self) -> None:
        _native.PixelWeights(self.large, np.zeros(256, np.float32), self.isa)


NAMES = [name for name in vars(Operations) if not name.startswith("_")]


@pytest.fixture
def no_forced_switches():
    """A Python thread keeps the interpreter's lock until it gives it up itself."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("no_forced_switches")
def test_the_interpreter_is_not_locked_meanwhile(name: str) -> None:
    operation: Callable[[], None] = getattr(Operations("plain", 0, 2), name)
    assert calls_until_another_thread_runs(operation) < MOST_CALLS


@pytest.mark.usefixtures("no_forced_switches")
def test_a_locked_interpreter_would_be_noticed() -> None:
    assert calls_until_another_thread_runs(lambda: None) == MOST_CALLS


MOST_CALLS = 2000


def calls_until_another_thread_runs(operation: Callable[[], None]) -> int:
    begin, ran = threading.Event(), threading.Event()

    def other() -> None:
        begin.wait()
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    begin.set()
    calls = 0
    while not ran.is_set() and calls < MOST_CALLS:
        operation()
        calls += 1
    thread.join()
    return calls


def test_threads_that_call_side_by_side_get_their_own_results() -> None:
    """More callers than cores, each asking for another number of threads."""
    callers = [Operations(ISAS[0], seed, threads) for seed, threads in enumerate((1, 2, 2, 3, 4))]

    def run(caller: Operations, rounds: int) -> list[np.ndarray]:
        results = []
        for _ in range(rounds):
            for name in ("apply_head", "conv_tiles", "conv_pixels", "attend", "patch_embed", "upsample"):
                getattr(caller, name)()
            canvases = [caller.out.view().copy(), caller.patches.view().copy()]
            results.append(np.concatenate([array.ravel() for array in (*canvases, caller.sr)]))
        return results

    expected = [run(caller, 1)[0] for caller in callers]
    results: dict[int, list[np.ndarray]] = {}
    threads = [
        threading.Thread(target=lambda index=index: results.update({index: run(callers[index], 10)}), daemon=True)
        for index in range(len(callers))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for index, wanted in enumerate(expected):
        for result in results[index]:
            np.testing.assert_array_equal(result, wanted)
