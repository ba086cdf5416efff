"""Checkpoints of ESRGAN and Compact in all their namings, against plain definitions, and what is refused."""

import re
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
from adadsr.networks import Model, NetworkConfig
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


@pytest.mark.parametrize("config", [*[at(COMPACT, scale=scale) for scale in range(1, 9)], at(COMPACT, n_resblocks=1)])
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
@pytest.mark.parametrize(
    "config", [*VARIANTS[1:3], *VARIANTS[4:6], "plus", COMPACT, at(COMPACT, scale=1), at(COMPACT, scale=6)], ids=str
)
def test_a_converted_network_computes_what_the_published_one_does(tmp_path, config, backend):
    tensors = compact_file(config) if isinstance(config, NetworkConfig) and config.backbone == "compact" else None
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


def without(tensors, *parts: str):
    """Without the tensors whose names contain one of these."""
    return {name: value for name, value in tensors.items() if not any(part in name for part in parts)}


def first_sees(tensors, channels: int, name: str = "conv_first"):
    """The same, but for a first conv of so many channels."""
    weight = tensors[f"{name}.weight"]
    return tensors | {f"{name}.weight": np.zeros((len(weight), channels, 3, 3), np.float32)}


def wrapped(tensors, key: str = "params_ema", prefix: str = ""):
    return {key: {prefix + name: value for name, value in tensors.items()}}


def plus(naming: str):
    """ESRGAN+ in a naming: its 1x1 conv stands beside the first conv of each chain."""
    tensors, zeros = esrgan_file(ESRGAN, naming), np.zeros((ESRGAN.growth, ESRGAN.n_feats, 1, 1), np.float32)
    found = [re.fullmatch(r"(.*rdb\d\.)conv1(\.0)?\.weight", name, re.IGNORECASE) for name in tensors]
    points = {f"{match[1]}conv1x1.weight": zeros for match in found if match}
    assert len(points) == 3 * ESRGAN.n_resblocks
    return tensors | points


def plus_model() -> Model:
    """What `plus` is without 1x1 convs: as theirs are zero, the second output is only added to the fourth."""
    tensors, c, growth = dict(model_of(ESRGAN).tensors), ESRGAN.n_feats, ESRGAN.growth
    for name in [name for name in tensors if name.endswith("conv5.weight")]:
        weight = tensors[name].copy()
        weight[:, c + growth : c + 2 * growth] += weight[:, c + 3 * growth :]
        tensors[name] = weight
    return Model(ESRGAN, tensors)


RGB_ONLY = "adadsr runs networks for RGB images: 3 channels, or 12 or 48 with PixelUnshuffle"
X16 = {f"conv_up4.{leaf}": value for leaf, value in (("weight", np.zeros((8, 8, 3, 3))), ("bias", np.zeros(8)))}
KNOWN_VARIANTS = {
    # Those that spandrel 0.4 detects as ESRGAN or Compact, and what becomes of them: the table of docs/guide.md.
    "the names of Real-ESRGAN": (esrgan_file(ESRGAN), ESRGAN),
    "the names of BSRGAN and RealSR": (esrgan_file(ESRGAN, "BSRGAN"), ESRGAN),
    "the names of the original ESRGAN": (esrgan_file(ESRGAN, "ESRGAN"), ESRGAN),
    "ESRGAN+ in the names of Real-ESRGAN": (plus("Real-ESRGAN"), plus_model()),
    "ESRGAN+ in the names of BSRGAN": (plus("BSRGAN"), plus_model()),
    "ESRGAN+ in the names of the original ESRGAN": (plus("ESRGAN"), plus_model()),
    "params_ema": (wrapped(esrgan_file(ESRGAN)), ESRGAN),
    "params": (wrapped(esrgan_file(ESRGAN), "params"), ESRGAN),
    "module.": (wrapped(esrgan_file(ESRGAN), "params", "module."), ESRGAN),
    "module. before the original names": (wrapped(esrgan_file(ESRGAN, "ESRGAN"), prefix="module."), ESRGAN),
    **{f"ESRGAN x{scale}": (esrgan_file(at(ESRGAN, scale=scale)), at(ESRGAN, scale=scale)) for scale in (1, 2, 4, 8)},
    **{
        f"ESRGAN x{scale} with PixelUnshuffle {unshuffle}": (esrgan_file(config), config)
        for scale, unshuffle in ((1, 2), (2, 2), (4, 2), (1, 4), (2, 4))
        for config in [at(ESRGAN, scale=scale, unshuffle=unshuffle)]
    },
    "ESRGAN x16": (
        esrgan_file(at(ESRGAN, scale=8)) | X16,
        "x16 is not supported; adadsr runs ESRGAN with at most 3 upsampling convs, x8, and the file has at least 4",
    ),
    "ESRGAN x1/2": (
        first_sees(esrgan_file(at(ESRGAN, scale=2)), 48),
        "PixelUnshuffle by 4 and 1 upsampling conv make pictures smaller, x1/2; adadsr runs networks that enlarge",
    ),
    "ESRGAN x1/4": (
        first_sees(esrgan_file(at(ESRGAN, scale=1)), 48),
        "PixelUnshuffle by 4 and 0 upsampling convs make pictures smaller, x1/4; adadsr runs networks that enlarge",
    ),
    "ESRGAN of gray pictures": (first_sees(esrgan_file(ESRGAN), 1), f"its first conv takes 1 channel; {RGB_ONLY}"),
    "ESRGAN with transparency": (first_sees(esrgan_file(ESRGAN), 4), f"its first conv takes 4 channels; {RGB_ONLY}"),
    **{f"Compact x{n}": (compact_file(at(COMPACT, scale=n)), at(COMPACT, scale=n)) for n in range(1, 9)},
    "Compact of gray pictures": (
        first_sees(compact_file(COMPACT), 1, "body.0"),
        f"its first conv takes 1 channel; {RGB_ONLY}",
    ),
    "Compact with transparency": (
        first_sees(compact_file(COMPACT), 4, "body.0"),
        f"its first conv takes 4 channels; {RGB_ONLY}",
    ),
    "Compact with ReLU or LeakyReLU": (
        without(compact_file(COMPACT), "1.weight", "3.weight", "5.weight", "7.weight"),
        "a Compact network without PReLU: it has ReLU or LeakyReLU, and the file does not say which; adadsr runs those",
    ),
}


