"""The service under load: overhead, throughput, memory, overload, clients that leave, and the time to start.

    python benchmarks/serve_load.py [--seconds 60] [--requests 2000] [--clients 64] [--threads 2] [--only PART...]

Every figure is of `adadsr serve` in a process of its own on a free loopback port. The last line is JSON.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from adadsr import images
from adadsr.upscaler import Execution, Upscaler

MODEL = "adaedsr-baseline-x2"
PHOTO = Path(__file__).parents[1] / "assets" / "photo.png"
COMMAND = "from adadsr.cli import main; main()"


def crop(side: int) -> bytes:
    """A PNG of a part of the photo."""
    pixels = images.read_image(PHOTO).pixels[:side, :side]
    return images.encode(images.picture_from_array(np.ascontiguousarray(pixels)), "png")


class Process:
    """`adadsr serve`."""

    def __init__(self, *options: str) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-c", COMMAND, "serve", "--port", "0", *options]
        self.child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.child.stderr is not None
        line = self.child.stderr.readline()
        found = re.search(r":(\d+)$", line.strip())
        assert found, line
        self.port = int(found[1])
        self.ready_seconds = time.perf_counter() - start

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def peak(self) -> int:
        """Resident bytes at the moment."""
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str) -> float:
        """A gauge or counter without labels."""
        connection = self.connection()
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.split(" ")[0] == name))


@contextmanager
def serving(*options: str) -> Iterator[Process]:
    process = Process(*options)
    try:
        yield process
    finally:
        process.child.terminate()
        process.child.wait(60)


def post(connection: http.client.HTTPConnection, path: str, content: bytes) -> tuple[int, dict[str, str], float]:
    """Status, headers and seconds."""
    start = time.perf_counter()
    connection.request("POST", path, content)
    answer = connection.getresponse()
    answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, time.perf_counter() - start


def overhead(threads: int, runs: int = 100) -> dict[str, float]:
    """p50 of the API over the library call, in turns: 64x64 PNG to PNG at half the budget, in milliseconds."""
    content, upscaler = crop(64), Upscaler.from_pretrained(MODEL, Execution(threads=1))
    library, service = [], []
    with serving("--threads", str(threads)) as process:
        connection = process.connection()
        for index in range(runs + 10):
            start = time.perf_counter()
            upscaler(content, budget=0.5).to_bytes("png")
            took = time.perf_counter() - start
            status, _, seconds = post(connection, "/v1/upscale?budget=0.5", content)
            assert status == 200
            if index >= 10:
                library.append(took)
                service.append(seconds)
    medians = {"library_ms": statistics.median(library) * 1e3, "api_ms": statistics.median(service) * 1e3}
    return {**medians, "overhead_ms": medians["api_ms"] - medians["library_ms"]}


def many(process: Process, clients: int, path: str, content: bytes, until: Callable[[], bool]) -> list[tuple]:
    """What clients got that call one after the other until something is true."""
    found: list[tuple] = []

    def client() -> None:
        connection = process.connection()
        while not until():
            found.append(post(connection, path, content))

    with ThreadPoolExecutor(clients) as pool:
        for each in [pool.submit(client) for _ in range(clients)]:
            each.result()
    return found


def throughput(threads: int, seconds: float) -> dict[str, float]:
    """128x128 at half the budget: requests a second one by one and from several clients, in turns."""
    content, rates = crop(128), {1: [], 2 * threads: []}
    with serving("--threads", str(threads), "--target-wait", "1e6") as process:
        for _ in range(3):
            for clients, kept in rates.items():
                end = time.perf_counter() + seconds / 6
                got = many(
                    process, clients, "/v1/upscale?budget=0.5", content, lambda end=end: time.perf_counter() > end
                )
                assert all(status == 200 for status, _, _ in got)
                kept.append(len(got) / (seconds / 6))
    one, several = (statistics.median(kept) for kept in rates.values())
    return {"one_by_one": one, "together": several, "ratio": several / one}


def clients(threads: int, number: int, seconds: float) -> dict[str, object]:
    """Statuses that many clients get; 503 is not one of them if the target wait is long."""
    with serving("--threads", str(threads), "--target-wait", "1e6") as process:
        end = time.perf_counter() + seconds
        got = many(process, number, "/v1/upscale?budget=0.3", crop(48), lambda: time.perf_counter() > end)
    return {"requests": len(got), "statuses": dict(Counter(str(status) for status, _, _ in got))}


def memory(threads: int, requests: int) -> dict[str, float]:
    """Resident memory after a tenth of the requests and after all, in MiB."""
    content, count, peaks = [crop(side) for side in (32, 48, 40)], 0, []
    with serving("--threads", str(threads)) as process:
        connection = process.connection()
        for count in range(requests):
            status, _, _ = post(connection, "/v1/upscale?budget=0.4", content[count % 3])
            assert status == 200
            if count >= requests // 10:
                peaks.append(process.peak() / 2**20)
    return {"after_tenth": peaks[0], "after_all": peaks[-1], "growth": peaks[-1] / peaks[0] - 1}


def overload(threads: int, seconds: float) -> dict[str, object]:
    """Ten times as many requests as the service can run at their budget: waits, statuses and served budgets."""
    content = crop(96)
    with serving("--threads", str(threads)) as process:
        connection = process.connection()
        alone = statistics.median(post(connection, "/v1/upscale", content)[2] for _ in range(10))
    with serving("--threads", str(threads), "--target-wait", str(2 * alone), "--least-budget", "0.4") as process:
        connection = process.connection()
        for _ in range(5):
            post(connection, "/v1/upscale", content)  # the service learns its pace
        interval, end = alone / threads / 10, time.perf_counter() + seconds
        got: list[tuple] = []

        def one() -> None:
            got.append(post(process.connection(), "/v1/upscale", content))

        pool, started = [], time.perf_counter()
        while time.perf_counter() < end:
            pool.append(threading.Thread(target=one))
            pool[-1].start()
            time.sleep(max(0.0, started + interval * len(pool) - time.perf_counter()))
        for each in pool:
            each.join()
    served = [headers for status, headers, _ in got if status == 200]
    waits = sorted(float(re.search(r"wait;dur=([\d.]+)", each["server-timing"])[1]) / 1e3 for each in served)
    budgets = [float(each["adadsr-served-budget"]) for each in served]
    return {
        "unloaded_s": alone,
        "offered_per_s": len(got) / seconds,
        "statuses": dict(Counter(str(status) for status, _, _ in got)),
        "wait_p95_s": waits[int(0.95 * len(waits))] if waits else None,
        "wait_p95_over_unloaded": waits[int(0.95 * len(waits))] / alone if waits else None,
        "served_budget_median": statistics.median(budgets) if budgets else None,
    }


def planning(threads: int, runs: int = 20) -> dict[str, float]:
    """Seconds of a plan with its depth map, for a prepared megapixel."""
    pixels = np.tile(images.read_image(PHOTO).pixels, (2, 2, 1))[:1000, :1000]
    content, found = images.encode(images.picture_from_array(np.ascontiguousarray(pixels)), "png"), []
    with serving("--threads", str(threads)) as process:
        connection = process.connection()
        connection.request("POST", "/v1/images", content)
        name = json.loads(connection.getresponse().read())["id"]
        for index in range(runs + 1):
            path = f"/v1/plan?image={name}&depth_map=true&budget={0.4 + 0.02 * index:.2f}"
            found.append(post(connection, path, b"")[2])
    return {"first_s": found[0], "median_s": statistics.median(found[1:]), "most_s": max(found[1:])}


def leaving(threads: int, runs: int = 5) -> dict[str, float]:
    """Seconds until the engine is free after a client left in the middle of a 512x512 picture."""
    content, found = crop(512), []
    with serving("--threads", str(threads)) as process:
        for _ in range(runs):
            with socket.create_connection(("127.0.0.1", process.port)) as client:
                head = f"POST /v1/upscale HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
                client.sendall(head.encode() + content)
                while not process.metric("adadsr_queue_running"):
                    time.sleep(0.01)
                time.sleep(0.3)
            start = time.perf_counter()
            while process.metric("adadsr_queue_running"):
                time.sleep(0.005)
            found.append(time.perf_counter() - start)
    return {"median_s": statistics.median(found), "most_s": max(found)}


def ready(threads: int, runs: int = 5) -> dict[str, float]:
    """Seconds from the start of the process until it listens, with its default model loaded."""
    found = []
    for _ in range(runs):
        with serving("--threads", str(threads)) as process:
            found.append(process.ready_seconds)
    return {"median_s": statistics.median(found), "least_s": min(found)}


def page(threads: int, runs: int = 5) -> dict[str, float]:
    """Seconds from the first byte asked for until the page has its models and its buttons answer, in a new browser."""
    from playwright import sync_api

    found = []
    with serving("--threads", str(threads)) as process, sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(runs):
            visit = browser.new_context().new_page()
            visit.goto(f"http://127.0.0.1:{process.port}")
            visit.locator("#model option").first.wait_for(state="attached")
            found.append(visit.evaluate("performance.now()") / 1e3)
            visit.context.close()
        browser.close()
    return {"median_s": statistics.median(found), "most_s": max(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="names of parts; all by default")
    options = parser.parse_args()
    parts: dict[str, Callable[[], dict]] = {
        "ready": lambda: ready(options.threads),
        "overhead": lambda: overhead(options.threads),
        "throughput": lambda: throughput(options.threads, options.seconds / 2),
        "planning": lambda: planning(options.threads),
        "leaving": lambda: leaving(options.threads),
        "clients": lambda: clients(options.threads, options.clients, options.seconds),
        "overload": lambda: overload(options.threads, options.seconds / 4),
        "memory": lambda: memory(options.threads, options.requests),
        "page": lambda: page(options.threads),
    }
    results = {}
    for name, part in parts.items():
        if not options.only or name in options.only:
            results[name] = part()
            print(name, json.dumps(results[name]), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
