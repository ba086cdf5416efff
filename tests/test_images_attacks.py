"""Files that were made to harm their reader cost little, and end in a picture or in a refusal that names the file."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from adadsr import images
from adadsr.errors import ImageFileError
from adadsr.images._tiffmetadata import TiffMetadata, append_tiff_metadata, read_tiff_exif
from attacks.images import ATTACKS, MIB, TO_EXIF, directory, shared_values, tiff

READ_ALL = """
import json, resource, sys, time
from pathlib import Path
from adadsr import images
from adadsr.errors import ImageFileError
images.encode(images.read_image(sys.argv[1]), "tiff")
costs = {}
for path in sys.argv[2:]:
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        picture = images.read_image(path)
        images.encode(picture, "tiff")
        images.encode(picture, "jpeg")
        outcome = "picture"
    except ImageFileError as error:
        outcome = str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    costs[Path(path).name] = [outcome, grown / 1024, time.process_time() - start]
print(json.dumps(costs))
"""


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    """Outcome, MiB of memory and seconds of processor time of each file, in a process of its own."""
    folder = tmp_path_factory.mktemp("attacks")
    harmless = folder / "harmless.tif"
    harmless.write_bytes(tiff())
    for name, content in ATTACKS.items():
        (folder / name).write_bytes(content)
    paths = [str(folder / name) for name in ATTACKS]
    command = [sys.executable, "-c", READ_ALL, str(harmless), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit; Linux in CI runs it")
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_cost_little(costs, name):
    outcome, memory, seconds = costs[name]
    assert outcome == "picture" or (f"/{name}: " in outcome and "; " in outcome)
    assert memory < 32
    assert seconds < 2


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_as_bytes_and_streams(name):
    for source in (ATTACKS[name], io.BytesIO(ATTACKS[name])):
        try:
            outcome = len(images.read_image(source).exif or b"")
        except ImageFileError as error:
            outcome = str(error)
        assert outcome < 2 * MIB if isinstance(outcome, int) else outcome.startswith(("<bytes>: ", "<file>: "))


def test_what_exif_adds_up_to_is_limited():
    content = tiff(TO_EXIF, below=shared_values(400, MIB // 4) + bytes(MIB // 4))
    block = read_tiff_exif(io.BytesIO(content))
    assert MIB // 2 < len(block) < MIB + 8192


def test_a_large_value_does_not_take_the_place_of_the_small_ones():
    below = directory([(0x9003, 7, 4, 0x31323334), (0x927C, 7, 2 * MIB, 0), (0x9286, 7, 4, 0x35363738)])
    block = read_tiff_exif(io.BytesIO(tiff(TO_EXIF, below=below + bytes(2 * MIB))))
    assert b"4321" in block
    assert b"8765" in block


def test_a_hostile_block_of_another_format_is_not_written():
    """The EXIF of a JPEG or PNG is a TIFF, too, and as untrusted."""
    block = b"Exif\0\0" + tiff(TO_EXIF, below=shared_values(20, 4 * MIB) + bytes(4 * MIB))
    file = io.BytesIO(tiff())
    append_tiff_metadata(file, TiffMetadata(block), {}, None)
    assert len(file.getvalue()) < 4096


def test_the_corpus_is_small():
    assert sum(map(len, ATTACKS.values())) < 24 * MIB
    assert {Path(name).suffix for name in ATTACKS} == {
        *(".tif", ".png", ".jpg", ".webp", ".avif"),
        *(".gif", ".bmp", ".ppm", ".jp2", ".jxl", ".heic"),
    }
