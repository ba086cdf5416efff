"""What an installation without torch weighs, and how soon the command starts. POSIX only.

`python benchmarks/startup.py VENV [--rounds 9]`

VENV is a fresh virtual environment that `VENV/bin/pip install .` filled. The size counts what the installation brought:
site-packages without pip and setuptools, bytecode included. Equality comes first: the command gives the image of the
library. Then each command runs in a process of its own, in turns. Peak memory is the resident set. The last line is
JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

LIMITS = {"disk_mb": 250, "upscale_seconds": 0.6, "upscale_peak_mb": 120, "help_seconds": 0.15}
SIDE = 64
NOT_OURS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
"""What a fresh environment holds before."""
PREPARE = """
import importlib.util, sys, sysconfig
import numpy as np
from adadsr import images
assert importlib.util.find_spec("torch") is None, "torch is installed; use an environment without it"
noise = np.random.default_rng(0).integers(0, 256, ({side}, {side}, 3), np.uint8)
images.write_image("in.png", images.picture_from_array(noise))
print(sysconfig.get_path("purelib"))
"""
COMPARE = """
import numpy as np
from adadsr import Upscaler, images
expected = Upscaler.from_pretrained("adaedsr-baseline-x2")("in.png").image
np.testing.assert_array_equal(images.read_image("out.png").pixels, expected)
"""


class Usage(NamedTuple):
    """One process: wall time and processor time in seconds, peak resident set in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(command: list[str], folder: str) -> Usage:
    """Run a command to its end. Exits if it fails.

    A process starts with the peak of the one that it was forked from, so this program imports no large library.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6)


def disk_bytes(path: Path) -> int:
    """Bytes that a file or folder occupies on disk."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.lstat().st_blocks * 512 for file in files)


def measure_disk(site_packages: Path) -> dict[str, float]:
    """Name -> MB of each package or file that the installation brought, the largest first."""
    brought = [
        path
        for path in site_packages.iterdir()
        if not any(path.name == name or path.name.startswith(f"{name}-") for name in NOT_OURS)
    ]
    sizes = {path.name: round(disk_bytes(path) / 1e6, 1) for path in brought}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def main() -> None:
    """Prove equality, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    programs = arguments.venv.resolve() / "bin"
    upscale = [str(programs / "adadsr"), "upscale", "in.png", "--output", "out.png", "--overwrite", "--quiet"]
    commands = {"upscale": upscale, "help": [str(programs / "adadsr"), "--help"]}
    usages: dict[str, list[Usage]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        prepare = [str(programs / "python"), "-c", PREPARE.format(side=SIDE)]
        found = subprocess.run(prepare, cwd=folder, check=True, capture_output=True, text=True)
        for command in commands.values():  # the first run writes bytecode and fills the disk cache
            run(command, folder)
        subprocess.run([str(programs / "python"), "-c", COMPARE], cwd=folder, check=True)
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                usages[name].append(run(command, folder))
    sizes = measure_disk(Path(found.stdout.strip()))
    figures = {"disk_mb": round(sum(sizes.values()), 1)}
    for name, taken in usages.items():
        middle = Usage(*(round(statistics.median(values), 3) for values in zip(*taken, strict=True)))
        figures |= {f"{name}_{field}": value for field, value in middle._asdict().items()}
        low, high = min(each.seconds for each in taken), max(each.seconds for each in taken)
        times = f"{middle.seconds:.3f} s ({low:.3f} to {high:.3f}), processor {middle.cpu_seconds:.3f} s"
        print(f"{name:8} {times}, peak {middle.peak_mb:.1f} MB")
    largest = ", ".join(f"{name} {size}" for name, size in list(sizes.items())[:6])
    print(f"disk     {figures['disk_mb']} MB: {largest}")
    missed = [name for name, limit in LIMITS.items() if figures[name] > limit]
    print(json.dumps({"figures": figures, "limits": LIMITS, "missed": missed, "rounds": arguments.rounds}))


if __name__ == "__main__":
    main()
