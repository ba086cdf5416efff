"""Pictures of lossy formats: how they are known, and the network for photos that they take."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from adadsr import images
from adadsr.networks import NetworkConfig
from adadsr.upscaler import Chain, Size, Upscaler
from upscaler_samples import model_of, photo

PIXELS = photo(20, 30)


def saved(kind: str, **options: object) -> bytes:
    """The sample as a file, written by Pillow."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file", "lossy"),
    [
        (lambda: saved("JPEG"), "JPEG"),
        (lambda: saved("WEBP", quality=90), "WebP"),
        (lambda: saved("WEBP", lossless=True), None),
        (lambda: saved("WEBP", lossless=True, icc_profile=b"\0" * 100, exif=b"Exif\0\0II*\0" + b"\0" * 9), None),
        (lambda: saved("WEBP", quality=90, xmp=b"<x/>" * 25, icc_profile=b"\0" * 101), "WebP"),
        (lambda: saved("AVIF"), "AVIF"),
        (lambda: saved("PNG"), None),
        (lambda: saved("TIFF"), None),
        (lambda: saved("PPM"), None),
    ],
)
def test_a_picture_knows_whether_its_format_loses(file: Callable[[], bytes], lossy: str | None) -> None:
    assert images.read_image(file()).lossy_format == lossy


def test_frames_know_it_as_well() -> None:
    file = io.BytesIO()
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1])]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], quality=80)
    with images.open_frames(file.getvalue()) as found:
        assert found is not None
        assert next(iter(found)).lossy_format == "WebP"


def chain(size: Size, *, photos: bool = True) -> Chain:
    """Random networks named after what they are for."""

    def load(kind: str) -> Callable[[int], Upscaler]:
        config = {scale: NetworkConfig("edsr", scale, 8, 4, adaptive=True, depth_tile=4) for scale in (2, 3)}
        return lambda scale: Upscaler(model_of(config[scale]), name=f"{kind}-x{scale}")

    return Chain(load("clean"), (2, 3), size, load_for_photos=load("photo") if photos else None)


@pytest.mark.parametrize(
    ("kind", "size", "photos", "model", "chosen_for"),
    [
        ("JPEG", Size(scale=2), True, "photo-x2", "JPEG"),
        ("PNG", Size(scale=2), True, "clean-x2", None),
        ("JPEG", Size(scale=2), False, "clean-x2", None),
        ("JPEG", Size(scale=4), True, "photo-x2, clean-x2", "JPEG"),
        ("JPEG", Size(scale=2.5), True, "photo-x3", "JPEG"),
    ],
)
def test_only_the_first_network_of_a_lossy_picture_is_one_for_photos(
    kind: str, size: Size, photos: bool, model: str, chosen_for: str | None
) -> None:
    prepared = chain(size, photos=photos).prepare(images.read_image(saved(kind)))
    plan = prepared.plan(budget=0.7)
    report = prepared.run(plan).report
    assert (report.model, report.chosen_for, plan.chosen_for) == (model, chosen_for, chosen_for)


def test_pixels_without_a_file_are_clean() -> None:
    picture = images.picture_from_array(np.asarray(PIXELS))
    assert picture.lossy_format is None
    assert chain(Size(scale=2))(picture).report.model == "clean-x2"
