"""Published checkpoints: which naming, which network, and its weights under our names.

Naming and configuration are read off the tensors with the tables in `namings`. What the originals keep apart from the
convolutions, the residual scale and the mean shifts, is folded into them (`folding`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mode
from typing import NamedTuple

import torch
from torch import Tensor

from adadsr.checkpoints.folding import fold_mean_shift, fold_res_scale
from adadsr.checkpoints.format import describe, empty_network, rebuild, save
from adadsr.checkpoints.namings import EDSR_BLOCK, LAYOUTS, RCAN_BLOCK, Layout
from adadsr.checkpoints.tensors import check_finite, check_fit, check_storage, is_pickle, read_pickle, read_safetensors
from adadsr.errors import CheckpointError, InputError
from adadsr.models import Network, NetworkConfig

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
"""Keys under which training programs put the weights, the preferred one first."""
PREFIXES = ("module.", "model.")
"""Prefixes that wrapping modules leave on every name."""
RECORDED = re.compile(r"(input|output|depth_map)(\.depth[0-9.]+)?")
"""Tensors that a recorded run (tests/test_golden.py) holds beside its network, which is under `weights.`."""
BLOCKS = {"edsr": EDSR_BLOCK, "rcan": RCAN_BLOCK}


class Conversion(NamedTuple):
    """A converted network, the naming it had, the residual scale that was folded, and notes for the user."""

    network: Network
    naming: str
    res_scale: float
    notes: tuple[str, ...]


def convert(
    source: str | Path, target: str | Path, *, res_scale: float | None = None, dtype: torch.dtype = torch.float32
) -> Conversion:
    """Convert a published checkpoint to a file of our own format; what `adadsr convert` runs.

    res_scale: see `read_published`. dtype: see `save`. Errors as for `read_published` and `save`; `target` is then not
    touched.
    """
    conversion = read_published(source, res_scale=res_scale)
    origin = {"converted_from": conversion.naming, "res_scale": f"{conversion.res_scale:g}"}
    save(conversion.network, target, dtype=dtype, metadata=origin)
    return conversion


def convert_published(path: str | Path, *, res_scale: float | None = None) -> Network:
    """The network in a published checkpoint; see `read_published`, which also tells what was recognised."""
    return read_published(path, res_scale=res_scale).network


def read_published(path: str | Path, *, res_scale: float | None = None) -> Conversion:
    """Read a checkpoint in the naming of AdaDSR, EDSR-PyTorch, RCAN or BasicSR (.safetensors, .pt, .pth).

    res_scale: EDSR's residual scale, > 0, folded into the second conv of each block. It is not in the tensors: None
    means 0.1 for the released size of 32 blocks x 256 features in EDSR-PyTorch's and BasicSR's naming, otherwise 1.
    Raises CheckpointError for a file that is damaged or does not fit, with the missing, unexpected and misshapen
    names; InputError for a res_scale that is not allowed.
    """
    path = Path(path)
    tensors = _read_tensors(path)
    layout = _recognise(path, tensors)
    config = _read_config(path, layout, tensors)
    scale = _choose_res_scale(layout, config, res_scale)
    names, expected = _expected(path, layout, config)
    check_fit(path, f"{describe(config)} in the naming of {layout.naming}", tensors, expected)
    tensors = {name: value.detach().to(torch.float32) for name, value in tensors.items()}
    check_finite(path, tensors)
    weights = {ours: tensors[theirs] for ours, theirs in names.items()}
    notes = [fold_res_scale(weights, scale)] if config.backbone == "edsr" else []
    if layout.mean_shift is not None:
        notes += fold_mean_shift(path, layout.mean_shift, tensors, weights)
    return Conversion(rebuild(config, weights, path), layout.naming, scale, tuple(notes))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The file's tensors by name, out of their wrappers, without prefixes that all of them share."""
    content: object
    if is_pickle(path):
        content = read_pickle(path)
    else:
        content, metadata = read_safetensors(path)
        if metadata.get("format", "").startswith("adadsr-"):
            raise CheckpointError(f"{path}: is in adadsr's own format already; use it as it is")
    for _ in range(3):  # wrappers may be nested, and a pickle may even contain itself
        inside = (content.get(key) for key in WRAPPERS) if isinstance(content, dict) else iter(())
        content = next((value for value in inside if isinstance(value, dict)), content)
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(f"{path}: holds no named tensors, at the top or under {', '.join(WRAPPERS)}")
    check_storage(path, tensors)
    if any(name.startswith("weights.") for name in tensors):
        kept = {name: value for name, value in tensors.items() if not RECORDED.fullmatch(name)}
        tensors = {name.removeprefix("weights."): value for name, value in kept.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _recognise(path: Path, tensors: Mapping[str, Tensor]) -> Layout:
    """The layout whose residual blocks explain the most names."""
    layout = max(LAYOUTS, key=lambda layout: len(list(_block_matches(layout, tensors))))
    if not any(_block_matches(layout, tensors)):
        known = ", ".join(f"{layout.naming} ({layout.backbone})" for layout in LAYOUTS)
        first = ", ".join(list(tensors)[:5])
        raise CheckpointError(f"{path}: no residual block of a known naming; known are {known}; it has {first}, ...")
    return layout


def _block_matches(layout: Layout, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int]]:
    """(name, group, block) of every tensor that has the name of one in a residual block."""
    for layer in BLOCKS[layout.backbone]:
        # Six digits are far more than any network has, and keep int() cheap.
        pattern = re.escape(layout.layers[layer])
        pattern = pattern.replace(r"\{g\}", "(?P<g>[0-9]{1,6})").replace(r"\{b\}", "(?P<b>[0-9]{1,6})")
        for name in tensors:
            if match := re.fullmatch(rf"{pattern}\.(weight|bias)", name):
                indices = match.groupdict()
                yield name, int(indices.get("g", 0)), int(indices["b"])


