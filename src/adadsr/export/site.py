"""A folder for any web server: the page of the service, with a network that runs in the browser behind it."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from adadsr import checkpoints
from adadsr.errors import ExportError, cause_of
from adadsr.export.exporting import load_model, metadata_of
from adadsr.export.pieces import Cutting, to_pieces
from adadsr.export.web_runtime import read_runtime
from adadsr.graph import NetworkWeights

WEB = Path(__file__).parents[1] / "web"
DESCRIPTION = "model/model.json"
"""What the page needs to know of the network. Each site has one."""
LEFT_OUT = ("http-engine.js", "start.js")
"""Files of the service's page that a site does not need."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What browsers let the page do: it can send nothing to any other site."""
RUN_BYTES = 300e6
"""Memory of a tile, for which its side is chosen."""
FEATURE_COPIES = 8
"""Features of a window that a run holds at once."""


class Site(NamedTuple):
    """What was written. bytes: of all files."""

    path: Path
    bytes: int


def export_site(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    half: bool = False,
    runtime: str | os.PathLike[str] | None = None,
) -> Site:
    """Write a page that upscales photos in the browser. A new folder appears completely or not at all.

    Args:
        source: A bundled name, a checkpoint file, or a Hugging Face id.
        folder: The folder to write. In one that has a page already, its files are replaced and all others stay.
        half: Store weights as float16.
        runtime: Folder of the npm package onnxruntime-web; None to fetch it with npm.

    Raises:
        ExportError: The folder has files but no page, the network cannot be exported or cut into tiles, the runtime
            is missing, or writing fails.
        CheckpointError: The model does not exist, or its file is corrupt.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise ExportError(f"{folder}: has files, but no page of adadsr to replace; choose another folder")
    files = {**_model_files(source, half), **_page_files(), **read_runtime(runtime)}
    try:
        _replace(folder, files)
    except OSError as error:
        raise ExportError(f"{folder}: cannot write ({cause_of(error)}); choose another folder") from error
    return Site(folder, sum(map(len, files.values())))


def _model_files(source: str | os.PathLike[str], half: bool) -> dict[str, bytes]:
    model = load_model(source, half=half)
    network, metadata, name = model.weights(), metadata_of(source, model), checkpoints.model_name(source)
    pieces = to_pieces(network, metadata, half=half)
    description = {
        "name": name,
        "family": name.removesuffix(f"-x{network.scale}"),
        "scale": network.scale,
        "blocks": network.n_blocks,
        "summary": metadata.get("summary", ""),
        "licence": metadata["licence"],
        "cutting": {**asdict(Cutting.of(network)), "side": _side(network)},
    }
    files = {f"model/{name}.onnx": piece.SerializeToString() for name, piece in pieces.items()}
    return {**files, DESCRIPTION: json.dumps(description, indent=1).encode()}


def _side(network: NetworkWeights) -> int:
    """Side of a tile in LR pixels, with which its window fits into `RUN_BYTES`."""
    pixels = RUN_BYTES / (4 * FEATURE_COPIES * network.channels)
    side = int(pixels**0.5) - 2 * Cutting.of(network).context
    return max(side, 4 * network.depth_tile) // network.depth_tile * network.depth_tile


def _page_files() -> dict[str, bytes]:
    paths = [path for path in sorted(WEB.rglob("*")) if path.is_file()]
    files = {path.relative_to(WEB).as_posix(): path.read_bytes() for path in paths}
    for name in LEFT_OUT:
        del files[name]
    page = files["index.html"].decode()
    policy = f'<meta charset="utf-8" />\n    <meta http-equiv="Content-Security-Policy" content="{POLICY}" />'
    files["index.html"] = _with(page, {'<meta charset="utf-8" />': policy, "./start.js": "./onnx/start.js"}).encode()
    return files


def _with(page: str, replaced: Mapping[str, str]) -> str:
    """A page with parts replaced, each of which it has once."""
    for before, after in replaced.items():
        if page.count(before) != 1:
            raise ExportError(f"index.html has {before} {page.count(before)} times, not once")
        page = page.replace(before, after)
    return page


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write these files into a folder, in place of those of their names, once all are on its disk."""
    final = Path(os.path.realpath(folder))
    with tempfile.TemporaryDirectory(prefix=".adadsr-", dir=final if final.is_dir() else final.parent) as hidden:
        new = Path(hidden) / "new"
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not final.is_dir():
            new.rename(final)
            return
        for name in files:
            (final / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).replace(final / name)
