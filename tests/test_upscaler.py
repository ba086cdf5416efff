"""`Upscaler`: budgets, tiles, kinds of input, bad input, threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from adadsr import Upscaler, checkpoints, images
from adadsr.errors import BackendError, CheckpointError, ImageFileError, InputError
from adadsr.images import Picture
from adadsr.models import Network, NetworkConfig
from adadsr.sparse.backends import BACKENDS
from adadsr.upscaler import upscaler as upscaler_module
from adadsr.upscaler.memory import FRUGAL_LIMIT, PROCESS, Copies, Limits, default_limits, limits_for

BLOCKS = 4
CONFIGS = {
    "adaedsr": NetworkConfig("edsr", 2, 16, BLOCKS, adaptive=True),
    "adaedsr-tiles": NetworkConfig("edsr", 2, 16, BLOCKS, adaptive=True, depth_tile=4),
    "adarcan": NetworkConfig("rcan", 2, 16, BLOCKS, 2, adaptive=True),
    "adarcan-tiles": NetworkConfig("rcan", 2, 16, BLOCKS, 2, adaptive=True, depth_tile=4),
}
# As deep as the published network, so that the fixed parts leave room for a budget.
DEEP = NetworkConfig("edsr", 2, 8, 32, adaptive=True, depth_tile=4)


MEMORY_RUN = """
import re
import numpy as np
from adadsr import Upscaler
from adadsr.models import Network, NetworkConfig

network = Network(NetworkConfig("edsr", 2, 64, 2, adaptive=True, depth_tile=4))
image = np.random.default_rng(0).integers(0, 256, (900, 800, 4), np.uint8)
report = Upscaler(network, memory=700 * 2**20)(image, budget=0.7).report
# Not ru_maxrss, which a child takes over from a large parent.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(int(peak[1]) * 1024, report.tiles)
"""


def build(config: NetworkConfig) -> Network:
    torch.manual_seed(0)
    return Network(config)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with a flat, a smooth and a noisy part."""
    rows, columns = np.mgrid[:height, :width]
    smooth = 128 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    noise = np.random.default_rng(seed).normal(0, 40, (height, width)) * (columns > width / 2)
    flat = np.where(rows > height / 2, smooth + noise, 90)
    return np.stack([flat, 255 - flat, flat * 0.5], -1).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("name", CONFIGS)
def test_full_depth_is_the_dense_network(name: str) -> None:
    network = build(CONFIGS[name])
    lr = torch.from_numpy(photo(33, 29)).permute(2, 0, 1)[None].float()
    result = Upscaler(network)(lr)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        expected = network(lr).sr
    torch.testing.assert_close(result.image, expected, rtol=0, atol=1e-3)
    assert result.report.executed_gmacs == result.report.dense_gmacs == counter.get_total_flops() / 2e9
    assert result.report.achieved_budget == 1
    assert (result.depth_map == BLOCKS).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_depth_is_what_the_network_defines(name: str) -> None:
    network = build(CONFIGS[name])
    lr = torch.from_numpy(photo(33, 29)).permute(2, 0, 1)[None].float()
    result = Upscaler(network)(lr, depth=1.5)
    with torch.inference_mode():
        expected = network(lr, 1.5).sr
    torch.testing.assert_close(result.image, expected, rtol=0, atol=1e-3)


@settings(max_examples=20)
@given(budget=st.floats(0.3, 1.0), height=st.integers(20, 60), width=st.integers(20, 60), seed=st.integers(0, 99))
def test_a_budget_is_met_within_a_hundredth(budget: float, height: int, width: int, seed: int) -> None:
    report = Upscaler(build(DEEP))(photo(height, width, seed), budget=budget).report
    # One tile more or less is the finest step there is: 16 pixels through two convs of one block.
    step = 2 * 16 / (2 * 32 * height * width)
    assert abs(report.achieved_budget - budget) <= 0.01 + step
    assert report.executed_gmacs / report.dense_gmacs == pytest.approx(report.achieved_budget)
    assert sum(report.parts.values()) == pytest.approx(report.executed_gmacs)


