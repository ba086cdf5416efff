"""`Upscaler`: that it gives what the network defines, kinds of input and of result, bad input, threads."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from adadsr import Execution, Upscaler, checkpoints, images
from adadsr.backends import BACKENDS
from adadsr.errors import BackendError, CheckpointError, ImageFileError, InputError
from adadsr.graph.network import FAR_CONTEXT
from adadsr.images import Picture
from adadsr.networks import Network, NetworkConfig
from adadsr.upscaler import Report
from engine_samples import AVAILABLE
from upscaler_samples import BLOCKS, CONFIGS, model_of, photo, tensor_photo

EXPECTED_ERROR = 1e-3
"""In 0..255; networks here and the reference compute in float32."""


@pytest.fixture(scope="module")
def upscaler():
    return Upscaler(model_of(CONFIGS["adaedsr"]))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("depth", [None, 1.5, 0.0, BLOCKS])
def test_a_depth_is_what_the_network_defines(name, depth):
    # Without tiles of one colour, which only `Upscaler` gives one depth.
    noise = 8 * torch.rand(1, 3, 33, 29, generator=torch.Generator().manual_seed(0))
    model, lr = model_of(CONFIGS[name]), (tensor_photo(33, 29)[None] + noise).clamp(0, 255)
    result = Upscaler(model, Execution(border="zero"))(lr, depth=depth)
    with torch.inference_mode():
        expected = Network.of(model)(lr, None if depth in (None, BLOCKS) else depth).sr.clamp(0, 255)
    torch.testing.assert_close(result.image, expected, rtol=0, atol=EXPECTED_ERROR)
    if depth in (None, BLOCKS):
        assert result.report.achieved_budget == 1
        assert result.report.executed_gmacs == result.report.dense_gmacs
        assert (result.depth_map == BLOCKS).all()


DEFAULT_BACKEND = next(name for name, row in BACKENDS.items() if row.missing("cpu") is None)


@pytest.mark.parametrize(
    "config", [NetworkConfig("esrgan", 4, 8, 2, growth=4), NetworkConfig("compact", 3, 8, 4)], ids=["esrgan", "compact"]
)
@pytest.mark.parametrize("tile", [None, 16])
def test_networks_of_another_form_run_through_the_same_door(config, tile):
    model, lr = model_of(config), tensor_photo(30, 21)[None]
    result = Upscaler(model, Execution(tile=tile, border="zero"))(lr)
    with torch.inference_mode():
        expected = Network.of(model)(lr).sr.clamp(0, 255)
    torch.testing.assert_close(result.image, expected, rtol=0, atol=EXPECTED_ERROR)
    assert result.report.backend == DEFAULT_BACKEND
    assert result.report.exact


@pytest.mark.parametrize("backend", [name for name in ("native", "torch") if BACKENDS[name].missing("cpu") is None])
def test_an_adaptive_esrgan_runs_sparsely_and_exactly_in_tiles(backend):
    """Its depth map is that of the whole image, and a block runs where the hidden features of the next are read."""
    model = model_of(NetworkConfig("esrgan", 2, 8, 2, adaptive=True, depth_tile=4, growth=4))
    lr = tensor_photo(61, 70)[None]
    whole, tiled = (Upscaler(model, Execution(tile=tile, backend=backend))(lr, budget=0.7) for tile in (None, 24))
    assert (whole.report.tiles, tiled.report.tiles) == (1, 9)
    assert tiled.report.exact
    assert abs(whole.report.achieved_budget - 0.7) < 0.01
    assert whole.report.executed_gmacs < 0.71 * whole.report.dense_gmacs
    assert 0 < whole.report.mean_depth < 2
    np.testing.assert_array_equal(whole.depth_map, tiled.depth_map)
    torch.testing.assert_close(whole.image, tiled.image, rtol=0, atol=EXPECTED_ERROR)


def test_a_network_that_looks_very_far_is_not_exact_in_tiles():
    model = model_of(NetworkConfig("esrgan", 2, 4, 6, growth=4))
    network = model.weights()
    assert (network.reach, network.context, network.has_exact_tiles) == (1 + 6 * 15 + 1 + 2, FAR_CONTEXT, False)
    lr = tensor_photo(20, 90)[None]
    reports = [Upscaler(model, Execution(tile=tile))(lr).report for tile in (None, 40)]
    assert [(report.tiles, report.exact) for report in reports] == [(1, True), (3, False)]


def test_the_result_is_of_the_kind_that_was_given(upscaler, tmp_path):
    pixels = photo(12, 10)
    from_array = upscaler(pixels)
    assert from_array.image.shape == (24, 20, 3)
    assert from_array.image.dtype == np.uint8
    assert upscaler(pixels[..., 0]).image.shape == (24, 20)
    assert upscaler(pixels.astype(np.uint16)).image.dtype == np.uint16
    from_pillow = upscaler(Image.fromarray(pixels)).image
    assert isinstance(from_pillow, Image.Image)
    np.testing.assert_array_equal(np.asarray(from_pillow), from_array.image)
    assert upscaler(Image.fromarray(pixels[..., 0])).image.mode == "L"
    images.write_image(tmp_path / "a.png", Picture(pixels))
    content = (tmp_path / "a.png").read_bytes()
    for file in (tmp_path / "a.png", str(tmp_path / "a.png"), content, io.BytesIO(content), Picture(pixels)):
        np.testing.assert_array_equal(upscaler(file).image, from_array.image)
    from_array.save(tmp_path / "b.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "b.png").pixels, from_array.image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 3, 12, 10)])
def test_tensors_come_back_as_they_went_in(upscaler, dtype, shape):
    lr = tensor_photo(12, 10).view(shape).to(dtype).requires_grad_()
    result = upscaler(lr)
    assert (result.image.shape, result.image.dtype) == ((*shape[:-2], 24, 20), dtype)
    assert result.image.device == lr.device
    assert not result.image.requires_grad
    assert result.picture is None
    result.image.mul_(2)  # an ordinary tensor
    step = 2 * 255 * torch.finfo(dtype).eps + EXPECTED_ERROR
    exact = upscaler(tensor_photo(12, 10)).image.double()
    assert (result.image.double().view_as(exact) / 2 - exact).abs().max() <= step


@pytest.mark.parametrize("value", [0.0, 1.0, 255.0, -0.2, 255.2])
def test_a_tensor_may_be_dark_bright_and_as_rough_as_a_computation_leaves_it(upscaler, value):
    lr = torch.full((3, 8, 8), value)
    lr[0, 0, 0] = min(max(value, 0), 255) // 2
    assert upscaler(lr).image.shape == (3, 16, 16)


def test_a_result_that_is_not_a_number_is_refused_in_every_form():
    model = model_of(CONFIGS["adaedsr"])
    with torch.no_grad():
        first = next(name for name in model.tensors if name.startswith("tail"))
        model.tensors[first][...] = np.nan
    upscaler = Upscaler(model)
    for image in (photo(9, 8), tensor_photo(9, 8)):
        with pytest.raises(InputError, match="result contains NaN or infinity; check the weights and the input"):
            upscaler(image)


def test_a_tensor_s_strides_do_not_matter(upscaler):
    whole = tensor_photo(30, 40)
    window = whole[:, 4:16, 7:17]
    expected = upscaler(window.contiguous()).image
    last = window.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for lr in (window, last):
        assert torch.equal(upscaler(lr).image, expected)


def test_sixteen_bits_reach_the_network(upscaler):
    coarse = photo(12, 10).astype(np.uint16) * 257
    fine = coarse.copy()
    fine[6, 5] ^= 64
    assert (upscaler(coarse).image != upscaler(fine).image).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 3), (12, 10, 4)])
def test_floating_point_arrays_are_in_0_to_1(upscaler, shape, dtype):
    pixels = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    floats = (pixels / 65535).astype(dtype)
    result = upscaler(floats).image
    assert (result.dtype, result.shape) == (dtype, (24, 20, *shape[2:]))
    assert 0 <= result.min() < result.max() <= 1
    exact = upscaler(np.rint(floats * np.float64(65535)).astype(np.uint16)).image / 65535
    np.testing.assert_allclose(result, exact, rtol=0, atol=np.finfo(dtype).eps)
    assert upscaler(np.full((4, 4), 1.0005)).image.max() <= 1  # beyond 1 by rounding only


def test_results_are_clipped():
    model, lr = model_of(NetworkConfig("esrgan", 4, 8, 2, growth=4)), tensor_photo(30, 21)[None]
    with torch.inference_mode():
        assert float(Network.of(model)(lr).sr.min()) < 0
    result = Upscaler(model)(lr).image
    assert 0 <= float(result.min()) < float(result.max()) <= 255


def test_a_pillow_image_keeps_its_info(upscaler):
    given = Image.fromarray(photo(12, 10))
    exif = Image.Exif()
    exif[0x010F], exif[0x0100] = "Maker", 10
    given.info.update(
        exif=exif.tobytes(),
        dpi=(300, 300),
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    )
    result = upscaler(given)
    assert result.image.info["dpi"] == (300, 300)
    assert result.image.info["icc_profile"][:128] == given.info["icc_profile"][:128]
    assert (result.image.getexif()[0x010F], result.image.getexif()[0x0100]) == ("Maker", 20)
    file = Image.open(io.BytesIO(result.to_bytes("jpeg", quality=80)))
    assert (file.format, file.size, file.getexif()[0x010F]) == ("JPEG", (20, 24), "Maker")


def test_gray_stays_gray_and_alpha_keeps_its_level(upscaler):
    gray_alpha = np.dstack([photo(12, 10)[..., 0], np.full((12, 10), 200, np.uint8)])
    result = upscaler(gray_alpha).image
    assert result.shape == (24, 20, 2)
    assert (result[..., 1] == 200).all()


def test_colour_under_transparency_does_not_show(upscaler):
    pixels, alpha = photo(16, 16), np.zeros((16, 16, 1), np.uint8)
    alpha[:, 8:] = 255
    black, white = (np.where(alpha > 0, pixels, value).astype(np.uint8) for value in (0, 255))
    results = [upscaler(np.dstack([color, alpha])).image for color in (black, white)]
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("tile", [None, 16])
def test_a_constant_picture_stays_constant_inside(tile):
    """Wherever the network's zeros around the picture do not reach."""
    model = model_of(CONFIGS["adaedsr-tiles"])
    sr = Upscaler(model, Execution(tile=tile))(torch.full((3, 60, 60), 93.0)).image
    reach = 2 * (1 + 2 * BLOCKS + 1 + 2)
    inside = sr[:, reach:-reach, reach:-reach]
    # One value for each of the four pixels that PixelShuffle makes of one.
    for row in (0, 1):
        for column in (0, 1):
            part = inside[:, row::2, column::2]
            torch.testing.assert_close(part, part[:, :1, :1].expand_as(part), rtol=0, atol=EXPECTED_ERROR)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (3, 3)])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_smallest_pictures_run(name, size):
    result = Upscaler(model_of(CONFIGS[name]))(photo(*size), depth=2.0)
    assert result.image.shape == (2 * size[0], 2 * size[1], 3)
    assert result.depth_map.shape == (CONFIGS[name].n_groups, *size)


