"""An exported adaptive network in chromium against the same network exported densely: onnxruntime-web, one thread.

`python benchmarks/export_browser.py [--rounds 7] [--chromium PATH]`, after `npm ci` in examples/browser. Equality is
checked first, as in `benchmarks/export.py`, whose shares these are. The last line is JSON.
"""

import argparse
import functools
import http.server
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from threading import Thread

from export import CASES, FORM, SHARES, TOLERANCE, budget_for
from peers import environment, spread
from playwright.sync_api import sync_playwright

from adadsr import export
from adadsr.export import verifying

PACKAGE = Path(__file__).parents[1] / "examples" / "browser" / "node_modules" / "onnxruntime-web" / "dist"
SIDE = 128
SCRIPT = """async ({ side, rounds, budgets }) => {
  const ort = await import("./runtime/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  const pixels = new Float32Array(await (await fetch("image")).arrayBuffer());
  const image = () => new ort.Tensor("float32", pixels, [1, 3, side, side]);
  const one = (value) => new ort.Tensor("float32", [value], [1]);
  const [dense, adaptive] = [await ort.InferenceSession.create("dense"), await ort.InferenceSession.create("adaptive")];
  const runs = { dense: () => dense.run({ image: image() }) };
  for (const [name, budget] of Object.entries(budgets))
    runs[name] = () => adaptive.run({ image: image(), budget: one(budget), max_loss: one(0) });
  const [expected, found] = [(await runs.dense()).upscaled.data, (await runs["100%"]()).upscaled.data];
  const error = expected.reduce((most, value, at) => Math.max(most, Math.abs(value - found[at])), 0);
  const times = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, run] of Object.entries(runs)) {
      const start = performance.now();
      await run();
      if (round > 0) times[name].push(performance.now() - start);
    }
  }
  return { error, times };
}"""


class Files(http.server.SimpleHTTPRequestHandler):
    """Files, and no log."""

    def log_message(self, *arguments: object) -> None:
        pass


def measure(rounds: int, chromium: str | None) -> dict:
    """The largest difference at full budget, and the milliseconds of each round of each run."""
    network, image = CASES["baseline"][0]().weights(), verifying.photo(SIDE, SIDE)
    budgets = {f"{share:.0%}": budget_for(network, SIDE, SIDE, share) for share in SHARES}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        (files / "runtime").symlink_to(PACKAGE)
        (files / "index.html").write_text("<!doctype html><title>Benchmark</title>")
        for name, form in (("dense", export.Form(FORM.image, dense=True)), ("adaptive", FORM)):
            (files / name).write_bytes(export.to_onnx(network, form, {}).SerializeToString())
        (files / "image").write_bytes(verifying.inputs_of(image, FORM, None)["image"].tobytes())
        handler = functools.partial(Files, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as started:
            Thread(target=server.serve_forever, daemon=True).start()
            browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            result = page.evaluate(SCRIPT, {"side": SIDE, "rounds": rounds, "budgets": budgets})
            browser.close()
            server.shutdown()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    arguments = parser.parse_args()
    result = measure(arguments.rounds, arguments.chromium)
    if not result["error"] <= TOLERANCE:
        raise SystemExit(f"the files differ by {result['error']:.3g} of 255")
    middle = {name: statistics.median(taken) for name, taken in result["times"].items()}
    rows = []
    for name, taken in result["times"].items():
        ratio = middle["dense"] / middle[name]
        print(f"baseline  {SIDE}x{SIDE} browser      {name:6} {spread(taken):32} {ratio:.2f}x")
        rows.append({"case": "baseline", "runtime": "browser", "run": name, "ms": middle[name], "ratio": ratio})
    print(json.dumps({"rows": rows, **environment(1)}))


if __name__ == "__main__":
    main()
