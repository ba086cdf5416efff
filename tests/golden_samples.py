"""Recorded outputs of the original implementation: networks in its naming, with inputs, depth maps and results."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from adadsr import checkpoints
from adadsr.networks import Model

FOLDER = Path(os.environ.get("ADADSR_GOLDEN_DIR", Path(__file__).resolve().parents[2] / "shared" / "golden"))
FILES = sorted(FOLDER.glob("*.safetensors"))
PREFIX = "weights."
"""Of the names of the network's tensors; the others are what was recorded."""


class Case(NamedTuple):
    """One recorded run. lr: (1, H, W, 3). depth: the desired one, in blocks; None where the network has no adapter.
    depth_map: what the adapter gave, (1, G, H, W). sr: (1, s*H, s*W, 3), neither rounded nor clipped."""

    lr: npt.NDArray[np.float32]
    depth: float | None
    depth_map: npt.NDArray[np.float32] | None
    sr: npt.NDArray[np.float32]


class Golden(NamedTuple):
    """One file. facts: what its header says about the network."""

    model: Model
    cases: list[Case]
    facts: dict[str, str]


def read_golden(path: Path) -> Golden:
    with safe_open(path, framework="np") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    model = checkpoints.from_published(weights, path).model
    lr = tensors["input"].transpose(0, 2, 3, 1)
    cases = []
    for depth in facts["depths"].split(","):
        suffix = f".depth{depth}" if depth else ""
        sr = tensors[f"output{suffix}"].transpose(0, 2, 3, 1)
        cases.append(Case(lr, float(depth) if depth else None, tensors.get(f"depth_map{suffix}"), sr))
    return Golden(model, cases, facts)
