"""Animations in and out, and pages: read back by Pillow, which has its own decoders."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adadsr import images
from adadsr.errors import ImageFileError, InputError
from adadsr.images import Facts, Picture, encode_frames, open_frames, read_image, read_size, write_frames

DELAYS = (100, 50, 20, 1500)
KINDS = {"png": "PNG", "webp": "WEBP", "gif": "GIF"}


def noise(number, height=24, width=31, channels=3):
    """A picture that differs from the last one in a rectangle."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    pixels[3 : 9 + number, 5 : 12 + 2 * number] = 40 * number
    return pixels


def by_pillow(kind, frames, **options):
    """An animation that Pillow wrote."""
    pictures = [Image.fromarray(frame) for frame in frames]
    more = {"lossless": True} if kind == "webp" else {}
    file = io.BytesIO()
    options = {"duration": list(DELAYS), "loop": 3, **more, **options}
    pictures[0].save(file, KINDS[kind], save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


def decoded(content):
    """Frames as RGBA, delays and loop of a file, by Pillow."""
    image = Image.open(io.BytesIO(content))
    frames, delays = [], []
    for index in range(image.n_frames):
        image.seek(index)
        frames.append(np.asarray(image.convert("RGBA")))
        delays.append(round(image.info["duration"]))
    return frames, delays, image.info.get("loop")


def read_all(content):
    with open_frames(content) as frames:
        return [picture.pixels for picture in frames], frames.facts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [3, 4])
def test_frames_are_those_that_pillow_shows(kind, channels):
    given = [noise(number, channels=channels) for number in range(4)]
    for frame in given:
        frame[..., 3:] = np.where(frame[..., 3:] > 127, 255, 0)
    content = by_pillow(kind, given)
    expected, _, _ = decoded(content)
    pixels, facts = read_all(content)
    assert (facts.height, facts.width, facts.delays) == (24, 31, DELAYS)
    assert facts.plays == (4 if kind == "gif" else 3)  # a GIF counts repetitions
    for found, frame in zip(pixels, expected, strict=True):
        opaque = frame[..., 3] == 255
        np.testing.assert_array_equal(found[..., :3][opaque], frame[..., :3][opaque])
        if found.shape[2] == 4:
            np.testing.assert_array_equal(found[..., 3], frame[..., 3])


