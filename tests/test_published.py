"""Published checkpoints in four namings: recognised, converted exactly, and refused with the names that do not fit."""

import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

from adadsr import checkpoints
from adadsr.checkpoints.namings import LAYOUTS
from adadsr.errors import CheckpointError, InputError
from adadsr.networks import Network, NetworkConfig
from adadsr.tensor_ops import OPS
from published_namings import MEAN, NAMINGS, published
from upscaler_samples import model_of

EDSR = NetworkConfig("edsr", 2, n_feats=8, n_resblocks=3)
RCAN = NetworkConfig("rcan", 2, n_feats=16, n_resblocks=2, n_groups=3)


def at(config, **changes):
    return NetworkConfig(**{**config.__dict__, **changes})


CASES = [
    *[(naming, at(EDSR, scale=scale)) for naming in ("AdaDSR", "EDSR-PyTorch", "BasicSR") for scale in (2, 3, 4)],
    *[(naming, at(RCAN, scale=scale)) for naming in ("AdaDSR", "RCAN", "BasicSR") for scale in (2, 3, 4)],
    *[("AdaDSR", at(config, scale=scale, adaptive=True)) for config in (EDSR, RCAN) for scale in (2, 3, 4)],
    ("RCAN", at(RCAN, n_groups=1, n_resblocks=1)),
    ("EDSR-PyTorch", at(EDSR, n_resblocks=1)),
    ("BasicSR", at(EDSR, n_resblocks=12)),
]


def tensors_of(content):
    """What torch.save takes: every array in nested dicts as a tensor."""
    if isinstance(content, np.ndarray):
        return torch.from_numpy(content)
    return type(content)((k, tensors_of(v)) for k, v in content.items()) if isinstance(content, dict) else content


def write(path: Path, content):
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(tensors_of(content), path)
    return path


def sr_of(model, lr):
    """The SR image of (N, 3, H, W) at full depth."""
    with torch.no_grad():
        return Network.of(model)(lr).sr


def assert_same(model, other):
    assert model.config == other.config
    assert model.tensors.keys() == other.tensors.keys()
    for name, value in model.tensors.items():
        np.testing.assert_array_equal(value, other.tensors[name], name)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(("naming", "config"), CASES, ids=[f"{naming}-{config.kind}" for naming, config in CASES])
def test_every_naming_gives_back_the_network(tmp_path, naming, config, suffix):
    model = model_of(config)
    path = write(tmp_path / f"published.{suffix}", published(model, naming))
    conversion = checkpoints.read_published(path)
    assert conversion.naming == naming
    assert_same(conversion.model, model)