@pytest.mark.parametrize("value", [0, 128])
def test_a_budget_is_met_on_a_flat_image(value: int) -> None:
    report = Upscaler(build(DEEP))(np.full((48, 52, 3), value, np.uint8), budget=0.5).report
    assert report.achieved_budget == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("value", [None, 128])
def test_a_budget_pays_for_whole_blocks(value: int | None) -> None:
    image = photo(48, 52) if value is None else np.full((48, 52, 3), value, np.uint8)
    depth_map = Upscaler(build(DEEP))(image, budget=0.53).depth_map
    np.testing.assert_array_equal(depth_map, np.round(depth_map))


def test_a_budget_below_the_fixed_parts_names_the_least() -> None:
    upscaler, image = Upscaler(build(DEEP)), photo(40, 40)
    with pytest.raises(InputError, match="ask for at least") as error:
        upscaler(image, budget=0.01)
    least = float(str(error.value).rsplit(" ", 1)[1])
    assert upscaler(image, budget=least).report.mean_depth == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("name", ["adaedsr", "adaedsr-tiles"])
@pytest.mark.parametrize("request_", [{}, {"depth": 2.2}, {"budget": 0.9}])
def test_tiles_give_the_whole_image(name: str, request_: dict[str, float]) -> None:
    network, image = build(CONFIGS[name]), torch.from_numpy(photo(61, 47)).permute(2, 0, 1).float()
    whole, tiled = (Upscaler(network, tile=tile)(image, **request_) for tile in (None, 16))
    assert (whole.report.tiles, tiled.report.tiles) == (1, 12)
    assert tiled.report.exact
    torch.testing.assert_close(tiled.image, whole.image, rtol=0, atol=1e-3)
    np.testing.assert_allclose(tiled.depth_map, whole.depth_map, atol=1e-4)


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("tile", [29, 30, 31])
def test_an_image_may_be_scored_whole_and_run_in_tiles(tile: int, backend: str) -> None:
    if BACKENDS[backend].missing(torch.device("cpu")) is not None:
        pytest.skip("the native engine was not built")
    network, image = build(CONFIGS["adaedsr"]), torch.from_numpy(photo(31, 31)).permute(2, 0, 1).float()
    whole, tiled = (Upscaler(network, tile=side, backend=backend)(image, budget=0.9) for side in (None, tile))
    assert tiled.report.tiles == (1 if tile == 31 else 4)
    torch.testing.assert_close(tiled.image, whole.image, rtol=0, atol=1e-3)


def test_tiles_of_attention_say_that_they_are_not_exact() -> None:
    report = Upscaler(build(CONFIGS["adarcan"]), tile=20)(photo(61, 47)).report
    assert report.tiles == 12
    assert not report.exact


def test_tiles_change_neither_the_budget_nor_much_of_the_ratio_of_costs() -> None:
    report = Upscaler(build(replace(DEEP, n_resblocks=6)), tile=60)(photo(200, 150), budget=0.6).report
    assert report.tiles == 12
    assert report.achieved_budget == pytest.approx(0.6, abs=0.01)
    assert report.executed_gmacs / report.dense_gmacs == pytest.approx(0.6, abs=0.06)


def test_a_memory_limit_that_holds_nothing_names_the_least() -> None:
    upscaler = Upscaler(build(DEEP), memory=1 << 20)
    with pytest.raises(InputError, match=r"a memory limit of 1 MiB is too small .* give at least \d+ MiB"):
        upscaler(photo(20, 20))


