"""Programs that read back what adadsr wrote: exiftool and libavif's, from Debian's packages."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import pyvips
from PIL import Image


def tool(name, package):
    """Path of a program. Without it tests are skipped, or fail where CI requires it."""
    path = shutil.which(name)
    if path is None:
        missing = f"{name} is missing; install Debian's {package}, as CI does"
        if os.environ.get("ADADSR_REQUIRE_FILE_TOOLS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def exiftool(path, *options):
    """All tags, as `Group:Name`, in numbers."""
    command = [tool("exiftool", "libimage-exiftool-perl"), "-j", "-G1", "-n", "-struct", "-a", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (tags,) = json.loads(done.stdout)
    return tags


def exiftool_complaints(path):
    """Warnings and errors of a validation."""
    command = [tool("exiftool", "libimage-exiftool-perl"), "-validate", "-warning", "-error", "-a", "-s3", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if line and not line.startswith("OK")]


def avifdec(path, folder):
    """Pixels by libavif, with straight alpha."""
    decoded = folder / "decoded.png"
    command = [tool("avifdec", "libavif-bin"), "-d", "16", str(path), str(decoded)]
    subprocess.run(command, capture_output=True, check=True)
    image = pyvips.Image.pngload(str(decoded), revalidate=True)  # libvips would take an earlier file's pixels
    return image.numpy().astype(np.float64) / 257


def avif_codes(path):
    """Colour primaries, transfer characteristics and matrix coefficients by libavif."""
    command = [tool("avifdec", "libavif-bin"), "--info", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {line.partition(":")[0].strip(" *"): line.partition(":")[2].strip() for line in lines}
    return tuple(int(found[name].split()[0]) for name in ("Color Primaries", "Transfer Char.", "Matrix Coeffs."))


def pillow(path):
    """The image, loaded."""
    with Image.open(path) as image:
        image.load()
        return image