def test_tensors_need_no_file(tmp_path):
    model = model_of(EDSR)
    conversion = checkpoints.from_published(published(model, "AdaDSR"), tmp_path / "where they came from")
    assert_same(conversion.model, model)
    for other in ({"a": MEAN}, {}):
        with pytest.raises(CheckpointError, match=r"where they came from: no residual block in a known naming"):
            checkpoints.from_published(other, tmp_path / "where they came from")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"state_dict": tensors, "scale": 2},
        lambda tensors: {"params": {}, "params_ema": tensors},
        lambda tensors: {"params": tensors, "iter": 5},
        lambda tensors: {"epoch": 1, "model": {"state_dict": tensors}},
        lambda tensors: OrderedDict((f"module.{name}", value) for name, value in tensors.items()),
        lambda tensors: {"model": {f"module.model.{name}": value for name, value in tensors.items()}},
        lambda tensors: {name: value.astype(np.float16) for name, value in tensors.items()},
        lambda tensors: {name: torch.nn.Parameter(torch.tensor(value).double()) for name, value in tensors.items()},
    ],
)
def test_wrappers_prefixes_and_other_precisions_are_read(tmp_path, wrap):
    model = model_of(EDSR)
    for name, value in model.tensors.items():  # numbers that float16 holds
        model.tensors[name] = value.astype(np.float16).astype(np.float32)
    path = write(tmp_path / "published.pt", wrap(published(model, "BasicSR")))
    assert_same(checkpoints.read_published(path).model, model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_type_of_safetensors_is_read(tmp_path, dtype):
    from safetensors.torch import save_file as save_tensors

    model = model_of(EDSR)
    tensors = {name: torch.tensor(value).to(dtype) for name, value in published(model, "BasicSR").items()}
    save_tensors(tensors, tmp_path / "published.safetensors")
    loaded = checkpoints.read_published(tmp_path / "published.safetensors").model
    names = NAMINGS["BasicSR"][0](EDSR)
    for name, value in loaded.tensors.items():
        np.testing.assert_array_equal(value, tensors[names[name]].float().numpy())


def test_files_before_pytorch_1_6_are_read(tmp_path):
    model = model_of(EDSR)
    path = tmp_path / "old.pt"
    torch.save(tensors_of(published(model, "EDSR-PyTorch")), path, _use_new_zipfile_serialization=False)
    assert_same(checkpoints.read_published(path).model, model)


def original_edsr(arrays, lr, config, res_scale):
    """EDSR as its repository runs it, from tensors in its naming: mean shifts as convs, scaled residuals."""
    tensors = tensors_of(arrays)

    def run(layer, x):
        weight = tensors[f"{layer}.weight"]
        return F.conv2d(x, weight, tensors[f"{layer}.bias"], padding=weight.shape[-1] // 2)

    z0 = z = run("head.0", run("sub_mean", lr))
    for b in range(config.n_resblocks):
        z = z + res_scale * run(f"body.{b}.body.2", F.relu(run(f"body.{b}.body.0", z)))
    z = run(f"body.{config.n_resblocks}", z) + z0
    z = F.pixel_shuffle(run("tail.0.0", z), 2)
    return run("add_mean", run("tail.1", z))


def test_the_residual_scale_is_folded(tmp_path):
    tensors = published(model_of(EDSR), "EDSR-PyTorch")
    path = write(tmp_path / "published.pt", tensors)
    lr = torch.rand(1, 3, 9, 7) * 255
    for given, used in ((None, 1.0), (0.1, 0.1), (0.25, 0.25)):
        conversion = checkpoints.read_published(path, res_scale=given)
        assert conversion.res_scale == used
        assert conversion.notes == (
            f"residual scale {used:g} (assumed; pass --res-scale X if the network used another)",
        )
        torch.testing.assert_close(sr_of(conversion.model, lr), original_edsr(tensors, lr, EDSR, used))


def test_the_released_large_edsr_has_residual_scale_0_1(tmp_path):
    large = NetworkConfig("edsr", 2, n_feats=256, n_resblocks=32)
    shapes = published(model_of(at(large, n_resblocks=1)), "BasicSR")
    tensors = {name: np.ones_like(value, np.float16) for name, value in shapes.items()}
    tensors |= {name.replace("body.0.", f"body.{b}."): v for name, v in tensors.items() for b in range(32)}
    path = write(tmp_path / "published.safetensors", tensors)
    conversion = checkpoints.read_published(path)
    assert conversion.model.config == large
    assert conversion.res_scale == 0.1
    block = {name: conversion.model.tensors[f"body.blocks.31.{name}"] for name in ("conv1.weight", "conv2.weight")}
    assert (block["conv1.weight"] == 1).all()
    assert (block["conv2.weight"] == np.float32(0.1)).all()
    assert (conversion.model.tensors["body.blocks.31.conv2.bias"] == np.float32(0.1)).all()
    assert checkpoints.read_published(path, res_scale=1).res_scale == 1


def test_only_repositories_that_keep_the_residual_scale_apart_have_one():
    found = {(layout.naming, layout.backbone): layout.large_res_scale for layout in LAYOUTS}
    assert {key for key, scale in found.items() if scale != 1} == {("EDSR-PyTorch", "edsr"), ("BasicSR", "edsr")}


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf")])
def test_a_residual_scale_outside_its_range_is_refused(tmp_path, value):
    path = write(tmp_path / "published.pt", published(model_of(EDSR), "EDSR-PyTorch"))
    with pytest.raises(InputError, match=r"must be finite and above 0"):
        checkpoints.read_published(path, res_scale=value)


def test_a_residual_scale_for_rcan_is_refused(tmp_path):
    path = write(tmp_path / "published.pt", published(model_of(RCAN), "RCAN"))
    with pytest.raises(InputError, match="only EDSR has a residual scale"):
        checkpoints.read_published(path, res_scale=0.1)


def test_a_trained_mean_shift_is_folded(tmp_path):
    """RCAN's training did not freeze these layers, so that its files hold values near the mean, not the mean."""
    tensors, rng = published(model_of(EDSR), "EDSR-PyTorch"), np.random.default_rng(0)
    for name in ("sub_mean", "add_mean"):
        tensors[f"{name}.weight"] += 0.01 * rng.standard_normal((3, 3, 1, 1), np.float32)
        tensors[f"{name}.bias"] += 0.5 * rng.standard_normal(3, np.float32)
    conversion = checkpoints.read_published(write(tmp_path / "published.pt", tensors))
    assert any("mean shift differs from the built-in one" in note for note in conversion.notes)
    lr = torch.rand(1, 3, 30, 30) * 255
    difference = (sr_of(conversion.model, lr) - original_edsr(tensors, lr, EDSR, 1.0)).abs()
    reach = 2 * (2 + 2 * EDSR.n_resblocks + 3)  # nothing further from the border sees the head's padding
    assert difference[..., reach:-reach, reach:-reach].max() < 1e-3
    assert difference.max() < 2


def test_the_mean_of_another_range_is_refused(tmp_path):
    tensors = published(model_of(EDSR), "EDSR-PyTorch")
    tensors["sub_mean.bias"] /= 255
    with pytest.raises(CheckpointError, match=r"differ from the mean of 0\.\.255 images by 114\.0, more than 16"):
        checkpoints.read_published(write(tmp_path / "published.pt", tensors))


def test_basicsr_computes_in_units_of_255(tmp_path):
    """Its image is 0..1 outside and (x - mean) * 255 inside, so weights carry over as they are."""
    tensors = published(model_of(EDSR), "BasicSR")
    image = torch.rand(1, 3, 6, 5)
    loaded = checkpoints.read_published(write(tmp_path / "published.pth", {"params": tensors})).model
    inside = (image - torch.from_numpy(MEAN).view(1, 3, 1, 1)) * 255
    first = F.conv2d(
        inside, *tensors_of({k: tensors[f"conv_first.{k}"] for k in ("weight", "bias")}).values(), padding=1
    )
    head = Network.of(loaded).weights().head
    torch.testing.assert_close(head.run(OPS, image * 255).detach(), first, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("naming", "config"), CASES[::3], ids=[f"{naming}-{config.kind}" for naming, config in CASES[::3]]
)
def test_what_does_not_fit_is_named_in_full(tmp_path, naming, config):
    tensors = published(model_of(config), naming)
    names = NAMINGS[naming][0](config)
    gone = names["body.conv.weight"]
    reshaped = names["head.conv.weight"]
    del tensors[gone]
    tensors[reshaped] = np.zeros((config.n_feats, 1, 3, 3), np.float32)
    tensors |= {"optimizer.step": MEAN[:1], "body.999999.body.0.weight": MEAN[:2]}
    with pytest.raises(CheckpointError) as error:
        checkpoints.read_published(write(tmp_path / "published.pth", tensors))
    message = str(error.value)
    assert f"in the naming of {naming}" in message
    assert f"missing (1): {gone}\n" in message
    assert "unexpected (2): optimizer.step, body.999999.body.0.weight\n" in message
    assert f"misshapen (1): {reshaped} ({config.n_feats}, 1, 3, 3) instead of ({config.n_feats}, 3, 3, 3)" in message


def test_a_missing_block_is_named(tmp_path):
    tensors = published(model_of(EDSR), "AdaDSR")
    gone = [name for name in tensors if name.startswith("block1.")]
    for name in gone:
        del tensors[name]
    with pytest.raises(CheckpointError, match=rf"missing \(4\): {', '.join(gone)}"):
        checkpoints.read_published(write(tmp_path / "published.pth", tensors))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.zeros(3)}, "no residual block in a known naming \\(AdaDSR"),
        ({"block77.layer0.weight": torch.zeros(3)}, "blocks are not numbered from 0"),
        ({"block0.layer0.weight": torch.zeros(3)}, "not a network that adadsr supports: n_feats=0"),
        ({"state_dict": {}}, "contains no named tensors"),
        ({3: torch.zeros(1)}, "contains no named tensors"),
        ([torch.zeros(1)], "contains no named tensors"),
        (torch.zeros(1), "contains no named tensors"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=rf"published\.pth: .*{message}"):
        checkpoints.read_published(write(tmp_path / "published.pth", content))


