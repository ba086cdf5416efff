"""Reads thousands of mutated image files: none may crash, hang, or give pixels that no other decoder vouches for.

`python fuzz/files.py [--count 10000] [--seed 0] [--cases DIR] [--keep DIR]`. Seeds are small pictures of every format
and the files in DIR. Each mutated file is read in a worker process with a limit of time and memory, and what is
accepted is written and read again. Findings are kept in the folder of --keep; status 1 if there are any.
"""

import argparse
import contextlib
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

SECONDS = 20
"""After this a file is said to hang."""
MEMORY = 4 * 2**30
LARGEST_DIFFERENCE = 4
"""Gray levels between two decoders that agree: they round colour conversions differently."""
AGREEING = 0.99
"""Share of samples that has to agree: at the border of subsampled chroma decoders differ."""


def seeds(cases: Path | None) -> dict[str, bytes]:
    """Name -> content of the files that are mutated."""
    from adadsr import images
    from adadsr.formats import FORMATS, READABLE_SUFFIXES

    rng = np.random.default_rng(0)
    found: dict[str, bytes] = {}
    for row in FORMATS:
        for channels in (1, 3, 4):
            if (channels == 1 and not row.has_gray) or (channels == 4 and not row.has_alpha):
                continue
            rows, columns = np.mgrid[:40, :52]
            smooth = np.stack([rows * 5 % 256, columns * 4 % 256, (rows + columns) * 2 % 256, 255 - rows], -1)
            pixels = (smooth[..., :channels] + rng.integers(0, 9, (40, 52, channels))).clip(0, 255).astype(np.uint8)
            suffix = row.suffixes[0]
            found[f"{channels}{suffix}"] = images.encode(images.picture_from_array(pixels), suffix)
    found |= dict(_other_formats())
    found |= dict(_several_pictures())
    for path in sorted(cases.iterdir()) if cases else ():
        if path.suffix.lower() in READABLE_SUFFIXES and path.stat().st_size < 200_000:
            found[path.name] = path.read_bytes()
    return found


def _other_formats() -> Iterator[tuple[str, bytes]]:
    """Pictures of formats that are only read, and metadata in all that Pillow writes."""
    import pillow_heif
    import pillow_jxl  # noqa: F401  # registers itself
    from PIL import Image

    pillow_heif.register_heif_opener()
    rows, columns = np.mgrid[:40, :52]
    picture = Image.fromarray(np.stack([rows * 5, columns * 4, 200 - rows], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:ImageWidth="52" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"/>'
    xmp += b"</x:xmpmeta>"
    more = {"exif": exif.tobytes(), "xmp": xmp}
    for suffix, kind, options in (
        (".bmp", "BMP", {}),
        (".ppm", "PPM", {}),
        (".gif", "GIF", {}),
        (".jp2", "JPEG2000", {}),
        (".heic", "HEIF", more),
        (".jxl", "JXL", {"exif": exif.tobytes()}),
        (".jpg", "JPEG", more),
        (".webp", "WEBP", more),
        (".avif", "AVIF", more),
        (".png", "PNG", {"exif": exif.tobytes()}),
    ):
        content = io.BytesIO()
        picture.save(content, kind, **options)
        yield f"pillow{suffix}", content.getvalue()


def _several_pictures() -> Iterator[tuple[str, bytes]]:
    """Animations, a TIFF of two pages and a JPEG of two pictures."""
    from PIL import Image

    rows, columns = np.mgrid[:30, :36]
    frames = []
    for number in range(3):
        pixels = np.stack([rows * 5, columns * 4, 200 - rows], -1).astype(np.uint8)
        pixels[4 : 12 + 4 * number, 6:20] = 80 * number
        frames.append(Image.fromarray(pixels))
    more = {"save_all": True, "append_images": frames[1:]}
    timed = {"duration": [40, 90, 30], "loop": 2}
    for suffix, kind, options in (
        (".gif", "GIF", timed),
        (".webp", "WEBP", timed),
        (".png", "PNG", timed),
        (".tif", "TIFF", {}),
        (".jpg", "MPO", {}),
    ):
        content = io.BytesIO()
        frames[0].save(content, kind, **more, **options)
        yield f"several{suffix}", content.getvalue()


def flip(data: bytearray, rng: random.Random) -> None:
    """Change single bits."""
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    """Set bytes of the first 200 to values that fields choke on."""
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(200, len(data)))] = rng.choice((0, 1, 127, 128, 254, 255))


