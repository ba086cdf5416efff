"""The page of `adadsr export --web` in a real browser against the package. `.ci/run` installs what it needs."""

import errno
import hashlib
import http.server
import json
import os
import shutil
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from adadsr import Upscaler, checkpoints, images
from adadsr.errors import ExportError
from adadsr.networks import NetworkConfig
from cli_samples import call
from graph_samples import config_of
from upscaler_samples import model_of, photo

REASON = "needs the extra `export`, which .ci/run installs"
pytest.importorskip("onnx", reason=REASON)

from adadsr import export  # noqa: E402  (needs onnx)
from adadsr.export import web_runtime  # noqa: E402

MODEL = "adaedsr-baseline-x2"
PACKAGE = Path(__file__).parents[1] / "examples" / "browser" / "node_modules" / web_runtime.PACKAGE
LOCK = Path(__file__).parents[1] / "examples" / "browser" / "package-lock.json"
CHROMIUM = os.environ.get("ADADSR_CHROMIUM") or shutil.which("chromium")
SLOW = 120_000
"""Milliseconds within which anything must have happened, even on a busy machine."""
SIDE = 24
"""Of tiles, so that small photos are cut."""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Path:
    """A package with the files that are copied; they need not work."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in web_runtime.FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


class Server(http.server.SimpleHTTPRequestHandler):
    """Files, and no log."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """The page on a server that knows nothing but files: its folder and its address."""
    if not PACKAGE.is_dir() or CHROMIUM is None:
        (pytest.fail if os.environ.get("ADADSR_REQUIRE_EXAMPLES") == "1" else pytest.skip)(
            "needs chromium, and `npm ci` in examples/browser"
        )
    folder = tmp_path_factory.mktemp("site") / "site"
    export.export_site(MODEL, folder, runtime=PACKAGE)
    description = json.loads((folder / "model/model.json").read_text())
    description["cutting"]["side"] = SIDE
    (folder / "model/model.json").write_text(json.dumps(description))
    handler = partial(Server, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(accept_downloads=True)
        page.set_default_timeout(SLOW)
        errors, foreign = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on("request", lambda request: foreign.append((request.method, request.url)))
        page.goto(site[1])
        yield page
        assert not errors
        assert {method for method, _ in foreign} == {"GET"}
        assert all(url.startswith((site[1], f"blob:{site[1]}", "data:")) for _, url in foreign)
        browser.close()


def add(page, name: str, content: bytes) -> None:
    """Choose a photo, and wait for its plan."""
    page.set_input_files("#files", [{"name": name, "mimeType": "image/png", "buffer": content}])
    page.locator("#figure-time", has_text="≈").wait_for()


def png_of(pixels: np.ndarray) -> bytes:
    return images.encode(images.picture_from_array(pixels), "png")


@pytest.mark.parametrize("budget", [50, 100])
def test_the_result_is_that_of_the_package(page, tmp_path, budget):
    image = photo(61, 90)
    add(page, "photo.png", png_of(image))
    page.locator("#budget").fill(str(budget))
    prepared = Upscaler.from_pretrained(MODEL).prepare(image / np.float32(255))
    plan = prepared.plan(budget=budget / 100)
    page.locator("#figure-depth", has_text=f"{plan.mean_depth:.1f}").wait_for()
    if budget < 100:
        assert plan.predicted_loss is not None
        shown = "< 0.01" if 0 < plan.predicted_loss < 0.01 else f"{plan.predicted_loss:.2f}"
        assert page.locator("#figure-loss").text_content() == f"{shown}dB below full depth"
    page.click("#run")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "photo_2x.png"
    download.value.save_as(tmp_path / "out.png")
    found = images.read_image(tmp_path / "out.png").pixels[..., :3].astype(np.float32)
    expected = prepared.run(plan).image * 255
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 0.51
    page.click("#depth")
    assert page.locator("#divider").is_visible()


@pytest.mark.parametrize("size", [(1, 1), (3, 130), (25, 24)])
def test_photos_of_any_size(page, tmp_path, size):
    add(page, "photo.png", png_of(photo(*size)))
    page.click("#run")
    page.locator("#download").wait_for()
    assert page.locator("#download").text_content() == f"Download {2 * size[1]} × {2 * size[0]}"


def test_transparency_and_broken_files_are_said(page):
    rgba = np.concatenate([photo(9, 9), np.full((9, 9, 1), 128, np.uint8)], -1)
    add(page, "clear.png", png_of(rgba))
    page.locator("#about", has_text="Transparency becomes white.").wait_for()
    page.set_input_files("#files", [{"name": "no.png", "mimeType": "image/png", "buffer": b"nothing"}])
    page.locator("#notice", has_text="cannot read the file").wait_for()


def test_a_run_can_be_cancelled(page):
    add(page, "photo.png", png_of(photo(160, 160)))
    page.click("#run")
    page.click("#cancel")
    page.locator("#run").wait_for()


def test_a_site_has_what_it_needs(tmp_path, runtime):
    site = export.export_site(MODEL, tmp_path / "site", runtime=runtime)
    names = {path.relative_to(site.path).as_posix() for path in site.path.rglob("*") if path.is_file()}
    assert {"index.html", "page.js", "onnx/engine.js", "model/tile.onnx", "runtime/ort.wasm.min.js"} <= names
    assert "http-engine.js" not in names
    assert site.bytes == sum((site.path / name).stat().st_size for name in names)
    assert "connect-src 'self'" in (site.path / "index.html").read_text()
    assert json.loads((site.path / "model/model.json").read_text())["licence"] == "Apache-2.0"


def test_the_runtime_is_the_one_that_is_tested():
    found = json.loads(LOCK.read_text())["packages"][f"node_modules/{web_runtime.PACKAGE}"]
    assert (found["version"], found["integrity"]) == (web_runtime.VERSION, f"sha512-{web_runtime.INTEGRITY}")


def test_a_changed_package_is_refused(tmp_path):
    (tmp_path / "package.tgz").write_bytes(b"something else")
    assert b64encode(hashlib.sha512(b"something else").digest()).decode() != web_runtime.INTEGRITY
    with pytest.raises(ExportError, match="SHA-512 differs"):
        web_runtime.unpacked(tmp_path / "package.tgz")


def test_without_npm_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match="needs npm"):
        web_runtime.read_runtime(None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (config_of("rcan", 4), "cannot be cut into tiles"),
        (config_of("edsr", 1), "no adapter that predicts errors"),
        (NetworkConfig("edsr", 2, 8, 2), "no adapter that predicts errors"),
    ],
)
def test_networks_that_cannot_be_cut_are_refused(tmp_path, runtime, config, message):
    checkpoints.save(model_of(config), tmp_path / "tiny.safetensors")
    with pytest.raises(ExportError, match=message):
        export.export_site(tmp_path / "tiny.safetensors", tmp_path / "site", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_an_existing_folder_is_kept(tmp_path, runtime):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine").write_text("mine")
    arguments = ["export", MODEL, "--web", str(tmp_path / "site"), "--runtime", str(runtime)]
    result = call(*arguments)
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    result = call(*arguments, "--overwrite")
    assert result.exit_code == 1
    assert "no page of adadsr to replace" in result.output
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["mine"]


def test_a_page_is_replaced_and_what_is_not_of_it_stays(tmp_path, runtime):
    (tmp_path / "site").mkdir()
    arguments = ["export", MODEL, "--web", str(tmp_path / "site"), "--runtime", str(runtime)]
    assert call(*arguments).exit_code == 0
    written = contents(tmp_path / "site")
    mine = {"CNAME": b"photos.example", ".git/HEAD": b"ref", "model/notes": b"mine"}
    for name, content in mine.items():
        (tmp_path / "site" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "site" / name).write_bytes(content)
    (tmp_path / "site/index.html").write_text("old")
    assert "--overwrite" in call(*arguments).output
    assert call(*arguments, "--overwrite").exit_code == 0
    found = contents(tmp_path / "site")
    assert set(found) == {*written, *mine}
    assert found["index.html"] == written["index.html"]
    assert {name: found[name] for name in mine} == mine


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_page_that_cannot_be_replaced_stays(tmp_path, runtime, monkeypatch, step):
    """When the second call of a step fails."""
    export.export_site(MODEL, tmp_path / "site", runtime=runtime)
    written = contents(tmp_path / "site")

    calls, work = [], getattr(Path, step)

    def full(path, given):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return work(path, given)

    monkeypatch.setattr(Path, step, full)
    with pytest.raises(ExportError, match="No space left"):
        export.export_site(MODEL, tmp_path / "site", runtime=runtime)
    assert set(contents(tmp_path / "site")) == set(written)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--web", "site", "-o", "out.onnx"), "pass a file with --output, or a folder with --web"),
        (("--web", "missing/site"), "does not exist"),
        (("--web", "site", "--dense"), "does not apply to --web"),
        (("--web", "site", "--verify"), "does not apply to --web"),
        (("--web", "site", "--int8-loss", "1"), "needs --int8"),
        (("--web", "site", "--runtime", "missing"), "pass the folder of onnxruntime-web"),
    ],
)
def test_wrong_usage(here, arguments, message):
    result = call("export", MODEL, *arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (here / "site").exists()