def test_threads_share_an_upscaler():
    upscaler = Upscaler(model_of(CONFIGS["adaedsr-tiles"]))
    pictures = [photo(24 + 3 * index, 21, index) for index in range(6)]
    alone = [upscaler(picture, depth=2.0).image for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda picture: upscaler(picture, depth=2.0).image, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads_share_a_prepared_image():
    upscaler, spans = Upscaler(model_of(CONFIGS["adarcan"])), [0.7, 0.75, 0.8, 0.85, 0.9, 1.0]
    prepared = upscaler.prepare(photo(33, 28))
    alone = [prepared.run(prepared.plan(budget=budget)).image for budget in spans]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda budget: prepared.run(prepared.plan(budget=budget)).image, spans))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_numbers_are_refused(upscaler, value):
    lr = torch.zeros(3, 8, 8)
    lr[0, 2, 3] = value
    with pytest.raises(InputError, match="NaN or inf"):
        upscaler(lr)


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (torch.zeros(8, 8), r"shape \(8, 8\)"),
        (torch.zeros(2, 3, 8, 8), r"shape \(2, 3, 8, 8\)"),
        (torch.zeros(1, 8, 8), r"shape \(1, 8, 8\)"),
        (torch.zeros(3, 0, 8), r"shape \(3, 0, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "got torch.uint8"),
        (np.zeros((8, 8, 5), np.uint8), "8, 8, 5"),
        (
            np.full((8, 8, 3), 93.0),
            r"floating-point array has values in 93\.\.93, but 0\.\.1 is expected; divide it by 255",
        ),
        (np.full((8, 8, 3), -0.5), r"has values in -0\.5\.\.-0\.5, but 0\.\.1"),
        (np.full((8, 8, 3), np.nan), "NaN or infinity"),
        (np.zeros((0, 8, 3)), "not empty"),
        (np.zeros((8, 8, 3), complex), "complex128"),
        (torch.full((3, 8, 8), 0.5), r"looks like 0\.\.1 .*but 0\.\.255 is expected; multiply by 255"),
        (torch.full((3, 8, 8), -1.0), r"tensor has values in -1\.\.-1, but 0\.\.255 is expected; scale or clamp it"),
        (torch.linspace(0, 256, 192).view(3, 8, 8), r"in 0\.\.256"),
        (17, "expected a path, bytes, open file, array, Pillow image or tensor, got int"),
        (None, "got NoneType"),
    ],
)
def test_images_of_another_form_are_refused(upscaler, lr, message):
    with pytest.raises(InputError, match=message):
        upscaler(lr)