@pytest.mark.parametrize("disposal", [1, 2, 3])
def test_disposal_is_resolved(disposal):
    """Every frame is a whole picture, whatever the file leaves of the one before."""
    given = []
    for number in range(3):
        frame = np.zeros((20, 20, 4), np.uint8)
        frame[4 * number : 4 * number + 8, 5:15] = (200, 60 * number, 30, 255)
        given.append(frame)
    content = by_pillow("gif", given, duration=[70, 80, 90], disposal=disposal)
    expected, _, _ = decoded(content)
    pixels, _ = read_all(content)
    for found, frame in zip(pixels, expected, strict=True):
        np.testing.assert_array_equal(found[..., 3], frame[..., 3])
        np.testing.assert_array_equal(found[frame[..., 3] > 0], frame[frame[..., 3] > 0])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def apng(frames, width, height, *, depth=8, color=6):
    """An animated PNG. frames: (pixels, left, top, disposal, blend)."""
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    content += chunk(b"acTL", struct.pack(">II", len(frames), 0))
    number = 0
    for pixels, left, top, disposal, blend in frames:
        control = (number, pixels.shape[1], pixels.shape[0], left, top, 1, 10, disposal, blend)
        content += chunk(b"fcTL", struct.pack(">5I2H2B", *control))
        rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
        kind, prefix = (b"fdAT", struct.pack(">I", number + 1)) if number else (b"IDAT", b"")
        content += chunk(kind, prefix + zlib.compress(rows))
        number += 2 if prefix else 1
    return content + chunk(b"IEND", b"")


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_of_an_animated_png_are_kept(color, channels):
    """Gray ones came out white."""
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 65536, (6, 7, channels), np.uint16) for _ in range(3)]
    content = apng([(pixels, 0, 0, 0, 0) for pixels in given], 7, 6, depth=16, color=color)
    found, facts = read_all(content)
    expected = [np.concatenate([each[..., :1]] * (3 if channels < 3 else 1) + [each[..., 1:]], 2) for each in given]
    np.testing.assert_array_equal(found, expected)
    with open_frames(content) as frames:
        again, _ = read_all(encode_frames(frames, facts, "png"))
    np.testing.assert_array_equal(again, expected)
    for kind in ("webp", "gif"):
        with open_frames(content) as frames:
            eight, _ = read_all(encode_frames(frames, facts, kind, quality=100))
        if kind == "webp" and channels % 2:
            np.testing.assert_array_equal(np.array(eight)[..., :3], np.rint(np.array(expected) / 257))


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2), st.booleans(), st.integers(0, 9)),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_disposal_and_blending_of_png_are_those_of_pillow(more):
    frames = [(noise(0, 8, 9, 4), 0, 0, 0, 0)]
    for left, top, disposal, over, seed in more:
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 4), np.uint8)
        frames.append((pixels, left, top, disposal, int(over and disposal < 2)))  # Pillow restores no blended frames
    for pixels, *_ in frames:
        pixels[..., 3] = np.where(pixels[..., 3] > 127, 255, 0)
    content = apng(frames, 9, 8)
    for found, frame in zip(read_all(content)[0], decoded(content)[0], strict=True):
        np.testing.assert_array_equal(found[..., 3], frame[..., 3])
        np.testing.assert_array_equal(found[frame[..., 3] > 0], frame[frame[..., 3] > 0])


def test_what_was_below_a_blended_frame_is_restored():
    first, part = noise(0, channels=4), noise(1, channels=4)[:5, :5]
    first[..., 3] = 255
    dot = np.zeros((1, 1, 4), np.uint8)
    found = read_all(apng([(first, 0, 0, 0, 0), (part, 2, 3, 2, 1), (dot, 0, 0, 0, 1)], 31, 24))[0]
    np.testing.assert_array_equal(found[2], first)


def test_half_transparent_frames_blend():
    below, above = np.full((2, 2, 4), 100, np.uint8), np.full((2, 2, 4), 200, np.uint8)
    below[..., 3], above[..., 3] = 255, (51, 255)
    found = read_all(apng([(below, 0, 0, 0, 0), (above, 0, 0, 0, 1)], 2, 2))[0][1]
    assert found[0].tolist() == [[120, 120, 120, 255], [200, 200, 200, 255]]


def test_a_cleared_part_of_an_animation_without_alpha_is_transparent():
    frames = [(noise(number), 0, 0, 1, 0) for number in (0, 1)] + [(noise(2)[:2], 0, 0, 0, 0)]
    found = read_all(apng(frames, 31, 24, color=2))[0]
    assert [int((frame[..., 3] == 0).sum()) for frame in found] == [0, 0, 22 * 31]


@pytest.mark.parametrize("kind", [b"fcTL", b"fdAT", b"IDAT"])
def test_checksums_of_an_animated_png(kind):
    content = bytearray(apng([(noise(number, channels=4), 0, 0, 0, 0) for number in (0, 1)], 31, 24))
    content[content.rindex(kind) + 24] ^= 1
    with pytest.raises(ImageFileError, match=f"{kind.decode()} has a wrong checksum"):
        read_all(bytes(content))


@pytest.mark.parametrize(("left", "top", "count"), [(28, 0, 2), (0, 22, 2), (1 << 31, 0, 2), (0, 0, 0)])
def test_senseless_frames_of_a_png(left, top, count):
    frames = [(noise(0, channels=4), 0, 0, 0, 0)] + [(noise(1, channels=4)[:5, :5], left, top, 0, 0)] * count
    content = apng(frames, 31, 24)
    if not count:
        content = content.replace(chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"acTL", struct.pack(">II", 2, 0)))
    with pytest.raises(ImageFileError, match="truncated or corrupt PNG"):
        read_all(content)


