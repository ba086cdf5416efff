"""Checkpoints of ESRGAN and Compact in all their namings, against plain definitions, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor
from torch.nn import functional as F

from adadsr import Execution, Upscaler, checkpoints, images
from adadsr.backends import BACKENDS, prepare, to_numpy
from adadsr.errors import CheckpointError, InputError
from adadsr.geometry import Box
from adadsr.networks import NetworkConfig
from cli_samples import call
from test_published import assert_same, write
from upscaler_samples import model_of, photo

REAL = Path(__file__).parents[2] / "shared" / "weights"
ESRGAN = NetworkConfig("esrgan", 4, n_feats=8, n_resblocks=3, growth=4)
COMPACT = NetworkConfig("compact", 4, n_feats=8, n_resblocks=3)
NAMINGS = ("Real-ESRGAN", "BSRGAN", "ESRGAN")
DOUBLINGS = {1: 0, 2: 1, 4: 2, 8: 3}


def at(config: NetworkConfig, **changes: int) -> NetworkConfig:
    return NetworkConfig(**{**config.__dict__, **changes})


def layer_names(config: NetworkConfig, naming: str) -> dict[str, str]:
    """Our layers -> theirs, written down a second time."""
    ups, blocks = DOUBLINGS[config.tail_scale], range(config.n_resblocks)
    chains = [(b, c, k) for b in blocks for c in range(3) for k in range(1, 6)]
    if naming == "ESRGAN":
        names = {"head.conv": "model.0", "body.conv": f"model.1.sub.{config.n_resblocks}"}
        names |= {f"body.blocks.{b}.{c}.conv{k}": f"model.1.sub.{b}.RDB{c + 1}.conv{k}.0" for b, c, k in chains}
        # Upsample, conv and LeakyReLU for each doubling; then conv, LeakyReLU, conv.
        names |= {f"tail.upsample.{u}": f"model.{3 + 3 * u}" for u in range(ups)}
        return names | {"tail.hidden": f"model.{2 + 3 * ups}", "tail.conv": f"model.{4 + 3 * ups}"}
    real = naming == "Real-ESRGAN"
    names = {"head.conv": "conv_first", "body.conv": "conv_body" if real else "trunk_conv"}
    block = "body.{}.rdb{}.conv{}" if real else "RRDB_trunk.{}.RDB{}.conv{}"
    names |= {f"body.blocks.{b}.{c}.conv{k}": block.format(b, c + 1, k) for b, c, k in chains}
    names |= {f"tail.upsample.{u}": f"conv_up{u + 1}" if real else f"upconv{u + 1}" for u in range(ups)}
    return names | {"tail.hidden": "conv_hr" if real else "HRconv", "tail.conv": "conv_last"}


def esrgan_file(config: NetworkConfig, naming: str = "Real-ESRGAN") -> dict[str, np.ndarray]:
    names = layer_names(config, naming)
    tensors = model_of(config).tensors
    return {
        f"{theirs}.{leaf}": tensors[f"{ours}.{leaf}"] for ours, theirs in names.items() for leaf in ("weight", "bias")
    }


def compact_file(config: NetworkConfig) -> dict[str, np.ndarray]:
    tensors, last = model_of(config).tensors, 2 * config.n_resblocks + 2
    layers = {"body.0": "head", f"body.{last}": "tail"}
    layers |= {f"body.{2 * b + 2}": f"body.blocks.{b}" for b in range(config.n_resblocks)}
    named = {
        f"{theirs}.{leaf}": tensors[f"{ours}.conv.{leaf}"]
        for theirs, ours in layers.items()
        for leaf in ("weight", "bias")
    }
    named |= {f"body.{2 * b + 3}.weight": tensors[f"body.blocks.{b}.slope"] for b in range(config.n_resblocks)}
    return named | {"body.1.weight": tensors["head.slope"]}


def conv(tensors: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)


def rrdbnet(tensors: dict[str, Tensor], image: Tensor, config: NetworkConfig) -> Tensor:
    """RRDBNet in the naming of Real-ESRGAN, for images in 0..1; with 1x1 convs it is that of ESRGAN+."""
    first = z = conv(tensors, "conv_first", F.pixel_unshuffle(image, config.unshuffle))
    for block in range(config.n_resblocks):
        start = z
        for chain in range(1, 4):
            name, seen = f"body.{block}.rdb{chain}", [z]
            for k in range(1, 5):
                grown = F.leaky_relu(conv(tensors, f"{name}.conv{k}", torch.cat(seen, 1)), 0.2)
                if f"{name}.conv1x1.weight" in tensors:
                    grown = grown + F.conv2d(z, tensors[f"{name}.conv1x1.weight"]) if k == 2 else grown
                    grown = grown + seen[2] if k == 4 else grown
                seen.append(grown)
            z = z + 0.2 * conv(tensors, f"{name}.conv5", torch.cat(seen, 1))
        z = start + 0.2 * z
    z = first + conv(tensors, "conv_body", z)
    for up in range(DOUBLINGS[config.tail_scale]):
        z = F.leaky_relu(conv(tensors, f"conv_up{up + 1}", F.interpolate(z, scale_factor=2)), 0.2)
    return conv(tensors, "conv_last", F.leaky_relu(conv(tensors, "conv_hr", z), 0.2))


def srvgg(tensors: dict[str, Tensor], image: Tensor, config: NetworkConfig) -> Tensor:
    """SRVGGNetCompact for images in 0..1."""
    z = image
    for index in range(2 * config.n_resblocks + 3):
        z = F.prelu(z, tensors[f"body.{index}.weight"]) if index % 2 else conv(tensors, f"body.{index}", z)
    return F.pixel_shuffle(z, config.scale) + F.interpolate(image, scale_factor=config.scale)


def as_tensors(tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in tensors.items()}


VARIANTS = [
    *[at(ESRGAN, scale=scale) for scale in (1, 2, 4, 8)],
    at(ESRGAN, scale=2, unshuffle=2),
    at(ESRGAN, scale=1, unshuffle=4),
    at(ESRGAN, n_feats=5, n_resblocks=12, growth=3),
]


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_every_naming_of_esrgan_gives_back_the_network(tmp_path, config, naming, suffix):
    path = write(tmp_path / f"model.{suffix}", esrgan_file(config, naming))
    conversion = checkpoints.read_published(path)
    assert (conversion.naming, conversion.notes) == (naming, ())
    assert_same(conversion.model, model_of(config))


@pytest.mark.parametrize(
    "config", [*[at(COMPACT, scale=scale) for scale in (1, 2, 3, 4, 8)], at(COMPACT, n_resblocks=1)]
)
def test_compact_gives_back_the_network(tmp_path, config):
    conversion = checkpoints.read_published(write(tmp_path / "model.pth", {"params": compact_file(config)}))
    assert conversion.naming == "Compact"
    assert_same(conversion.model, model_of(config))


@pytest.mark.parametrize("wrapper", ["params_ema", "params-ema", "params", "net", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "netG."])
@pytest.mark.parametrize("naming", NAMINGS)
def test_wrappers_and_prefixes(tmp_path, naming, prefix, wrapper):
    tensors = {prefix + name: value for name, value in esrgan_file(ESRGAN, naming).items()}
    path = write(tmp_path / "model.pth", {wrapper: tensors})
    assert_same(checkpoints.read_published(path).model, model_of(ESRGAN))


def with_points(tensors: dict[str, np.ndarray], config: NetworkConfig) -> dict[str, np.ndarray]:
    """The same with the 1x1 convs of ESRGAN+."""
    rng, result = np.random.default_rng(0), dict(tensors)
    for name in tensors:
        if name.endswith("conv1.weight") and ".rdb" in name:
            point = rng.standard_normal((config.growth, config.n_feats, 1, 1)).astype(np.float32)
            result[name.replace("conv1.", "conv1x1.")] = point
    return result


@pytest.mark.parametrize("backend", [name for name in ("native", "torch") if BACKENDS[name].missing("cpu") is None])
@pytest.mark.parametrize("config", [*VARIANTS[1:3], *VARIANTS[4:6], "plus", COMPACT, at(COMPACT, scale=1)], ids=str)
def test_a_converted_network_computes_what_the_published_one_does(tmp_path, config, backend):
    tensors = compact_file(config) if config in (COMPACT, at(COMPACT, scale=1)) else None
    if tensors is None:
        plus, config = config == "plus", ESRGAN if config == "plus" else config
        tensors = with_points(esrgan_file(config), config) if plus else esrgan_file(config)
    conversion = checkpoints.read_published(write(tmp_path / "model.safetensors", tensors))
    assert any("ESRGAN+" in note for note in conversion.notes) == any("conv1x1" in name for name in tensors)
    image = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    published = srvgg if config.backbone == "compact" else rrdbnet
    expected = published(as_tensors(tensors), image, config).permute(0, 2, 3, 1).numpy()
    squares = F.pixel_unshuffle(image * 255, config.unshuffle).permute(0, 2, 3, 1).numpy()
    engine = prepare(conversion.model.weights(), backend)
    sr = to_numpy(engine.tail(engine.body(engine.features(squares)), Box(0, 0, *squares.shape[1:3])))
    assert np.abs(sr / 255 - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("unshuffle", [2, 4])
def test_odd_images_are_completed_to_whole_squares(unshuffle):
    config = at(ESRGAN, scale=4 // unshuffle, unshuffle=unshuffle)
    model, image = model_of(config), photo(23, 17)
    result = Upscaler(model, Execution(border="zero"))(image)
    assert result.depth_map.shape == (1, 23, 17)
    lr = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    padded = F.pad(lr, (0, -17 % unshuffle, 0, -23 % unshuffle), mode="reflect")
    expected = rrdbnet(as_tensors(esrgan_file(config)), padded, config)[0].permute(1, 2, 0).numpy()
    height, width = 23 * config.scale, 17 * config.scale
    difference = result.image / 255 - expected[:height, :width].clip(0, 1)
    assert result.image.shape == (height, width, 3)
    assert np.abs(difference).max() <= 0.51 / 255


@pytest.mark.parametrize(
    ("name", "published"),
    [("realesrgan-x4plus", rrdbnet), ("realesrgan-x4plus-anime", rrdbnet), ("realesr-animevideov3", srvgg)],
)
def test_real_networks_equal_a_plain_definition(here, name, published):
    """From the command line. Runs where the files of the Real-ESRGAN project are."""
    source = REAL / f"{name}.safetensors"
    if not source.exists():
        pytest.skip(f"{source.name} is not here")
    assert call("convert", source, "ours.safetensors", "--half").exit_code == 0
    config, image = checkpoints.load("ours.safetensors").config, photo(20, 26)
    lr = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        expected = published(as_tensors(load_file(source)), lr, config)[0].permute(1, 2, 0).numpy().clip(0, 1)
    for given, tolerance in ((image, 1 / 255), (image.astype(np.uint16) * 257, 1e-3)):
        images.write_image("lr.png", images.picture_from_array(given))
        zeros = ("--border", "zero", "--overwrite", "--device", "cpu")
        assert call("upscale", "lr.png", "-o", "sr.png", "-m", "ours.safetensors", *zeros).exit_code == 0
        written = images.read_image("sr.png").pixels
        assert written.dtype == given.dtype
        assert np.abs(written / np.iinfo(written.dtype).max - expected).max() <= tolerance


def gray(tensors):
    return tensors | {"conv_first.weight": tensors["conv_first.weight"][:, :1]}


REFUSED = {
    "its first conv takes 1 channels; adadsr runs networks for RGB": gray(esrgan_file(ESRGAN)),
    r"misshapen \(1\): conv_last.weight \(1, 8, 3, 3\) instead of \(3, 8, 3, 3\)": esrgan_file(ESRGAN)
    | {"conv_last.weight": np.zeros((1, 8, 3, 3), np.float32)},
    r"missing \(1\): conv_hr.bias": {k: v for k, v in esrgan_file(ESRGAN).items() if k != "conv_hr.bias"},
    r"unexpected \(1\): conv_up4.weight": esrgan_file(at(ESRGAN, scale=8))
    | {"conv_up4.weight": np.zeros(1, np.float32)},
    "scale=0 is not one of 1, 2, 3, 4, 8": esrgan_file(at(ESRGAN, scale=1))
    | {"conv_first.weight": np.zeros((8, 12, 3, 3), np.float32)},
    "a Compact network from 3 to 20 channels": compact_file(COMPACT)
    | {"body.8.weight": np.zeros((20, 8, 3, 3), np.float32)},
    r"unexpected \(1\): body.0.rdb1.conv1x1.bias": with_points(esrgan_file(ESRGAN), ESRGAN)
    | {"body.0.rdb1.conv1x1.bias": np.zeros(4, np.float32)},
    "NaN or infinity in conv_last.bias": esrgan_file(ESRGAN) | {"conv_last.bias": np.full(3, np.nan, np.float32)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_networks_of_another_form_are_refused_with_the_reason(tmp_path, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read_published(write(tmp_path / "model.safetensors", REFUSED[message]))


def test_only_edsr_has_a_residual_scale(tmp_path):
    with pytest.raises(InputError, match="only EDSR has a residual scale"):
        checkpoints.read_published(write(tmp_path / "model.pth", esrgan_file(ESRGAN)), res_scale=0.2)
