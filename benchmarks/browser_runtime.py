"""onnxruntime-web in Debian's chromium as another runtime for exported files.

Needs playwright, and `npm ci` in examples/browser.
"""

import base64
import http.server
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from adadsr.export.verifying import Run

FOLDER = Path(__file__).parents[1] / "examples" / "browser"
CHROMIUM = os.environ.get("ADADSR_CHROMIUM") or shutil.which("chromium")
SCRIPT = """async () => {
    const ort = await import("./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1; // more need cross-origin isolation
    const sessions = [];
    const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const textOf = ({ buffer, byteOffset, byteLength }) => {
        let text = "";
        for (let at = 0; at < byteLength; at += 4096) {
            text += String.fromCharCode(...new Uint8Array(buffer, byteOffset + at, Math.min(4096, byteLength - at)));
        }
        return btoa(text);
    };
    window.load = async (text) => sessions.push(await ort.InferenceSession.create(bytesOf(text))) - 1;
    window.run = async (number, inputs) => {
        const tensors = inputs.map(([name, dims, text]) => {
            return [name, new ort.Tensor("float32", new Float32Array(bytesOf(text).buffer), dims)];
        });
        const outputs = await sessions[number].run(Object.fromEntries(tensors));
        return Object.entries(outputs).map(([name, { dims, data }]) => [name, dims, textOf(data)]);
    };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, and no log."""

    def log_message(self, *arguments: object) -> None:
        pass


class Browser:
    """A page with onnxruntime-web on one thread. page: of playwright."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def load(self, content: bytes) -> Run:
        """A file whose inputs and outputs are float32. What a run sends and gets back takes some milliseconds."""
        number = self._page.evaluate("text => window.load(text)", base64.b64encode(content).decode())

        def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            given = [
                (name, list(array.shape), base64.b64encode(array.tobytes()).decode()) for name, array in inputs.items()
            ]
            outputs = self._page.evaluate("([number, inputs]) => window.run(number, inputs)", [number, given])
            return {
                name: np.frombuffer(base64.b64decode(text), np.float32).reshape(shape) for name, shape, text in outputs
            }

        return run


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium with a page that has the runtime."""
    from playwright.sync_api import sync_playwright

    handler = partial(Quiet, directory=FOLDER)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as started:
        Thread(target=server.serve_forever, daemon=True).start()
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/package.json")
            page.evaluate(SCRIPT)
            yield Browser(page)
        finally:
            browser.close()
            server.shutdown()
