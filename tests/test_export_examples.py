"""The programs in `examples/` give what ONNX Runtime gives in Python. `.ci/run` installs what they need."""

import http.server
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from adadsr import images
from upscaler_samples import photo

REASON = "needs the extra `export`, which .ci/run installs"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
openvino = pytest.importorskip("openvino", reason=REASON)

from adadsr import export  # noqa: E402  (needs onnx)
from adadsr.export import verifying  # noqa: E402

EXAMPLES = Path(__file__).parents[1] / "examples"
CHROMIUM = os.environ.get("ADADSR_CHROMIUM") or shutil.which("chromium")
BUDGETS = (0.3, 0.6, 1.0)
IMAGE = photo(37, 51)


def require(condition: object, missing: str) -> None:
    """Skip, or fail where CI promises the tools of the examples."""
    if not condition:
        (pytest.fail if os.environ.get("ADADSR_REQUIRE_EXAMPLES") == "1" else pytest.skip)(missing)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export.export("adaedsr-baseline-x2", tmp_path_factory.mktemp("model") / "upscale.onnx").path


def expected(exported: Path, budget: float) -> tuple[np.ndarray, float]:
    """The image and the share that the file gives in Python."""
    run = verifying.load(exported.read_bytes(), "onnxruntime")
    outputs = run(verifying.inputs_of(IMAGE, export.Form(), verifying.Limits(budget)))
    return outputs["upscaled"][0].astype(int), float(outputs["share"][0])


def check(arguments: list[str], folder: Path) -> str:
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def assert_alike(found: np.ndarray, printed: str, wanted: tuple[np.ndarray, float]) -> None:
    assert np.abs(found - wanted[0]).max() <= 1  # halves are rounded in either direction
    assert float(printed.partition(": ")[2].partition("%")[0]) == pytest.approx(100 * wanted[1], abs=0.06)


def test_node(exported, tmp_path):
    require(shutil.which("node"), "needs node")
    require((EXAMPLES / "node" / "node_modules").is_dir(), "needs `npm ci` in examples/node")
    images.write_image(tmp_path / "in.png", images.picture_from_array(IMAGE))
    for budget in BUDGETS:
        script = [str(exported), str(tmp_path / "in.png"), str(tmp_path / "out.png"), str(budget)]
        printed = check(["node", "upscale.mjs", *script], EXAMPLES / "node")
        found = images.read_image(tmp_path / "out.png").pixels.astype(int)
        assert_alike(found, printed, expected(exported, budget))


def test_node_says_how_it_is_used(tmp_path):
    require(shutil.which("node"), "needs node")
    require((EXAMPLES / "node" / "node_modules").is_dir(), "needs `npm ci` in examples/node")
    result = subprocess.run(["node", "upscale.mjs"], cwd=EXAMPLES / "node", capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr.partition(":")[0]) == (2, "usage")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    require(shutil.which("cmake") and shutil.which("c++"), "needs cmake and a C++ compiler")
    build = tmp_path_factory.mktemp("build")
    package = Path(openvino.__file__).parent / "cmake"
    check(["cmake", "-S", str(EXAMPLES / "cpp"), "-B", str(build), f"-DOpenVINO_DIR={package}"], build)
    check(["cmake", "--build", str(build)], build)
    return build / "upscale"


def test_cpp(compiled, exported, tmp_path):
    height, width = IMAGE.shape[:2]
    (tmp_path / "in.ppm").write_bytes(b"P6\n%d %d\n255\n" % (width, height) + IMAGE.tobytes())
    for budget in BUDGETS:
        printed = check([str(compiled), str(exported), "in.ppm", "out.ppm", str(budget)], tmp_path)
        content = (tmp_path / "out.ppm").read_bytes()
        header = b"P6\n%d %d\n255\n" % (2 * width, 2 * height)
        assert content.startswith(header)
        found = np.frombuffer(content[len(header) :], np.uint8).reshape(2 * height, 2 * width, 3).astype(int)
        assert_alike(found, printed, expected(exported, budget))


@pytest.mark.parametrize(
    "content", [b"", b"P6\n4 4\n255\nshort", b"P5\n1 1\n255\n0", b"P6\n-1 1\n255\n", b"P6\n9999999 1\n255\n"]
)
def test_cpp_refuses_broken_files(compiled, exported, tmp_path, content):
    (tmp_path / "in.ppm").write_bytes(content)
    arguments = [str(compiled), str(exported), "in.ppm", "out.ppm", "0.5"]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr.partition(":")[0]) == (1, "upscale")


@pytest.fixture
def page_address(exported, tmp_path):
    """The browser's example on a server of its own, with the exported file."""
    require((EXAMPLES / "browser" / "node_modules").is_dir(), "needs `npm ci` in examples/browser")
    require(CHROMIUM, "needs chromium")
    for path in (EXAMPLES / "browser").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "upscale.onnx").unlink(missing_ok=True)
    (tmp_path / "upscale.onnx").symlink_to(exported)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


PIXELS = """canvas => [canvas.height, canvas.width,
    Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)]"""


def test_browser(page_address, exported, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    images.write_image(tmp_path / "in.png", images.picture_from_array(IMAGE))
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        foreign = []
        page.on("request", lambda request: request.url.startswith(page_address) or foreign.append(request.url))
        page.goto(page_address)
        page.set_input_files("#photo", tmp_path / "in.png")
        for budget in (0.5, 1.0):
            page.locator("#budget").fill(str(budget))
            share = f"{100 * expected(exported, budget)[1]:.1f}%"
            page.wait_for_function(f"document.getElementById('status').value.startsWith('{share}')", timeout=60_000)
            height, width, data = page.locator("#upscaled").evaluate(PIXELS)
            found = np.array(data).reshape(height, width, 4)[..., :3]
            assert np.abs(found - expected(exported, budget)[0]).max() <= 1
        browser.close()
    assert not [url for url in foreign if not url.startswith("blob:")]