def test_a_pickle_that_contains_itself_is_refused(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "published.pth")
    with pytest.raises(CheckpointError, match="contains no named tensors"):
        checkpoints.read_published(tmp_path / "published.pth")


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path):
    tensors = tensors_of(published(model_of(EDSR), "AdaDSR"))
    tensors["block0.layer0.bias"] = torch.zeros(1).expand(2**40)
    with pytest.raises(CheckpointError, match=r"not plain floating-point tensors: block0\.layer0\.bias"):
        checkpoints.read_published(write(tmp_path / "published.pth", tensors))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    tensors = published(model_of(EDSR), "AdaDSR")
    tensors["block2.layer2.bias"][3] = float("nan")
    with pytest.raises(CheckpointError, match=r"NaN or infinity in block2\.layer2\.bias"):
        checkpoints.read_published(write(tmp_path / "published.pth", tensors))


class RunsCode:
    """A pickle of this creates a file when it is loaded without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, new_format):
    path, marker = tmp_path / "published.pth", tmp_path / "marker"
    content = {**tensors_of(published(model_of(EDSR), "AdaDSR")), "extra": RunsCode(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    for read in (checkpoints.read_published, checkpoints.load, checkpoints.load_model):
        with pytest.raises(CheckpointError):
            read(path)
    with pytest.raises(CheckpointError) as refused:
        checkpoints.read_published(path)
    told = r": contains Python objects other than tensors, which are never executed \([\w.]+\); save its state_dict and"
    assert re.search(told, str(refused.value))
    assert not marker.exists()


@pytest.mark.parametrize("new_format", [True, False])
def test_a_truncated_pickle_is_refused(tmp_path, new_format):
    path = tmp_path / "published.pth"
    torch.save(tensors_of(published(model_of(EDSR), "AdaDSR")), path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    for length in (9, 100, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"published\.pth: corrupt or truncated; copy or download it again$"):
            checkpoints.read_published(path)


def test_a_torchscript_program_is_no_damaged_file(tmp_path):
    path = tmp_path / "published.pt"
    torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)).save(path)
    with pytest.raises(CheckpointError, match="a TorchScript program, which is never executed; save its state_dict"):
        checkpoints.read_published(path)


def test_convert_writes_our_format_and_keeps_its_origin(tmp_path):
    model = model_of(EDSR)
    source = write(tmp_path / "published.pt", published(model, "EDSR-PyTorch"))
    target = tmp_path / "ours.safetensors"
    conversion = checkpoints.convert(source, target, res_scale=0.5)
    loaded = checkpoints.load(target)
    assert_same(loaded, conversion.model)
    bias = "body.blocks.1.conv2.bias"
    np.testing.assert_array_equal(loaded.tensors[bias], np.float32(0.5) * model.tensors[bias])
    assert checkpoints.read_header(target).metadata == {"converted_from": "EDSR-PyTorch", "res_scale": "0.5"}
    with pytest.raises(CheckpointError, match="already an adadsr checkpoint; use it directly"):
        checkpoints.read_published(target)


def test_a_refused_file_leaves_the_target_untouched(tmp_path):
    target = tmp_path / "ours.safetensors"
    target.write_bytes(b"before")
    with pytest.raises(CheckpointError):
        checkpoints.convert(write(tmp_path / "published.pt", {"a": torch.zeros(1)}), target)
    assert target.read_bytes() == b"before"
