"""Networks and photos that train within a second, for the tests of training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from adadsr.datasets import Pair, TrainingImages
from adadsr.networks import CONFIGS, Network, NetworkConfig, named_config
from adadsr.training import Recipe, Stage, Trainer
from adadsr.training.convs import why_not
from adadsr.training.distributed import World

CONFIGS["tiny"] = NetworkConfig("edsr", 2, 8, 2)
CONFIGS["adatiny"] = NetworkConfig("edsr", 2, 8, 2, adaptive=True)
CONFIGS["tiny-compact"] = NetworkConfig("compact", 2, 8, 2)
CONFIGS["tiny-esrgan"] = NetworkConfig("esrgan", 2, 8, 2, growth=4)
STAGES = (Stage(12, 2, 8, 1e-3), Stage(12, 2, 8, 1e-3, adaptive=True))
ALONE = World(0, 1, torch.device("cpu"))
RECIPE = Recipe("adatiny", 2, 4, STAGES, warmup=2, ema_decay=0.5)


def trains_in_bfloat16() -> bool:
    """Whether the native engine does here."""
    return why_not(replace(RECIPE, precision="bfloat16"), ALONE.device) is None


def build(name: str, scale: int, depth_tile: int = 1, seed: int = 0) -> Network:
    """A network of a named configuration with random weights."""
    return Network(named_config(name, scale, depth_tile), torch.Generator().manual_seed(seed))


def write_photos(folder: Path) -> Path:
    """Two small photos, one in a subfolder, one of an odd size; returns the folder."""
    (folder / "more").mkdir(parents=True)
    for name, height, width in (("a.png", 40, 44), ("more/b.webp", 37, 51)):
        rows, columns = np.mgrid[:height, :width]
        image = np.stack([128 + 100 * np.sin(rows / 5), columns * 4.0, (rows + columns) % 64 * 3.0], -1)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name, lossless=True)
    return folder


def trainer_of(recipe: Recipe, pairs: list[Pair]) -> Trainer:
    """A trainer at the start of its first stage, alone on the CPU."""
    trainer = Trainer(recipe, TrainingImages(pairs, recipe.scale, ALONE.device), ALONE)
    trainer.begin()
    return trainer
