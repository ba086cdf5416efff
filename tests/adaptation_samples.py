"""A network and photos that adapt within seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adadsr import checkpoints
from adadsr.adaptation import PRESETS, Preset, adapting
from adadsr.networks import NetworkConfig
from upscaler_samples import model_of

TINY = Preset(6, 2, 16, 12, 3, 2, warmup=2)
ESRGAN = NetworkConfig("esrgan", 2, 8, 3, growth=4)


def write_network(path: Path, config: NetworkConfig = ESRGAN) -> Path:
    checkpoints.save(model_of(config), path, metadata={"licence": "free"})
    return path


def write_photos(folder: Path, count: int = 6) -> Path:
    """Different photos of 40x44 pixels."""
    folder.mkdir()
    rows, columns = np.mgrid[:40, :44]
    for number in range(count):
        image = np.stack([128 + 100 * np.sin(rows / (3 + number)), columns * 5.0, (rows + columns) % 64 * 3.0], -1)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Preset:
    """The preset `quick` with the least work."""
    monkeypatch.setattr(adapting, "PRESETS", {**PRESETS, "quick": TINY})
    return TINY
