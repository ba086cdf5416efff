"""Published checkpoints: detect the naming and the network, and translate the weights to our names.

Naming and configuration are derived from the tensors with the tables in `namings`. Residual scale and mean shifts,
which the originals keep separate from the convolutions, are folded into them (`folding`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mode
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adadsr.checkpoints.community import COMPACT, ESRGAN_NAMINGS, Community, recognise
from adadsr.checkpoints.folding import fold_mean_shift, fold_res_scale
from adadsr.checkpoints.format import checked_model, describe, expected_shapes, save
from adadsr.checkpoints.namings import LAYOUTS, Layout
from adadsr.checkpoints.tensors import (
    Tensors,
    check_finite,
    check_fit,
    from_torch,
    is_pickle,
    read_pickle,
    read_safetensors,
)
from adadsr.errors import CheckpointError, InputError
from adadsr.networks import Model, NetworkConfig
from adadsr.networks.layouts import Shape

WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
"""Keys under which training programs store the weights, in order of preference."""
PREFIXES = ("module.", "netG.", "model.")
"""Prefixes that wrapper modules add to every name."""


class Conversion(NamedTuple):
    """A converted network, its original naming, the folded residual scale, and notes for the user."""

    model: Model
    naming: str
    res_scale: float
    notes: tuple[str, ...]


def convert(
    source: str | Path, target: str | Path, *, res_scale: float | None = None, dtype: str = "float32"
) -> Conversion:
    """Convert a published checkpoint to a file in our own format, as `adadsr convert` does.

    res_scale: see `read_published`. dtype: see `save`. Errors as for `read_published` and `save`; they leave `target`
    unchanged.
    """
    conversion = read_published(source, res_scale=res_scale)
    origin = {"converted_from": conversion.naming, "res_scale": f"{conversion.res_scale:g}"}
    save(conversion.model, target, dtype=dtype, metadata=origin)
    return conversion


def read_published(path: str | Path, *, res_scale: float | None = None) -> Conversion:
    """Read a checkpoint in the naming of AdaDSR, EDSR-PyTorch, RCAN, BasicSR, ESRGAN or Compact (.safetensors, .pt,
    .pth).

    res_scale: EDSR's residual scale, > 0, folded into the second conv of each block. Checkpoints do not store it: None
    means 0.1 for the released size of 32 blocks x 256 features in EDSR-PyTorch's and BasicSR's naming, otherwise 1.
    Raises CheckpointError for a file that is corrupt or does not fit, with all missing, unexpected and misshapen
    tensors; InputError for an invalid res_scale.
    """
    path = Path(path)
    return from_published(_read_tensors(path), path, res_scale=res_scale)


def from_published(tensors: Tensors, path: Path, *, res_scale: float | None = None) -> Conversion:
    """The same for tensors by their published names. path: their source, for errors."""
    community = recognise(path, tensors)
    for prefix in PREFIXES:
        if community is None and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
            community = recognise(path, tensors)
    if community is not None:
        return _from_community(community, path, res_scale)
    layout = _recognise(path, tensors)
    config = _read_config(path, layout, tensors)
    scale = _choose_res_scale(config, res_scale, layout.large_res_scale)
    names, expected = _expected(path, layout, config)
    check_fit(path, f"{describe(config)} in the naming of {layout.naming}", tensors, expected)
    check_finite(path, tensors)
    weights = {ours: tensors[theirs] for ours, theirs in names.items()}
    notes = [fold_res_scale(weights, scale)] if config.backbone == "edsr" else []
    if layout.mean_shift is not None:
        notes += fold_mean_shift(path, layout.mean_shift, tensors, weights)
    return Conversion(checked_model(config, weights, path), layout.naming, scale, tuple(notes))


def _from_community(found: Community, path: Path, res_scale: float | None) -> Conversion:
    config, names = found.config, found.names
    shapes = {names[ours]: shape for ours, shape in expected_shapes(config, path).items()}
    check_fit(path, f"{describe(config)} in the naming of {found.naming}", found.tensors, shapes)
    check_finite(path, found.tensors)
    weights = {ours: found.tensors[theirs] for ours, theirs in names.items()}
    scale = _choose_res_scale(config, res_scale, 1.0)
    return Conversion(checked_model(config, weights, path), found.naming, scale, found.notes)


def _read_tensors(path: Path) -> Tensors:
    """The file's tensors by name, unwrapped."""
    if not is_pickle(path):
        tensors, metadata = read_safetensors(path)
        if metadata.get("format", "").startswith("adadsr-"):
            raise CheckpointError(f"{path}: already an adadsr checkpoint; use it directly")
        return _named(path, tensors)
    content = read_pickle(path)
    for _ in range(3):  # wrappers may be nested, and a pickle may even contain itself
        inside = (content.get(key) for key in WRAPPERS) if isinstance(content, dict) else iter(())
        content = next((value for value in inside if isinstance(value, dict)), content)
    found = {k: v for k, v in content.items() if hasattr(v, "untyped_storage")} if isinstance(content, dict) else {}
    return from_torch(path, _named(path, found))