def test_missing_things_are_named(upscaler, tmp_path):
    model = model_of(CONFIGS["adaedsr"])
    with pytest.raises(CheckpointError, match="nowhere"):
        Upscaler.from_pretrained("nowhere")
    with pytest.raises(BackendError, match="backend 'fast' is not one of"):
        Upscaler(model, Execution(backend="fast"))
    with pytest.raises(InputError, match="device 'gpu' is not available"):
        Upscaler(model, Execution(device="gpu"))
    with pytest.raises(ImageFileError, match=r"none\.png"):
        upscaler(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot be saved as a file"):
        upscaler(torch.zeros(3, 8, 8)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match="cannot be saved as a file"):
        upscaler(torch.zeros(3, 8, 8)).to_bytes("png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile": 0}, "tile=0 must be at least 1 LR pixel"),
        ({"tile": "32"}, "tile='32' must be a whole number"),
        ({"memory": 0}, "memory=0 must be at least 1 byte"),
        ({"memory": float("nan")}, "memory=nan must be a whole number"),
        ({"threads": -1}, "threads=-1 must be at least 1"),
        ({"threads": 2.0}, r"threads=2\.0 must be a whole number"),
        ({"precision": "half"}, "precision='half' is not one of float32, float16, bfloat16"),
    ],
)
def test_values_of_an_execution_are_checked(values, message):
    with pytest.raises(InputError, match=message):
        Execution(**values)