def test_the_result_is_of_the_kind_that_was_given(tmp_path: Path) -> None:
    upscaler, pixels = Upscaler(build(CONFIGS["adaedsr"])), photo(12, 10)
    from_array = upscaler(pixels)
    assert from_array.image.shape == (24, 20, 3)
    assert from_array.image.dtype == np.uint8
    assert upscaler(pixels[..., 0]).image.shape == (24, 20)
    assert upscaler(pixels.astype(np.uint16)).image.dtype == np.uint16
    from_pillow = upscaler(Image.fromarray(pixels)).image
    assert isinstance(from_pillow, Image.Image)
    np.testing.assert_array_equal(np.asarray(from_pillow), from_array.image)
    images.write_image(tmp_path / "a.png", Picture(pixels))
    from_file = upscaler(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(from_file.image, from_array.image)
    from_file.save(tmp_path / "b.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "b.png").pixels, from_array.image)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float()
    assert upscaler(tensor).image.shape == (3, 24, 20)
    assert upscaler(tensor[None]).image.shape == (1, 3, 24, 20)


def test_sixteen_bits_reach_the_network() -> None:
    upscaler, coarse = Upscaler(build(CONFIGS["adaedsr"])), photo(12, 10).astype(np.uint16) * 257
    fine = coarse.copy()
    fine[6, 5] ^= 64
    assert (upscaler(coarse).image != upscaler(fine).image).any()


def test_gray_stays_gray_and_alpha_keeps_its_level() -> None:
    upscaler = Upscaler(build(CONFIGS["adaedsr"]))
    gray_alpha = np.dstack([photo(12, 10)[..., 0], np.full((12, 10), 200, np.uint8)])
    result = upscaler(gray_alpha).image
    assert result.shape == (24, 20, 2)
    assert (result[..., 1] == 200).all()


def test_colour_under_transparency_does_not_show() -> None:
    upscaler, pixels = Upscaler(build(CONFIGS["adaedsr"])), photo(16, 16)
    alpha = np.zeros((16, 16, 1), np.uint8)
    alpha[:, 8:] = 255
    black, white = (np.where(alpha > 0, pixels, value).astype(np.uint8) for value in (0, 255))
    results = [upscaler(np.dstack([color, alpha])).image for color in (black, white)]
    np.testing.assert_array_equal(results[0], results[1])


def test_threads_share_an_upscaler() -> None:
    upscaler = Upscaler(build(CONFIGS["adaedsr-tiles"]))
    pictures = [photo(24 + 3 * index, 21, index) for index in range(6)]
    alone = [upscaler(picture, depth=2.0).image for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda picture: upscaler(picture, depth=2.0).image, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize(("tile", "reports"), [(10, 4 * (BLOCKS + 1)), (None, BLOCKS + 1)])
def test_progress_goes_on_within_an_image_and_ends_at_one(backend: str, tile: int | None, reports: int) -> None:
    shares: list[float] = []
    Upscaler(build(CONFIGS["adaedsr"]), backend=backend, tile=tile)(photo(20, 20), progress=shares.append)
    assert len(shares) == reports
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_rows_of_the_tail_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = build(CONFIGS["adaedsr-tiles"]), torch.from_numpy(photo(50, 40)).permute(2, 0, 1).float()
    whole = Upscaler(network)(image)
    monkeypatch.setattr(upscaler_module, "default_limits", lambda *_, **__: Limits(1000, 7 * 40))
    rows = Upscaler(network)(image)
    torch.testing.assert_close(rows.image, whole.image, rtol=0, atol=1e-3)
    assert rows.report.parts["tail"] > whole.report.parts["tail"]


def test_limits_grow_with_memory_and_shrink_with_what_is_held() -> None:
    config, context, gib, copies = CONFIGS["adaedsr"], 12, 2**30, Copies(8, 4)
    narrow, wide = (limits_for(config, context, size * gib, 0, None, copies) for size in (1, 2))
    assert narrow.side < wide.side
    assert narrow.tail_pixels < wide.tail_pixels
    assert limits_for(config, context, 2 * gib, gib, None, copies) == narrow
    window = (narrow.side + 2 * context) ** 2 * config.n_feats * 4
    assert copies.body * window <= gib - PROCESS
    assert limits_for(config, context, gib, 0, 100, copies).side == 100
    assert limits_for(config, context, gib, 0, None, Copies(4, 1)).side > narrow.side


def test_by_default_little_memory_is_taken_only_where_it_will_do() -> None:
    copies, gib = Copies(5, 1), 2**30
    small, large = (NetworkConfig("edsr", 2, 64, 16), 36), (NetworkConfig("edsr", 2, 256, 32), 68)
    assert default_limits(*small, 0, None, copies, frugal=True) == limits_for(*small, FRUGAL_LIMIT, 0, None, copies)
    for network, held in ((small, gib), (large, 0), (large, gib // 2)):
        assert default_limits(*network, held, None, copies, frugal=True) == limits_for(
            *network, 4 * gib, held, None, copies
        )
    assert default_limits(*small, 0, None, copies, frugal=False).side > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_stays_within_its_limit() -> None:
    """The peak of a whole process that upscales an image of many tiles, tails in rows and alpha included."""
    run = subprocess.run([sys.executable, "-c", MEMORY_RUN], capture_output=True, text=True, check=True)
    peak, tiles = (int(value) for value in run.stdout.split())
    assert tiles > 1
    assert peak <= 700 * 2**20


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"depth": -1.0}, r"depth=-1 is outside 0\.\.4"),
        ({"depth": 4.5}, r"depth=4\.5 is outside 0\.\.4"),
        ({"depth": float("nan")}, r"depth=nan is outside 0\.\.4"),
        ({"budget": 0.0}, r"budget=0 is outside \(0, 1\]"),
        ({"budget": 1.5}, r"budget=1\.5 is outside \(0, 1\]"),
        ({"budget": float("nan")}, r"budget=nan is outside \(0, 1\]"),
        ({"depth": 1.0, "budget": 0.5}, "both given; give one"),
    ],
)
def test_impossible_requests_are_refused(request_: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Upscaler(build(CONFIGS["adaedsr"]))(photo(8, 8), **request_)


def test_a_plain_network_runs_at_full_depth_only() -> None:
    upscaler = Upscaler(Network(NetworkConfig("edsr", 2, 8, 2)))
    assert upscaler(photo(8, 8), budget=1.0).image.shape == (16, 16, 3)
    with pytest.raises(InputError, match="no adapter"):
        upscaler(photo(8, 8), budget=0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    lr = torch.zeros(3, 8, 8)
    lr[0, 2, 3] = value
    with pytest.raises(InputError, match="NaN or inf"):
        Upscaler(build(CONFIGS["adaedsr"]))(lr)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (torch.zeros(8, 8), r"shape \(8, 8\)"),
        (torch.zeros(2, 3, 8, 8), r"shape \(2, 3, 8, 8\)"),
        (torch.zeros(1, 8, 8), r"shape \(1, 8, 8\)"),
        (torch.zeros(3, 0, 8), r"shape \(3, 0, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "type torch.uint8"),
    ],
)
def test_tensors_of_another_form_are_refused(lr: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Upscaler(build(CONFIGS["adaedsr"]))(lr)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        Upscaler.from_pretrained("nowhere")
    with pytest.raises(BackendError, match="backend 'fast' is not one of"):
        Upscaler(build(CONFIGS["adaedsr"]), backend="fast")
    with pytest.raises(InputError, match="device 'gpu' cannot be used"):
        Upscaler(build(CONFIGS["adaedsr"]), device="gpu")
    with pytest.raises(InputError, match="tile=0"):
        Upscaler(build(CONFIGS["adaedsr"]), tile=0)
    with pytest.raises(ImageFileError, match=r"none\.png"):
        Upscaler(build(CONFIGS["adaedsr"]))(tmp_path / "none.png")
    with pytest.raises(InputError, match="no file form"):
        Upscaler(build(CONFIGS["adaedsr"]))(torch.zeros(3, 8, 8)).save(tmp_path / "x.png")


def test_a_saved_checkpoint_gives_the_same_upscaler(tmp_path: Path) -> None:
    network, image = build(CONFIGS["adaedsr-tiles"]), photo(20, 20)
    checkpoints.save(network, tmp_path / "mine.safetensors")
    loaded = Upscaler.from_pretrained(tmp_path / "mine.safetensors")
    assert loaded.name == "mine"
    np.testing.assert_array_equal(loaded(image, depth=2).image, Upscaler(network)(image, depth=2).image)