def _named(path: Path, tensors: dict[str, Any]) -> dict[str, Any]:
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(
            f"{path}: contains no named tensors, neither at the top level nor under {', '.join(WRAPPERS)}"
        )
    return tensors


def _recognise(path: Path, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Layout:
    """The layout whose residual blocks explain the most names."""
    layout = max(LAYOUTS, key=lambda layout: len(list(_block_matches(layout, tensors))))
    if not any(_block_matches(layout, tensors)):
        known = ", ".join(f"{layout.naming} ({layout.backbone})" for layout in LAYOUTS)
        known += ", " + ", ".join([f"{naming.naming} (esrgan)" for naming in ESRGAN_NAMINGS] + [COMPACT])
        first = ", ".join(list(tensors)[:5])
        raise CheckpointError(f"{path}: no residual block in a known naming ({known}); found {first}, ...")
    return layout


def _block_matches(layout: Layout, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Iterator[tuple[str, int, int]]:
    """(name, group, block) of every tensor whose name belongs to a residual block."""
    for layer in layout.block_layers:
        # Six digits are far more than any network has, and keep int() cheap.
        pattern = re.escape(layout.layers[layer])
        pattern = pattern.replace(r"\{g\}", "(?P<g>[0-9]{1,6})").replace(r"\{b\}", "(?P<b>[0-9]{1,6})")
        for name in tensors:
            if match := re.fullmatch(rf"{pattern}\.(weight|bias)", name):
                indices = match.groupdict()
                yield name, int(indices.get("g", 0)), int(indices["b"])


def _read_config(path: Path, layout: Layout, tensors: Mapping[str, npt.NDArray[np.float32]]) -> NetworkConfig:
    """Counts and sizes. A stray index larger than the file allows is reported later, as unexpected."""
    found = [(name, g, b) for name, g, b in _block_matches(layout, tensors) if max(g, b) < len(tensors)]
    if not found:
        raise CheckpointError(f"{path}: blocks are not numbered from 0; the file is incomplete")
    # By majority, so that one misshapen tensor is reported as such.
    convs = [layout.layers[layer] for layer in layout.block_layers[:2]]
    names = {f"{conv.format(g=g, b=b)}.bias" for conv in convs for _, g, b in found}
    sizes = [value.size for name, value in tensors.items() if name in names]
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
        raise CheckpointError(f"{path}: not a network that adadsr supports: {error}") from error


def _read_scale(layout: Layout, tensors: Mapping[str, npt.NDArray[np.float32]], n_feats: int) -> int:
    """The scale with the most upsampling layers present in the right size; of equals the smallest."""

    def present(scale: int) -> int:
        channels = n_feats * (9 if scale == 3 else 4)
        biases = [tensors.get(f"{layer}.bias") for layer in layout.upsample[scale]]
        return sum(bias is not None and bias.shape == (channels,) for bias in biases)

    return max(sorted(layout.upsample), key=present)


def _expected(path: Path, layout: Layout, config: NetworkConfig) -> tuple[dict[str, str], dict[str, Shape]]:
    """Our tensor name -> theirs, and their tensor name -> shape."""
    layers = dict(_layer_names(layout, config))
    names, shapes = {}, {}
    for ours, shape in expected_shapes(config, path).items():
        layer, _, leaf = ours.rpartition(".")
        names[ours] = f"{layers[layer]}.{leaf}"
        shapes[names[ours]] = shape
    if layout.mean_shift is not None:
        matrix = (3, 1 if layout.mean_shift.depthwise else 3, 1, 1)
        for layer in (layout.mean_shift.subtract, layout.mean_shift.add):
            shapes |= {f"{layer}.weight": matrix, f"{layer}.bias": (3,)}
    return names, shapes


def _layer_names(layout: Layout, config: NetworkConfig) -> Iterator[tuple[str, str]]:
    """(our layer, their layer) with all indices filled in."""
    for ours, theirs in layout.layers.items():
        for g in range(config.n_groups if "{g}" in ours else 1):
            for b in range(config.n_resblocks if "{b}" in ours else 1):
                indices = {"g": g, "b": b, "G": config.n_groups, "B": config.n_resblocks}
                yield ours.format(**indices), theirs.format(**indices)
    for index, theirs in enumerate(layout.upsample[config.scale]):
        yield f"tail.upsample.{index}", theirs


def _choose_res_scale(config: NetworkConfig, res_scale: float | None, large_res_scale: float) -> float:
    if res_scale is None:
        large = (config.n_resblocks, config.n_feats) == (32, 256)
        return large_res_scale if large else 1.0
    if not 0 < res_scale < float("inf"):
        raise InputError(f"res_scale={res_scale} must be finite and above 0; EDSR uses 0.1 or 1")
    if config.backbone != "edsr" and res_scale != 1:
        raise InputError(f"res_scale={res_scale}: only EDSR has a residual scale; omit it for {config.kind}")
    return res_scale