@pytest.mark.skipif("native" not in AVAILABLE, reason="the native engine was not built")
def test_threads_reach_the_engine(monkeypatch):
    model = model_of(CONFIGS["adaedsr"])
    monkeypatch.setenv("ADADSR_THREADS", "3")
    found = [Upscaler(model, Execution(backend="native", threads=count)).engine.threads for count in (None, 2)]
    assert found == [3, 2]


def test_a_saved_checkpoint_gives_the_same_upscaler(tmp_path):
    model, image = model_of(CONFIGS["adaedsr-tiles"]), photo(20, 20)
    checkpoints.save(model, tmp_path / "mine.safetensors")
    loaded = Upscaler.from_pretrained(tmp_path / "mine.safetensors")
    assert loaded.name == "mine"
    np.testing.assert_array_equal(loaded(image, depth=2).image, Upscaler(model)(image, depth=2).image)
    assert Upscaler(model).name == "adaedsr"


def test_a_report_of_frames_is_about_all_of_them():
    upscaler = Upscaler(model_of(CONFIGS["adaedsr-tiles"]))
    frames = [upscaler(photo(40, 40, seed), depth=depth).report for seed, depth in ((0, 1.0), (1, 3.0))]
    assert Report.of_frames(frames[:1]) == frames[0]
    report = Report.of_frames(frames)
    for name in ("achieved_budget", "mean_depth", "predicted_loss"):
        values = [getattr(each, name) for each in frames]
        assert getattr(report, name) == pytest.approx(np.mean(values))
        assert values[0] != values[1]
    unknown = replace(frames[1], predicted_loss=None)
    assert Report.of_frames([frames[0], unknown]).predicted_loss is None


def test_files_that_are_damaged_or_have_pages_are_taken_where_asked(upscaler):
    content = images.encode(images.picture_from_array(photo(40, 40)), "png")
    with pytest.raises(ImageFileError, match="truncated or corrupt"):
        upscaler(content[:-300])
    assert upscaler(content[:-300], accept_damaged=True).picture.damage
    frames = [images.picture_from_array(photo(12, 12)), images.picture_from_array(photo(12, 12)[::-1])]
    animation = images.encode_frames(frames, images.Facts(12, 12, (50, 50), 0), "webp", quality=100)
    second = upscaler(np.ascontiguousarray(photo(12, 12)[::-1])).image
    np.testing.assert_array_equal(upscaler(animation, page=2).image[..., :3], second)
