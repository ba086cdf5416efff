"""Collections for the tests of `cluster`."""

from pathlib import Path
from typing import Any

import numpy as np

from adadsr import batch, checkpoints, images
from adadsr.cluster import Collection
from adadsr.cluster.order import Order
from adadsr.storage import open_place
from adadsr.upscaler import Execution
from batch_samples import tiny_model

BAD = {"empty.png": b"", "text.jpg": b"no picture", "cut.png": b"\x89PNG\r\n\x1a\n\x00\x00"}


def bad_files(count: int) -> dict[str, bytes]:
    """Names and contents of the files that are no pictures: those of BAD, in all at least 5% of `count`."""
    more = max(0, count // 20 - len(BAD))
    kinds = list(BAD.items()) * (more // len(BAD) + 1)
    return BAD | {f"{number}-{name}": content for number, (name, content) in enumerate(kinds[:more])}


def write_pictures(folder: Path, count: int, *, bad: bool = True, most: int = 64) -> Path:
    """A folder of pictures of several formats, few of them large, and files that are none. most: the largest side."""
    generator = np.random.default_rng(count)
    for number in range(count):
        suffix = (".png", ".jpg", ".webp", ".tif")[number % 4]
        height, width = (int(side) for side in np.exp(generator.uniform(*np.log([16, most]), 2)))
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        path = folder / f"d{number % 3}" / f"{number:03}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write_image(path, images.picture_from_array(pixels))
    for name, content in bad_files(count).items() if bad else ():
        (folder / name).write_bytes(content)
    return folder


def upload(folder: Path, address: str) -> None:
    """Copy a folder into a bucket."""
    place = open_place(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place.replace(path.relative_to(folder).as_posix(), path.read_bytes())


def save_tiny(folder: Path) -> str:
    """The file of a tiny network."""
    path = folder / "tiny.safetensors"
    checkpoints.save(tiny_model(), path)
    return str(path)


def order_for(destination: str, **options: Any) -> Order:
    """What a worker of a tiny network is told."""
    given = batch.Options(overwrite=True, clamp_budget=True, **options)
    return Order(destination, 1, None, Execution(threads=1), given, False, tiny_model(), "tiny")


def collection(source: str, destination: str, model: str | None, **options: Any) -> Collection:
    """A collection with options of `batch`."""
    return Collection(source, destination, model, options=batch.Options(**options))


def outputs(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but what a run keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_adadsr" not in path.parts
    }