def cut(data: bytearray, rng: random.Random) -> None:
    """Lose the end."""
    del data[rng.randrange(len(data)) :]


def lose(data: bytearray, rng: random.Random) -> None:
    """Lose a part in the middle."""
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 7, 100, 1000))]


def blank(data: bytearray, rng: random.Random) -> None:
    """Zeros in the middle, as after a bad copy."""
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((4, 64, 512, 4096)))
    data[start:end] = bytes(end - start)


def repeat(data: bytearray, rng: random.Random) -> None:
    """A part twice."""
    start = rng.randrange(len(data))
    part = data[start : start + rng.choice((2, 16, 300))]
    data[start:start] = part


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, flip_header, cut, lose, blank, repeat)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content after one or two mutations, of at least one byte."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(MUTATIONS)(data, rng)
        if not data:
            return content[:1]
    return bytes(data)


def other_decoders(content: bytes) -> list[np.ndarray]:
    """8-bit RGBA from every other decoder that reads the file without complaint."""
    opinions = []
    for decode in (_by_pillow, _by_pillow_upright, _by_tifffile, _by_imagecodecs):
        try:
            opinions.append(decode(content))
        except Exception:  # whatever it is, this decoder does not vouch
            continue
    return opinions


def _by_pillow(content: bytes) -> np.ndarray:
    import pillow_heif
    import pillow_jxl  # noqa: F401  # registers itself
    from PIL import Image, ImageFile

    pillow_heif.register_heif_opener()
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if image.mode.startswith("I"):
            return rgba(np.asarray(image).astype(np.uint16)[..., None])
        return np.asarray(image.convert("RGBA"))


def _by_pillow_upright(content: bytes) -> np.ndarray:
    """Pillow's idea of upright goes by XMP as well, ours by EXIF only; so there is one opinion with and one without."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))


def _by_tifffile(content: bytes) -> np.ndarray:
    import tifffile

    return rgba(np.atleast_3d(tifffile.imread(io.BytesIO(content))))


def _by_imagecodecs(content: bytes) -> np.ndarray:
    import imagecodecs

    codecs = {
        b"\xff\xd8": imagecodecs.jpeg8_decode,
        b"\x89P": imagecodecs.png_decode,
        b"RI": imagecodecs.webp_decode,
        b"\0\0": imagecodecs.avif_decode,
    }
    decode = codecs[content[:2]]
    return rgba(np.atleast_3d(decode(content)))


def rgba(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 1..4) of 8 or 16 bits as 8-bit RGBA."""
    eight = (pixels / 257).round().astype(np.uint8) if pixels.dtype == np.uint16 else pixels.astype(np.uint8)
    channels = eight.shape[2]
    color = eight[..., :3] if channels >= 3 else eight[..., :1].repeat(3, axis=2)
    alpha = eight[..., -1:] if channels in (2, 4) else np.full_like(eight[..., :1], 255)
    return np.concatenate([color, alpha], axis=2)


def agrees(ours: np.ndarray, other: np.ndarray) -> bool:
    """Whether two decoders saw the same picture, colour where it is visible."""
    if ours.shape != other.shape:
        return False
    visible = (ours[..., 3:] > 0) & (other[..., 3:] > 0)
    difference = np.abs(ours.astype(int) - other) * np.concatenate([visible.repeat(3, 2), np.ones_like(visible)], 2)
    return bool((difference <= LARGEST_DIFFERENCE).mean() >= AGREEING)


def check(path: Path, original: Path, folder: Path) -> str:
    """What happens to one file that was made from another: `refused`, `agreed`, `unvouched: ...` or `half: ...`."""
    from adadsr import images
    from adadsr.errors import AdaDSRError
    from adadsr.formats import FORMATS

    content = path.read_bytes()
    try:
        picture = images.read_image(path, max_pixels=4_000_000)
    except AdaDSRError:
        return check_frames(path, original, folder)
    written = folder / "written.png"
    images.write_image(written, picture, overwrite=True)
    again = images.read_image(written).pixels
    if not np.array_equal(again, picture.pixels):
        return "half: the written file holds other pixels"
    large = replace(picture, pixels=picture.pixels.repeat(2, 0).repeat(2, 1))  # so that sizes in metadata change
    for row in FORMATS:
        with contextlib.suppress(AdaDSRError):  # a format may be unable to hold it
            images.read_image(images.encode(large, row.suffixes[0]))
    opinions = other_decoders(content)
    with contextlib.suppress(AdaDSRError):  # a mutation that left the picture alone, such as one in the metadata
        opinions.append(rgba(images.read_image(original).pixels))
    if any(agrees(rgba(picture.pixels), other) for other in opinions):
        return "agreed"
    return f"unvouched: none of {len(opinions)} other results has these pixels"


