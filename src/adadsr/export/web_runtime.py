"""onnxruntime-web, which runs ONNX files in browsers: from its npm package, next to the page that uses it."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from adadsr.errors import ExportError, cause_of

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package, as npm has it."""
FILES = {
    "package.json": "package.json",
    "dist/ort.wasm.min.mjs": "ort.wasm.min.js",
    "dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.js",
    "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
"""What a page needs of the package -> its name there: not every web server knows the type of `.mjs`."""
FOLDER = "runtime"
SECONDS = 300
"""How long npm may take."""


def read_runtime(folder: str | os.PathLike[str] | None) -> dict[str, bytes]:
    """The files of a page's runtime by their paths.

    folder: of the unpacked npm package; None to fetch it. Raises ExportError.
    """
    if folder is None:
        return _named(_fetched())
    try:
        return _named({name: (Path(folder) / name).read_bytes() for name in FILES})
    except OSError as error:
        raise ExportError(f"{error.filename}: cannot read ({cause_of(error)}); pass the folder of {PACKAGE}") from error


def _named(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{FOLDER}/{FILES[name]}": content for name, content in contents.items()}


def _fetched() -> dict[str, bytes]:
    """The package's files, from the registry that npm is configured for."""
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(f"fetching {PACKAGE} needs npm; install Node, or pass the folder of the unpacked package")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"npm did not fetch {PACKAGE} within {SECONDS} seconds; try again") from error
        archives = list(Path(folder).glob("*.tgz"))
        if result.returncode != 0 or len(archives) != 1:
            reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
            raise ExportError(f"npm cannot fetch {PACKAGE} {VERSION}: {reason}")
        return unpacked(archives[0])


def unpacked(archive: Path) -> dict[str, bytes]:
    """The files of the package's archive. Raises ExportError if it is not the one that is known."""
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != INTEGRITY:
        raise ExportError(f"{PACKAGE} {VERSION} from npm is not the known package; its SHA-512 differs")
    contents = {}
    with tarfile.open(archive) as package:
        for name in FILES:
            member = package.extractfile(f"package/{name}")
            assert member is not None  # the known package has it
            contents[name] = member.read()
    return contents
