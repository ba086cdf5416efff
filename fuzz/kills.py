"""Kills a folder run at random moments; the same command again must complete it.

`python fuzz/kills.py [--count 100] [--seed 0]`. After each kill (SIGKILL) every output that exists must be whole, and
after the second run all outputs must equal those of an undisturbed run, with no temporary file left. Status 1 if not.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from adadsr import images

COMMAND = [sys.executable, "-c", "from adadsr.cli import main; main()", "upscale"]
PICTURES = 12


def make_inputs(folder: Path) -> None:
    """Small pictures of several formats."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, suffix in zip(range(PICTURES), (".png", ".jpg", ".webp", ".tif") * PICTURES, strict=False):
        pixels = rng.integers(0, 256, (60 + 4 * number, 90, 3), np.uint8)
        images.write_image(folder / f"{number:02}{suffix}", images.picture_from_array(pixels))


def upscale(source: Path, target: Path) -> subprocess.Popen[bytes]:
    """Start a folder run."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, str(source), "-o", str(target), "--budget", "0.6"], **quiet)


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every file, hidden ones included."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def disturbed(source: Path, target: Path, expected: dict[str, bytes], seconds: float) -> list[str]:
    """Kill a run after some time and complete it. Returns what was wrong."""
    shutil.rmtree(target, ignore_errors=True)
    process = upscale(source, target)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = contents(target)
    wrong = [f"{name} is not whole" for name, data in left.items() if name in expected and data != expected[name]]
    again = upscale(source, target)
    _, errors = again.communicate()
    if again.returncode:
        wrong.append(f"the second run ended with {again.returncode}: {errors.decode()[-300:]}")
    after = contents(target)
    wrong += [f"{name} differs" for name in expected if after.get(name) != expected[name]]
    wrong += [f"{name} was left" for name in after if name not in expected]
    return wrong


def main() -> None:
    """Print what went wrong, and how many runs were killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, wrong = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in", Path(folder) / "out"
        make_inputs(source)
        start = time.perf_counter()
        upscale(source, target).wait()
        duration, expected = time.perf_counter() - start, contents(target)
        assert len(expected) == PICTURES, sorted(expected)
        for _ in range(arguments.count):
            wrong += disturbed(source, target, expected, rng.uniform(0.3, duration))
    for line in wrong:
        print(line)
    print(json.dumps({"kills": arguments.count, "wrong": len(wrong), "seconds_of_a_run": round(duration, 2)}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