def check_frames(path: Path, original: Path, folder: Path) -> str:
    """The same for a file that is no still picture."""
    from adadsr import images
    from adadsr.errors import AdaDSRError

    try:
        frames = frames_of(path)
        written = folder / "written.webp"
        with images.open_frames(path, max_pixels=4_000_000) as opened:
            images.write_frames(written, opened, opened.facts, quality=100)
    except AdaDSRError:
        with contextlib.suppress(AdaDSRError):
            images.read_image(path, max_pixels=4_000_000, page=2)
        return "refused"
    again = frames_of(written) if len(frames) > 1 else frames
    if len(again) != len(frames) or not all(map(agrees, again, frames)):
        return "half: the written animation shows something else"
    opinions = []
    with contextlib.suppress(Exception):  # whatever it is, this decoder does not vouch
        opinions.append(_frames_by_pillow(path.read_bytes(), frames))
    with contextlib.suppress(AdaDSRError):
        opinions.append(frames_of(original))
    for opinion in opinions:
        if len(opinion) == len(frames) and all(map(agrees, frames, opinion)):
            return "agreed"
    return f"unvouched: none of {len(opinions)} other results has these frames"


def frames_of(path: Path) -> list[np.ndarray]:
    """All frames of an animation as 8-bit RGBA. Raises AdaDSRError, also if it is none."""
    from adadsr import images
    from adadsr.errors import ImageFileError

    with images.open_frames(path, max_pixels=4_000_000) as frames:
        if frames is None:
            raise ImageFileError("no animation")
        return [rgba(picture.pixels) for picture in frames]


def _frames_by_pillow(content: bytes, ours: list[np.ndarray]) -> list[np.ndarray]:
    """Pillow's frames. Alpha counts as ours where it goes by a WebP's header, which says that there is none."""
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(content)) as image:
        found = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
        if image.format == "WEBP" and image.mode == "RGB":
            pairs = zip(found, ours, strict=True)
            return [np.concatenate([frame[..., :3], own[..., 3:]], axis=2) for frame, own in pairs]
        return found


def work(folder: Path) -> None:
    """The worker: lines of a path and its original's in, a JSON object a line out."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        start = time.perf_counter()
        try:
            path, original = line.rstrip("\n").split("\t")
            verdict = check(Path(path), Path(original), folder)
        except MemoryError:
            verdict = "memory"
        except Exception as error:  # what users must never see
            verdict = f"exception: {type(error).__name__}: {error}"
        print(json.dumps([verdict, time.perf_counter() - start]), flush=True)


class Worker:
    """A process that checks files; started again after a crash or a hang."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None
        self._start()

    def _start(self) -> None:
        command = [sys.executable, __file__, "--work", str(self._folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, **pipes)

    def check(self, path: Path, original: Path) -> str:
        """The verdict on a file."""
        import select

        process = self._process
        process.stdin.write(f"{path}\t{original}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline() if ready else ""
        if line:
            return str(json.loads(line)[0])
        process.kill()
        code = process.wait()
        self._start()
        return "hang" if not ready else f"crash: status {code}"

    def stop(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def findings(count: int, seed: int, cases: Path | None, folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, verdict, content) of each mutated file."""
    rng, originals, worker = random.Random(seed), seeds(cases), Worker(folder)
    names = sorted(originals)
    for number in range(count):
        name = names[number % len(names)]
        content = mutated(originals[name], rng)
        path, original = (folder / f"{kind}{Path(name).suffix}" for kind in ("mutated", "original"))
        path.write_bytes(content)
        original.write_bytes(originals[name])
        yield name, worker.check(path, original), content
    worker.stop()


def main() -> None:
    """Print how many files were refused and agreed upon, and the findings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=Path, help="folder of files that are mutated as well")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, verdict, content in findings(arguments.count, arguments.seed, arguments.cases, Path(folder)):
            kind = verdict.partition(":")[0]
            total[kind] += 1
            if kind not in ("refused", "agreed"):
                arguments.keep.mkdir(exist_ok=True)
                (arguments.keep / f"{sum(total.values()):05}-{kind}-{name}").write_bytes(content)
                print(f"{name}: {verdict}")
    print(json.dumps(dict(total)))
    sys.exit(any(kind not in ("refused", "agreed") for kind in total))


if __name__ == "__main__":
    main()
