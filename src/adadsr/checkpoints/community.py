"""Checkpoints of ESRGAN and Compact, in the namings of the programs that people train them with.

A file tells its network by the names and shapes of its tensors. ESRGAN+ adds a 1x1 conv to a chain after an activation;
what sees it is linear, so it is folded into the convs that follow.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adadsr.checkpoints.tensors import Tensors
from adadsr.errors import CheckpointError, InputError
from adadsr.networks import NetworkConfig
from adadsr.networks.layouts import DENSE_CHAINS, DENSE_CONVS

UNSHUFFLE = {3: 1, 12: 2, 48: 4}
"""Channels of the image that a head sees -> side of the squares of RGB pixels that they are."""
MOST_UPSAMPLING = 3
"""Convs of a tail that double the size, at most."""
MOST_NAMED = 5
"""Missing blocks that a message names."""
NUMBER = "(0|[1-9][0-9]{0,5})"
"""A pattern. Six digits are far more than any network has, and keep int() cheap."""


class Community(NamedTuple):
    """A recognised file. names: our tensor -> theirs. tensors: by their names, what is folded already left out."""

    naming: str
    config: NetworkConfig
    names: dict[str, str]
    tensors: Tensors
    notes: tuple[str, ...] = ()


class EsrganNaming(NamedTuple):
    """Names of layers. {b}: block. {c}: chain, {k}: conv, both from 1. {B}: number of blocks. {u}: number of an
    upsampling conv, from 1. {n}: such a number times three, {H} and {L}: numbers after all of them."""

    naming: str
    first: str
    conv: str
    trunk: str
    upsample: str
    hidden: str
    last: str


ESRGAN_NAMINGS = (
    # github.com/XPixelGroup/BasicSR, basicsr/archs/rrdbnet_arch.py
    EsrganNaming(
        "Real-ESRGAN", "conv_first", "body.{b}.rdb{c}.conv{k}", "conv_body", "conv_up{u}", "conv_hr", "conv_last"
    ),
    # github.com/cszn/BSRGAN, models/network_rrdbnet.py
    EsrganNaming(
        "BSRGAN", "conv_first", "RRDB_trunk.{b}.RDB{c}.conv{k}", "trunk_conv", "upconv{u}", "HRconv", "conv_last"
    ),
    # github.com/xinntao/ESRGAN before its names were changed
    EsrganNaming(
        "ESRGAN",
        "model.0",
        "model.1.sub.{b}.RDB{c}.conv{k}.0",
        "model.1.sub.{B}",
        "model.{n}",
        "model.{H}",
        "model.{L}",
    ),
)
COMPACT = "Compact"  # github.com/xinntao/Real-ESRGAN, realesrgan/archs/srvgg_arch.py


def recognise(path: Path, tensors: Mapping[str, Any]) -> Community | None:
    """The network of a file if it is ESRGAN's or Compact's, otherwise None. path: for errors.

    Raises CheckpointError for one of a form that adadsr does not run, with the reason.
    """
    for naming in ESRGAN_NAMINGS:
        first_conv = naming.conv.format(b="{b}", c=1, k=1) + ".weight"
        starts = _numbers(re.escape(first_conv).replace(r"\{b\}", NUMBER), tensors)
        if f"{naming.first}.weight" in tensors and starts:
            return _esrgan(path, naming, tensors, min(starts))
    slopes = tensors.get("body.1.weight")
    if "body.0.weight" in tensors and slopes is not None and slopes.ndim == 1:
        return _compact(path, tensors)
    if tensors and all(re.fullmatch(r"body\.[0-9]{0,5}[02468]\.(weight|bias)", name) for name in tensors):
        raise CheckpointError(
            f"{path}: a Compact network without PReLU: it has ReLU or LeakyReLU, and the file does not say which; "
            "adadsr runs those with PReLU"
        )
    return None


def _esrgan(path: Path, naming: EsrganNaming, tensors: Mapping[str, Any], block: int) -> Community:
    """block: number of one whose first conv is there."""
    n_feats, unshuffle = _head(path, naming.first, tensors)
    ups = 0
    while ups <= MOST_UPSAMPLING and _up(naming, ups) + ".weight" in tensors:
        ups += 1
    config = _config(
        path,
        backbone="esrgan",
        scale=_scale(path, ups, unshuffle),
        n_feats=n_feats,
        n_resblocks=_n_blocks(path, naming, tensors),
        growth=len(_conv_weight(path, naming.conv.format(b=block, c=1, k=1), tensors)),
        unshuffle=unshuffle,
    )
    names = _esrgan_names(naming, config, ups)
    if not any(name.endswith(".conv1x1.weight") for name in tensors):
        return Community(naming.naming, config, names, dict(tensors))
    note = "the 1x1 convs of ESRGAN+ were folded into the convs after them"
    return Community(f"{naming.naming} (ESRGAN+)", config, names, _without_plus(naming, config, tensors), (note,))


def _n_blocks(path: Path, naming: EsrganNaming, tensors: Mapping[str, Any]) -> int:
    """The number of blocks: one more than the largest number. Raises CheckpointError if one is missing."""
    chains = re.escape(naming.conv.partition("{c}")[0]).replace(r"\{b\}", NUMBER) + r"[0-9].*"
    found = set(_numbers(chains, tensors))
    n_blocks = 1 + max(found)
    missing = [str(number) for number in range(n_blocks) if number not in found]
    if missing:
        more = ", ..." if len(missing) > MOST_NAMED else ""
        raise CheckpointError(
            f"{path}: of the blocks 0 to {n_blocks - 1} ({naming.naming} naming) these are missing: "
            f"{', '.join(missing[:MOST_NAMED])}{more}; the file is incomplete, download it again"
        )
    return n_blocks


def _scale(path: Path, ups: int, unshuffle: int) -> int:
    """The scale of ESRGAN with a number of upsampling convs. Raises CheckpointError for one that is not supported."""
    grown = 1 << ups
    if ups > MOST_UPSAMPLING:
        squares = "" if unshuffle == 1 else f" of squares of {unshuffle}x{unshuffle} pixels"
        raise CheckpointError(
            f"{path}: x{grown}{squares} is not supported; adadsr runs ESRGAN with at most {MOST_UPSAMPLING} upsampling "
            f"convs, x{1 << MOST_UPSAMPLING}, and the file has at least {ups}"
        )
    if grown < unshuffle:
        raise CheckpointError(
            f"{path}: PixelUnshuffle by {unshuffle} and {ups} upsampling conv{'' if ups == 1 else 's'} make pictures "
            f"smaller, x1/{unshuffle // grown}; adadsr runs networks that enlarge pictures or keep their size"
        )
    return grown // unshuffle


def _esrgan_names(naming: EsrganNaming, config: NetworkConfig, ups: int) -> dict[str, str]:
    ends = {"B": config.n_resblocks, "H": 3 * ups + 2, "L": 3 * ups + 4}
    layers = {
        "head.conv": naming.first,
        "body.conv": naming.trunk.format(**ends),
        "tail.hidden": naming.hidden.format(**ends),
        "tail.conv": naming.last.format(**ends),
    }
    layers |= {f"tail.upsample.{number}": _up(naming, number) for number in range(ups)}
    for block in range(config.n_resblocks):
        for chain in range(DENSE_CHAINS):
            for conv in range(1, DENSE_CONVS + 1):
                theirs = naming.conv.format(b=block, c=chain + 1, k=conv)
                layers[f"body.blocks.{block}.{chain}.conv{conv}"] = theirs
    return {f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, theirs in layers.items() for leaf in ("weight", "bias")}


def _up(naming: EsrganNaming, number: int) -> str:
    return naming.upsample.format(u=number + 1, n=3 * (number + 1))


def _without_plus(naming: EsrganNaming, config: NetworkConfig, tensors: Mapping[str, Any]) -> Tensors:
    """The tensors of the same network without 1x1 convs.

    ESRGAN+ adds P x to the second output and then the second output to the fourth. The third to fifth conv see these
    sums, so their weights for the parts absorb it.
    """
    result = {name: value for name, value in tensors.items() if not name.endswith(".conv1x1.weight")}
    c, growth = config.n_feats, config.growth

    def fold(target: str, point: str) -> None:
        if target not in tensors or point not in tensors or tensors[point].shape != (growth, c, 1, 1):
            return  # reported as missing, or as not fitting
        weight = np.array(tensors[target], np.float64)
        second, fourth = slice(c + growth, c + 2 * growth), slice(c + 3 * growth, c + 4 * growth)
        weight[:, second] += weight[:, fourth] if weight.shape[1] > fourth.start else 0
        weight[:, :c] += np.einsum("ogyx,gi->oiyx", weight[:, second], tensors[point][:, :, 0, 0])
        result[target] = weight.astype(np.float32)

    for block in range(config.n_resblocks):
        for chain in range(1, DENSE_CHAINS + 1):
            first = naming.conv.format(b=block, c=chain, k=1)
            point = re.sub(r"conv1(\.0)?$", "conv1x1.weight", first)
            for conv in range(3, DENSE_CONVS + 1):
                fold(naming.conv.format(b=block, c=chain, k=conv) + ".weight", point)
    return result


def _compact(path: Path, tensors: Mapping[str, Any]) -> Community:
    last = max(_numbers(rf"body\.{NUMBER}\.weight", tensors))
    n_feats, unshuffle = _head(path, "body.0", tensors)
    n_outputs, blocks = len(_conv_weight(path, f"body.{last}", tensors)), (last - 2) // 2
    scale = math.isqrt(n_outputs // 3)
    if unshuffle != 1 or n_outputs != 3 * scale**2:
        raise CheckpointError(
            f"{path}: a Compact network from {3 * unshuffle**2} to {n_outputs} channels; adadsr runs those that take "
            "RGB and end in 3 * scale^2 channels"
        )
    config = _config(path, backbone="compact", scale=scale, n_feats=n_feats, n_resblocks=blocks)
    layers = {"head.conv": 0, "tail.conv": last} | {f"body.blocks.{b}.conv": 2 * b + 2 for b in range(blocks)}
    names = {f"{ours}.{leaf}": f"body.{at}.{leaf}" for ours, at in layers.items() for leaf in ("weight", "bias")}
    names |= {"head.slope": "body.1.weight"}
    names |= {f"body.blocks.{b}.slope": f"body.{2 * b + 3}.weight" for b in range(blocks)}
    return Community(COMPACT, config, names, dict(tensors))


def _numbers(pattern: str, tensors: Mapping[str, Any]) -> list[int]:
    """The numbers in names that match, if the file may hold as many."""
    found = [int(match[1]) for name in tensors if (match := re.fullmatch(pattern, name))]
    return [number for number in found if number < len(tensors)]


def _head(path: Path, name: str, tensors: Mapping[str, Any]) -> tuple[int, int]:
    """Features of the first conv, and the side of the squares of RGB pixels that it takes."""
    n_feats, channels = (int(size) for size in _conv_weight(path, name, tensors).shape[:2])
    if channels not in UNSHUFFLE:
        raise CheckpointError(
            f"{path}: its first conv takes {channels} channel{'' if channels == 1 else 's'}; adadsr runs networks for "
            "RGB images: 3 channels, or 12 or 48 with PixelUnshuffle"
        )
    return n_feats, UNSHUFFLE[channels]


def _conv_weight(path: Path, name: str, tensors: Mapping[str, Any]) -> Any:
    """The weight of a conv. Raises CheckpointError if it is none."""
    weight = tensors[f"{name}.weight"]
    if weight.ndim != 4:
        raise CheckpointError(
            f"{path}: {name}.weight has the shape {tuple(weight.shape)}, not the four dimensions of a conv's weight"
        )
    return weight


def _config(path: Path, **values: Any) -> NetworkConfig:
    make: Callable[..., NetworkConfig] = NetworkConfig
    try:
        return make(**values)
    except InputError as error:
        raise CheckpointError(f"{path}: not a network that adadsr supports: {error}") from error