@pytest.mark.parametrize("variant", KNOWN_VARIANTS)
def test_every_variant_that_others_know_converts_or_is_refused_with_the_reason(tmp_path, variant):
    content, expected = KNOWN_VARIANTS[variant]
    path = write(tmp_path / "model.pth", content)
    if not isinstance(expected, str):
        model = model_of(expected) if isinstance(expected, NetworkConfig) else expected
        assert_same(checkpoints.read_published(path).model, model)
        return
    with pytest.raises(CheckpointError) as refused:
        checkpoints.read_published(path)
    assert str(refused.value).startswith(f"{path}: {expected}")


REFUSED = {
    r"misshapen \(1\): conv_last.weight \(1, 8, 3, 3\) instead of \(3, 8, 3, 3\)": esrgan_file(ESRGAN)
    | {"conv_last.weight": np.zeros((1, 8, 3, 3), np.float32)},
    r"missing \(1\): conv_hr.bias": without(esrgan_file(ESRGAN), "conv_hr.bias"),
    r"missing \(1\): body.1.rdb1.conv1.weight": without(esrgan_file(ESRGAN), "body.1.rdb1.conv1.weight"),
    r"of the blocks 0 to 2 \(Real-ESRGAN naming\) these are missing: 1; the file is incomplete, download": without(
        esrgan_file(ESRGAN), "body.1."
    ),
    r"of the blocks 0 to 2 \(ESRGAN naming\) these are missing: 0; ": without(
        esrgan_file(ESRGAN, "ESRGAN"), "model.1.sub.0."
    ),
    r"of the blocks 0 to 11 \(BSRGAN naming\) these are missing: 2, 3, 4, 5, 6, ...; ": without(
        esrgan_file(at(ESRGAN, n_resblocks=12), "BSRGAN"), *(f"RRDB_trunk.{block}." for block in range(2, 10))
    ),
    r"conv_first.weight has the shape \(8,\), not the four dimensions of a conv's weight": esrgan_file(ESRGAN)
    | {"conv_first.weight": np.zeros(8, np.float32)},
    r"body.0.rdb1.conv1.weight has the shape \(\), not the four": esrgan_file(ESRGAN)
    | {"body.0.rdb1.conv1.weight": np.zeros((), np.float32)},
    r"body.8.weight has the shape \(48,\), not the four": compact_file(COMPACT)
    | {"body.8.weight": np.zeros(48, np.float32)},
    "PixelUnshuffle by 2 and 0 upsampling convs make pictures smaller, x1/2": esrgan_file(at(ESRGAN, scale=1))
    | {"conv_first.weight": np.zeros((8, 12, 3, 3), np.float32)},
    "x16 of squares of 2x2 pixels is not supported; adadsr runs ESRGAN with at most 3": first_sees(
        esrgan_file(at(ESRGAN, scale=8)) | X16, 12
    ),
    "a Compact network from 3 to 20 channels": compact_file(COMPACT)
    | {"body.8.weight": np.zeros((20, 8, 3, 3), np.float32)},
    "a Compact network from 12 to 48 channels": first_sees(compact_file(COMPACT), 12, "body.0"),
    "scale=9 is not one of 1, 2, 3, 4, 5, 6, 7, 8": compact_file(COMPACT)
    | {"body.8.weight": np.zeros((243, 8, 3, 3), np.float32)},
    r"unexpected \(1\): body.0.rdb1.conv1x1.bias": with_points(esrgan_file(ESRGAN), ESRGAN)
    | {"body.0.rdb1.conv1x1.bias": np.zeros(4, np.float32)},
    "NaN or infinity in conv_last.bias": esrgan_file(ESRGAN) | {"conv_last.bias": np.full(3, np.nan, np.float32)},
    "no residual block in a known naming": without(compact_file(COMPACT), "body.0."),
}


@pytest.mark.parametrize("message", REFUSED)
def test_networks_of_another_form_are_refused_with_the_reason(tmp_path, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read_published(write(tmp_path / "model.safetensors", REFUSED[message]))


def test_only_edsr_has_a_residual_scale(tmp_path):
    with pytest.raises(InputError, match="only EDSR has a residual scale"):
        checkpoints.read_published(write(tmp_path / "model.pth", esrgan_file(ESRGAN)), res_scale=0.2)