@pytest.mark.parametrize("kind", ["png", "webp"])
@given(
    numbers=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    channels=st.sampled_from([3, 4]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    plays=st.integers(0, 5),
)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_what_pillow_shows(kind, numbers, channels, size, plays):
    """Exactly, in lossless files, with every delay and count; equal frames too."""
    frames = [noise(number, *size, channels) for number in numbers]
    delays = tuple(20 + 10 * index for index in range(len(frames)))
    facts = Facts(*size, delays, plays)
    content = encode_frames([Picture(frame) for frame in frames], facts, kind, quality=100)
    pixels, found = read_all(content) if len(frames) > 1 or kind == "png" else ([frames[0]], facts)
    assert found.delays == delays
    assert found.plays == plays
    for got, frame in zip(pixels, frames, strict=True):
        np.testing.assert_array_equal(got[..., :channels], frame)
    if len(frames) > 1:
        shown, shown_delays, _ = decoded(content)
        assert shown_delays == list(delays)
        for got, frame in zip(shown, frames, strict=True):
            opaque = np.ones(size, bool) if channels == 3 else frame[..., 3] > 0
            np.testing.assert_array_equal(got[..., :channels][opaque], frame[opaque])


@given(
    numbers=st.lists(st.integers(0, 3), min_size=2, max_size=5),
    channels=st.sampled_from([3, 4]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    plays=st.integers(0, 5),
)
@settings(max_examples=25, deadline=None)
def test_gifs_are_what_pillow_shows(numbers, channels, size, plays):
    """In their own colours, of which few pictures have more than 256; with every delay, count and hole."""
    frames = [noise(number, *size, channels) // 64 * 85 for number in numbers]
    for frame in frames:
        frame[..., 3:] = np.where(frame[..., 3:] > 127, 255, 0)
    delays = tuple(20 + 10 * index for index in range(len(frames)))
    content = encode_frames([Picture(frame) for frame in frames], Facts(*size, delays, plays), "gif")
    pixels, facts = read_all(content)
    assert (facts.delays, facts.plays) == (delays, plays)
    shown, _, _ = decoded(content)  # which joins equal frames
    assert len(shown) <= len(frames)
    for got, frame in zip(pixels, frames, strict=True):
        opaque = np.ones(size, bool) if channels == 3 else frame[..., 3] > 0
        if channels == 4 and got.shape[2] == 4:
            np.testing.assert_array_equal(got[..., 3] > 0, opaque)
        assert _mean_error(got, frame, opaque) < 3


def _mean_error(got, frame, where):
    return np.abs(got[..., :3].astype(int) - frame[..., :3])[where].sum() / max(1, 3 * where.sum())


def test_a_gif_of_a_still_picture_is_refused(tmp_path):
    with pytest.raises(ImageFileError, match="GIF has 256 colors, so only animations are written"):
        images.write_image(tmp_path / "a.gif", Picture(noise(0)))
    with pytest.raises(ImageFileError, match="only animations are written"):
        images.encode(Picture(noise(0)), "gif")
    assert images.losses("a.gif", Picture(noise(0))) == ("GIF cannot hold more than 256 colors",)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_metadata_is_that_of_the_first_frame(kind):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    content = by_pillow(kind, [noise(number) for number in range(4)], exif=exif.tobytes())
    with open_frames(content) as frames:
        written = encode_frames(frames, frames.facts, kind)
    assert Image.open(io.BytesIO(written)).getexif()[0x010F] == "maker"


@pytest.mark.parametrize("kind", KINDS)
def test_a_still_picture_has_no_frames(kind):
    file = io.BytesIO()
    Image.fromarray(noise(0)).save(file, KINDS[kind])
    with open_frames(file.getvalue()) as frames:
        assert frames is None
    assert read_image(file.getvalue(), page=1).width == 31
    with pytest.raises(ImageFileError, match="page 2 does not exist; the file has 1"):
        read_image(file.getvalue(), page=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_can_be_chosen_and_is_otherwise_refused(kind):
    content = by_pillow(kind, [noise(number) for number in range(4)])
    pixels, _ = read_all(content)
    for page in (1, 4):
        np.testing.assert_array_equal(read_image(content, page=page).pixels, pixels[page - 1])
    with pytest.raises(ImageFileError, match="has 4 frames; write an animation as PNG, WebP or GIF, or pass --page"):
        read_image(content)
    with pytest.raises(ImageFileError, match="page 5 does not exist; the file has 4"):
        read_size(content, page=5)
    with pytest.raises(InputError, match="page=0 must be at least 1"):
        read_size(content, page=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_animation_is_refused_and_leaves_no_file(kind, tmp_path):
    content = by_pillow(kind, [noise(number, 60, 60) for number in range(4)])
    cut = content[: len(content) * 3 // 4]

    def copy():
        with open_frames(cut) as frames:
            write_frames(tmp_path / "a.png", frames, frames.facts)

    with pytest.raises(ImageFileError, match="truncated or corrupt"):
        copy()
    assert not list(tmp_path.iterdir())


def test_the_limit_holds_for_each_frame():
    content = by_pillow("webp", [noise(number) for number in range(4)])
    with open_frames(content, max_pixels=24 * 31) as frames:
        assert len(list(frames)) == 4
    with pytest.raises(ImageFileError, match="is over the limit"), open_frames(content, max_pixels=24 * 31 - 1):
        pass


def tiff_of(pages, thumbnail_at=None):
    """A TIFF of several pages by tifffile."""
    import tifffile

    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for index, page in enumerate(pages):
            writer.write(page, photometric="rgb", subfiletype=1 if index == thumbnail_at else 0, metadata=None)
    return file.getvalue()


@pytest.mark.parametrize("thumbnail_at", [None, 0, 2])
def test_pages_of_a_tiff_are_chosen_by_number_without_thumbnails(thumbnail_at):
    pages = [noise(number, 20 + number, 30) for number in range(3)]
    content = tiff_of(pages, thumbnail_at)
    full = [page for index, page in enumerate(pages) if index != thumbnail_at]
    for number, page in enumerate(full, 1):
        np.testing.assert_array_equal(read_image(content, page=number).pixels, page)
        assert read_size(content, page=number) == page.shape[:2]
    with pytest.raises(ImageFileError, match=f"has {len(full)} pages; pass --page to choose one, from 1"):
        read_image(content)
    with pytest.raises(ImageFileError, match=f"page 9 does not exist; the file has {len(full)}"):
        read_image(content, page=9)


@pytest.mark.parametrize("thumbnail_at", [0, 1])
def test_a_thumbnail_is_no_second_page(thumbnail_at):
    pages = [noise(0), noise(1)]
    content = tiff_of(pages, thumbnail_at)
    np.testing.assert_array_equal(read_image(content).pixels, pages[1 - thumbnail_at])


def test_a_chain_of_pages_in_a_circle_ends():
    content = bytearray(tiff_of([noise(0), noise(1)]))
    first = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[first : first + 2], "little")
    link = first + 2 + 12 * count
    second = int.from_bytes(content[link : link + 4], "little")
    count = int.from_bytes(content[second : second + 2], "little")
    content[second + 2 + 12 * count :][:4] = content[4:8]
    at = second + 2 + 12 * count
    content[at : at + 4] = content[4:8]
    with pytest.raises(ImageFileError, match="has 2 pages"):
        images.read_image(bytes(content))
