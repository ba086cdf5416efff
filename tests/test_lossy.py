"""Pictures of lossy formats: how they are known, and the network for photos that they take."""

import io
from collections.abc import Callable
from typing import Literal

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from adadsr import images
from adadsr.formats import HEAD_BYTES, recognise
from adadsr.images import Picture
from adadsr.images._isoboxes import file_boxes
from adadsr.images._lossy import lossy_format
from adadsr.networks import NetworkConfig
from adadsr.upscaler import Chain, Size, Upscaler
from image_samples import SRGB, noise
from upscaler_samples import model_of, photo

PIXELS = photo(20, 30)
LONG_PROFILE = SRGB + bytes(10_000)


def saved(kind: str, **options: object) -> bytes:
    """The sample as a file, written by Pillow."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def animation(kind: str, **options: object) -> bytes:
    """Four frames, written by Pillow."""
    file = io.BytesIO()
    frames = [Image.fromarray(np.roll(photo(60, 80), 9 * shift, 1)) for shift in range(4)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def mixed_animation() -> bytes:
    """A WebP whose first frame alone is lossless."""
    lossless, lossy = (animation("WEBP", lossless=each, quality=80, kmin=1, kmax=1) for each in (True, False))
    second = lossless.index(b"ANMF", lossless.index(b"ANMF") + 4)
    body = lossless[8:second] + lossy[lossy.index(b"ANMF") :]
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def heic(**options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(file, **options)
    return file.getvalue()


def tiff(compression: str | None, order: Literal["<", ">"] = "<", *, big: bool = False, **options: object) -> bytes:
    """The sample on one page."""
    file = io.BytesIO()
    kind = "ycbcr" if compression == "jpeg" else "rgb"
    options = {"compression": compression, "compressionargs": options, "photometric": kind}
    tifffile.imwrite(file, PIXELS, byteorder=order, bigtiff=big, metadata=None, **options)
    return file.getvalue()


def old_jpeg(compression: int) -> bytes:
    """A TIFF that says that it is compressed so."""
    content = bytearray(tiff("jpeg"))
    at = content.index(b"\3\1\3\0\1\0\0\0\7\0")
    content[at + 8 : at + 10] = compression.to_bytes(2, "little")
    return bytes(content)


def encoded(suffix: str, quality: int, pixels: np.ndarray = PIXELS, profile: bytes | None = None) -> bytes:
    """As this package writes it."""
    return images.encode(Picture(pixels, profile), suffix, quality=quality)


def jpeg_in_jxl(*, with_box: bool) -> bytes:
    """A JPEG packed again, with or without what gives back its file."""
    content = imagecodecs.jpegxl_encode_jpeg(saved("JPEG"))
    if with_box:
        return content
    (box,) = (box for box in file_boxes(io.BytesIO(content)) if box.kind == b"jbrd")
    return content[: box.start - 8] + content[box.end :]


FILES: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "JPEG": (lambda: saved("JPEG"), "JPEG"),
    "WebP": (lambda: saved("WEBP", quality=90), "WebP"),
    "lossless WebP": (lambda: saved("WEBP", lossless=True), None),
    "lossless WebP with metadata": (
        lambda: saved("WEBP", lossless=True, icc_profile=b"\0" * 100, exif=b"Exif\0\0II*\0" + b"\0" * 9),
        None,
    ),
    "lossless WebP with a long profile": (lambda: saved("WEBP", lossless=True, icc_profile=LONG_PROFILE), None),
    "WebP with a long profile": (lambda: saved("WEBP", quality=90, icc_profile=LONG_PROFILE), "WebP"),
    "WebP with metadata": (lambda: saved("WEBP", quality=90, xmp=b"<x/>" * 25, icc_profile=b"\0" * 101), "WebP"),
    "WebP with alpha": (lambda: encoded("webp", 90, noise((20, 30, 4))), "WebP"),
    "animated WebP": (lambda: animation("WEBP", quality=80), "WebP"),
    "animated lossless WebP": (lambda: animation("WEBP", lossless=True), None),
    "animated mixed WebP": (mixed_animation, "WebP"),
    "our lossless WebP": (lambda: encoded("webp", 100), None),
    "AVIF": (lambda: saved("AVIF"), "AVIF"),
    "AVIF without subsampling": (lambda: saved("AVIF", quality=100, subsampling="4:4:4"), "AVIF"),
    "our AVIF": (lambda: encoded("avif", 99), "AVIF"),
    "our AVIF with a profile": (lambda: encoded("avif", 99, PIXELS, SRGB), "AVIF"),
    "our lossless AVIF": (lambda: encoded("avif", 100), None),
    "our lossless AVIF with a profile": (lambda: encoded("avif", 100, PIXELS, SRGB), None),
    "our lossless AVIF with alpha": (lambda: encoded("avif", 100, noise((20, 30, 4))), None),
    "our lossless gray AVIF": (lambda: encoded("avif", 100, noise((20, 30, 1))), None),
    "our lossless deep AVIF": (lambda: encoded("avif", 100, noise((20, 30, 3), np.uint16), SRGB), None),
    "HEIC": (lambda: heic(quality=90), "HEIC"),
    "HEIC without subsampling": (lambda: heic(quality=-1, chroma=444), "HEIC"),
    "lossless HEIC": (lambda: heic(quality=-1, chroma=444, matrix_coefficients=0), None),
    "JPEG XL": (lambda: imagecodecs.jpegxl_encode(PIXELS, distance=1.0), "JPEG XL"),
    "JPEG XL with bytes behind its boxes": (lambda: jpeg_in_jxl(with_box=False) + b"\0\0", "JPEG XL"),
    "lossless JPEG XL": (lambda: imagecodecs.jpegxl_encode(PIXELS, lossless=True), None),
    "lossless deep JPEG XL": (lambda: imagecodecs.jpegxl_encode(noise((20, 30, 4), np.uint16), lossless=True), None),
    "JPEG packed as JPEG XL": (lambda: jpeg_in_jxl(with_box=True), "JPEG XL"),
    "JPEG packed as JPEG XL alone": (lambda: jpeg_in_jxl(with_box=False), "JPEG XL"),
    "JPEG 2000": (lambda: imagecodecs.jpeg2k_encode(PIXELS, level=40), "JPEG 2000"),
    "JPEG 2000 without boxes": (lambda: imagecodecs.jpeg2k_encode(PIXELS, level=40, codecformat="j2k"), "JPEG 2000"),
    "lossless JPEG 2000": (lambda: imagecodecs.jpeg2k_encode(PIXELS, reversible=True), None),
    "TIFF": (lambda: saved("TIFF"), None),
    "TIFF of JPEG": (lambda: tiff("jpeg"), "TIFF"),
    "big-endian TIFF of JPEG": (lambda: tiff("jpeg", ">"), "TIFF"),
    "BigTIFF of JPEG": (lambda: tiff("jpeg", big=True), "TIFF"),
    "big-endian BigTIFF of JPEG": (lambda: tiff("jpeg", ">", big=True), "TIFF"),
    "deflated BigTIFF": (lambda: tiff("zlib", big=True), None),
    "TIFF of WebP": (lambda: tiff("webp", lossless=False), "TIFF"),
    "TIFF of lossless WebP": (lambda: tiff("webp", lossless=True), None),
    "TIFF of JPEG XL": (lambda: tiff("jpegxl", distance=1.0), "TIFF"),
    "TIFF of lossless JPEG XL": (lambda: tiff("jpegxl", lossless=True), None),
    "TIFF of JPEG 2000": (lambda: tiff("jpeg2000", level=40), "TIFF"),
    "TIFF of lossless JPEG 2000": (lambda: tiff("jpeg2000", reversible=True), None),
    "PNG": (lambda: saved("PNG"), None),
    "PPM": (lambda: saved("PPM"), None),
}
"""Files, and the format that lost something."""


def format_lost(content: bytes, page: int = 1) -> str | None:
    found = recognise(content[:HEAD_BYTES])
    assert found is not None
    return lossy_format(found, io.BytesIO(content), page)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_knows_whether_its_format_lost_something(name: str) -> None:
    make, lossy = FILES[name]
    page = 1 if "animated" in name else None
    assert images.read_image(make(), page=page).lossy_format == lossy


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("our lossless")])
def test_what_is_called_lossless_keeps_its_pixels_when_written_again(name: str) -> None:
    """Those with a profile or with more bits than AVIF holds, too."""
    picture = images.read_image(content := FILES[name][0]())
    again = images.read_image(images.encode(picture, "avif", quality=100))
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert format_lost(content) is None


@pytest.mark.parametrize("suffix", ["webp", "avif"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_what_is_called_lossless_is(suffix: str, bands: int) -> None:
    pixels = noise((20, 30, bands))
    content = encoded(suffix, 100, pixels)
    assert format_lost(content) is None
    read = images.read_image(content).pixels
    np.testing.assert_array_equal(read, np.broadcast_to(pixels, (20, 30, read.shape[2])))


@pytest.mark.parametrize(("compression", "lossy"), [(6, "TIFF"), (34892, "TIFF"), (5, None)])
def test_codes_of_jpeg_in_tiff(compression: int, lossy: str | None) -> None:
    assert format_lost(old_jpeg(compression)) == lossy


def test_each_page_of_a_tiff_is_known() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for compression in ("zlib", "jpeg"):
            writer.write(PIXELS, compression=compression, photometric="rgb", metadata=None)
    assert [images.read_image(file.getvalue(), page=page).lossy_format for page in (1, 2)] == [None, "TIFF"]
    assert format_lost(file.getvalue(), 3) is None


@pytest.mark.parametrize("name", ["animated WebP", "animated lossless WebP"])
def test_frames_know_it_as_well(name: str) -> None:
    make, lossy = FILES[name]
    with images.open_frames(make()) as found:
        assert found is not None
        assert {frame.lossy_format for frame in found} == {lossy}


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_raise_nothing(name: str) -> None:
    content, rng = FILES[name][0](), np.random.default_rng(0)
    for size in range(16, min(len(content), 1200)):
        lossy_format(recognise(content), io.BytesIO(content[:size]), 1)
    for _ in range(300):
        changed = bytearray(content)
        for at in rng.integers(12, min(len(content), 1200), 4):
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        lossy_format(recognise(content), io.BytesIO(changed), 1)


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