def _read_config(path: Path, layout: Layout, tensors: Mapping[str, Tensor]) -> NetworkConfig:
    """Counts and sizes; a stray index beyond what the file can hold is left to be reported as unexpected."""
    found = [(name, g, b) for name, g, b in _block_matches(layout, tensors) if max(g, b) < len(tensors)]
    if not found:
        raise CheckpointError(f"{path}: its blocks are not numbered from 0; give the whole file")
    # By vote, so that one misshapen tensor is reported as such.
    convs = [layout.layers[layer] for layer in BLOCKS[layout.backbone][:2]]
    names = {f"{conv.format(g=g, b=b)}.bias" for conv in convs for _, g, b in found}
    sizes = [value.numel() for name, value in tensors.items() if name in names]
    n_feats = mode(sizes) if sizes else 0
    adapter = {f"{theirs}.weight" for ours, theirs in layout.layers.items() if ours.startswith("adapter.")}
    try:
        return NetworkConfig(
            backbone=layout.backbone,
            scale=_read_scale(layout, tensors, n_feats),
            n_feats=n_feats,
            n_resblocks=1 + max(b for _, _, b in found),
            n_groups=1 + max(g for _, g, _ in found),
            adaptive=not adapter.isdisjoint(tensors),
        )
    except InputError as error:
        raise CheckpointError(f"{path}: no such network: {error}") from error


def _read_scale(layout: Layout, tensors: Mapping[str, Tensor], n_feats: int) -> int:
    """The scale most of whose upsampling layers are there with the right number of channels; the smallest such."""

    def present(scale: int) -> int:
        channels = n_feats * (9 if scale == 3 else 4)
        biases = [tensors.get(f"{layer}.bias") for layer in layout.upsample[scale]]
        return sum(bias is not None and bias.shape == (channels,) for bias in biases)

    return max(sorted(layout.upsample), key=present)


def _expected(path: Path, layout: Layout, config: NetworkConfig) -> tuple[dict[str, str], dict[str, torch.Size]]:
    """Our tensor name -> theirs, and their tensor name -> shape."""
    layers = dict(_layer_names(layout, config))
    names, shapes = {}, {}
    for ours, value in empty_network(config, path).state_dict().items():
        layer, _, leaf = ours.rpartition(".")
        names[ours] = f"{layers[layer]}.{leaf}"
        shapes[names[ours]] = value.shape
    if layout.mean_shift is not None:
        matrix = torch.Size((3, 1 if layout.mean_shift.depthwise else 3, 1, 1))
        for layer in (layout.mean_shift.subtract, layout.mean_shift.add):
            shapes |= {f"{layer}.weight": matrix, f"{layer}.bias": torch.Size((3,))}
    return names, shapes


def _layer_names(layout: Layout, config: NetworkConfig) -> Iterator[tuple[str, str]]:
    """(our layer, their layer) with every index filled in."""
    for ours, theirs in layout.layers.items():
        for g in range(config.n_groups if "{g}" in ours else 1):
            for b in range(config.n_resblocks if "{b}" in ours else 1):
                indices = {"g": g, "b": b, "G": config.n_groups, "B": config.n_resblocks}
                yield ours.format(**indices), theirs.format(**indices)
    for index, theirs in enumerate(layout.upsample[config.scale]):
        yield f"tail.upsample.{index}", theirs


def _choose_res_scale(layout: Layout, config: NetworkConfig, res_scale: float | None) -> float:
    if res_scale is None:
        large = (config.n_resblocks, config.n_feats) == (32, 256)
        return layout.large_res_scale if large else 1.0
    if not 0 < res_scale < float("inf"):
        raise InputError(f"res_scale={res_scale} is not a finite number above 0; EDSR's is 0.1 or 1")
    if config.backbone != "edsr" and res_scale != 1:
        raise InputError(f"res_scale={res_scale}: only EDSR has a residual scale; leave it out for {config.kind}")
    return res_scale
