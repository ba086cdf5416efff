"""Channel attention in tiles: means of the whole image, from a first pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adadsr import Execution, Upscaler, checkpoints
from adadsr.backends import BACKENDS, to_numpy
from adadsr.errors import InputError
from adadsr.metrics import psnr_y
from adadsr.networks import Model, Network, NetworkConfig
from adadsr.resize import bicubic_downscale
from adadsr.training.start import start_from
from engine_samples import CASES, engine_of, run, whole
from graph_samples import depth_map_of, lr_images
from upscaler_samples import CONFIGS, model_of, photo, spied

every_attention = pytest.mark.parametrize(("name", "backbone", "tile"), [case for case in CASES if case[1] == "rcan"])


@every_attention
@pytest.mark.parametrize("full", [True, False])
def test_own_means_given_back_change_no_bit(name, backbone, tile, full):
    """Also where blocks run at no position."""
    engine, lr = engine_of(name, backbone, tile), lr_images(1, 2, 13, 10)
    depth_map = None if full else depth_map_of(engine.network, 1, 2, 13, 10) / 2
    z0 = engine.features(lr)
    own = engine.body(z0, depth_map)
    assert tuple(own.means.shape) == (len(engine.network.body.blocks), 2, engine.network.channels)
    again = engine.body(z0, depth_map, means=to_numpy(own.means))
    np.testing.assert_array_equal(to_numpy(again.means), to_numpy(own.means))
    np.testing.assert_array_equal(*(np.asarray(engine.tail(z, whole(lr))) for z in (own, again)))


@every_attention
def test_given_means_are_those_of_the_definition(name, backbone, tile):
    """The middle of an image, with the whole image's means, is what it is in the whole image."""
    engine, dense, lr = engine_of(name, backbone, tile), engine_of("dense", backbone, tile), lr_images(2, 1, 48, 48)
    means = to_numpy(dense.body(dense.features(lr)).means)
    part = engine.features(lr[:, 4:44, 4:44])
    sr = np.asarray(engine.tail(engine.body(part, means=means), whole(lr[:, 4:44, 4:44])))
    middle = slice(2 * 18, -2 * 18)
    inner = np.asarray(run(dense, lr, None))[:, 8:-8, 8:-8]
    np.testing.assert_allclose(sr[:, middle, middle], inner[:, middle, middle], rtol=0, atol=1e-2)


@pytest.mark.skipif(BACKENDS["triton"].missing("cpu") is not None, reason="triton is not installed, or runs on a GPU")
@pytest.mark.parametrize("full", [True, False])
def test_an_interpreted_engine_keeps_and_takes_means(full):
    engine, dense, lr = engine_of("triton", "rcan", 4), engine_of("dense", "rcan", 4), lr_images(3, 1, 9, 7)
    depth_map = None if full else depth_map_of(engine.network, 3, 1, 9, 7)
    z0 = engine.features(lr)
    own = engine.body(z0, depth_map)
    expected = to_numpy(dense.body(dense.features(lr), depth_map).means)
    np.testing.assert_allclose(to_numpy(own.means), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    again = engine.body(z0, depth_map, means=2 * expected)
    other = dense.body(dense.features(lr), depth_map, means=2 * expected)
    np.testing.assert_allclose(again.data, other.data, rtol=0, atol=1e-4 * np.abs(to_numpy(other.data)).max())
    assert np.abs(to_numpy(again.data) - to_numpy(own.data)).max() > 1e-2


@every_attention
def test_means_that_do_not_fit_are_refused(name, backbone, tile):
    engine = engine_of(name, backbone, tile)
    z0 = engine.features(lr_images(0, 1, 6, 6))
    with pytest.raises(InputError, match=r"means have shape \(1, 1, 8\) and type float32; pass contiguous float32, "):
        engine.body(z0, means=np.zeros((1, 1, 8), np.float32))


def test_a_first_pass_runs_in_tiles_only():
    for side, first, second in ((None, 0, 1), (20, 6, 4)):  # 48x40 pixels with the border, 40x32 without
        upscaler, spy = spied(Upscaler(model_of(CONFIGS["adarcan"]), Execution(tile=side)))
        upscaler(photo(40, 32))
        assert spy.count("body") == first + second
        assert spy.count("tail") == second


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_tiles_do_not_depend_on_threads_or_on_what_ran_before(backend):
    images = [
        Upscaler(model_of(CONFIGS["adarcan"]), Execution(backend=backend, tile=20, threads=threads))
        for threads in (1, 3, 3)
    ]
    results = [upscaler(photo(50, 41), budget=0.8).image for upscaler in images for _ in range(2)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """HR and LR of photos."""
    return [_pair(path, 2) for path in sorted((shared_data / "valid").iterdir())[::5]]


def _pair(path: Path, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """HR and LR of a photo."""
    with Image.open(path) as file:
        hr = np.asarray(file.convert("RGB"))
    hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
    return hr, bicubic_downscale(hr, scale)


@pytest.fixture(scope="module")
def attentive(photos: list[tuple[np.ndarray, np.ndarray]], shared_data: Path) -> Model:
    """An RCAN that started from an EDSR, with random attention, which varies more than after a short training."""
    network = Network(NetworkConfig("rcan", 2, 64, 4, 5), torch.Generator().manual_seed(0))
    corners = [(top, left) for top in range(0, 224, 56) for left in (24, 96, 168)]
    patches = [lr[top : top + 32, left : left + 32] for _, lr in photos for top, left in corners]
    lr = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float()
    start_from(network, str(shared_data.parent / "weights" / "dense-edsr-baseline-x2.safetensors"), lambda: lr)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in network.weights().body.blocks:
            block.attention.excite.weight.normal_(0, 0.05, generator=generator)
    return network.model()


def test_photos_in_tiles_are_close_to_the_whole(photos: list[tuple[np.ndarray, np.ndarray]], attentive: Model) -> None:
    """At most 2 levels and 0.05 dB in tiles of 128."""
    _check_tiles(attentive, photos)


@pytest.mark.parametrize("scale", [2, 4])
def test_photos_in_tiles_of_bundled_networks_are_close_to_the_whole(scale: int, shared_data: Path) -> None:
    photos = [_pair(path, scale) for path in sorted((shared_data / "valid").iterdir())[::5]]
    if scale == 4:  # or they would fit into one tile
        photos = [(np.tile(hr, (2, 2, 1)), np.tile(lr, (2, 2, 1))) for hr, lr in photos]
    _check_tiles(checkpoints.load_model(f"adarcan-small-x{scale}"), photos)


def _check_tiles(model: Model, photos: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """At most 2 levels and 0.05 dB in tiles of 128."""
    scale = model.config.scale
    upscalers = [Upscaler(model, Execution(tile=tile)) for tile in (None, 128)]
    for hr, lr in photos:
        once, tiled = (_shown(upscaler(lr).image) for upscaler in upscalers)
        assert np.abs(once.astype(int) - tiled).max() <= 2
        assert psnr_y(tiled, hr, scale) == pytest.approx(psnr_y(once, hr, scale), abs=0.05)


def _shown(image):
    return np.rint(image.clip(0, 255)).astype(np.uint8)
