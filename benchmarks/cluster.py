"""`adadsr batch` against one process on the same pictures, and the memory of its workers.

`python benchmarks/cluster.py nodes|overhead|memory|hours PHOTOS [--pictures 200] [--sides 64 320]`. Pictures are parts
of the photos in a folder, as PNG and JPEG, with sides in this range.

nodes     two local nodes of one core each against one process on one core, and against two such processes at once,
          which show what the machine can give
overhead  one node with all cores against `adadsr upscale` on all cores
memory    resident memory of the workers over the run: the largest of its second and of its last quarter
hours     `--hours` of `--seconds`: what the whole command took, and what each part of it did

Outputs must equal those of one process. Seconds are those of the work: without the start of Python and of Ray, which
`start` has, up to the end of the first picture. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adadsr import Execution, batch, images
from adadsr.cluster import Collection, Progress, Resources, run
from adadsr.evaluation.results import describe_environment
from adadsr.formats import is_image_file
from adadsr.machine import default_threads
from adadsr.upscaler.loading import load_chain

MODEL = "adaedsr-baseline-x2"


def make_pictures(photos: Path, folder: Path, count: int, sides: tuple[int, int] = (64, 320)) -> None:
    """Parts of photos, always the same."""
    random, sources = np.random.default_rng(0), [path for path in sorted(photos.rglob("*")) if is_image_file(path)]
    decoded = [images.read_image(path).pixels for path in sources[:20]]
    folder.mkdir()
    for number in range(count):
        pixels = decoded[number % len(decoded)]
        height, width = (int(min(random.integers(*sides), side)) for side in pixels.shape[:2])
        top, left = (
            int(random.integers(0, side - part + 1))
            for side, part in zip(pixels.shape[:2], (height, width), strict=True)
        )
        part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        images.write_image(folder / f"{number:05}{'.jpg' if number % 3 else '.png'}", images.picture_from_array(part))


def one_process(threads: int) -> float:
    """Seconds of a folder run."""
    chain, options = load_chain(MODEL, None, Execution(threads=threads)), batch.Options(clamp_budget=True)
    measured, _ = batch.measure(batch.find_jobs(["in"], "one").to_run, chain.size, options)
    warm = batch.run(chain, measured[:1], replace(options, overwrite=True))
    done = batch.run(chain, measured[1:], options)
    assert all(result.report is not None for result in (*warm.results, *done.results))
    return done.seconds + warm.results[0].seconds


def _half(number: int) -> tuple[float, float]:
    """Begin and end of every second picture."""
    chain, options = load_chain(MODEL, None, Execution(threads=1)), batch.Options(clamp_budget=True)
    jobs = batch.find_jobs(["in"], f"half{number}").to_run[number::2]
    measured, _ = batch.measure(jobs, chain.size, options)
    begin = time.time()
    batch.run(chain, measured, options)
    return begin, time.time()


def two_processes() -> float:
    """Seconds of two processes of one thread that share the pictures."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        begins, ends = zip(*pool.map(_half, [0, 1], chunksize=1), strict=True)
    return float(max(ends) - min(begins))


def on_ray(resources: Resources, watch: Any = lambda progress: None) -> tuple[float, float]:
    """Seconds of the work of a run, and of its start."""
    began = time.time()
    outcome = run(Collection("in", "many", MODEL), resources, progress=watch)
    assert outcome.failed == 0
    ends = [path.stat().st_mtime for path in Path("many").glob("*.*")]
    return max(ends) - min(ends), min(ends) - began


def check_equal() -> None:
    """Raise AssertionError unless both folders hold the same."""
    one, many = ({path.name: path.read_bytes() for path in Path(name).glob("*.*")} for name in ("one", "many"))
    assert one == many


def measure_nodes() -> dict[str, Any]:
    """Two nodes against one core."""
    import ray
    from ray.cluster_utils import Cluster

    one = one_process(1)
    both = two_processes()
    sizes = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **sizes})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **sizes)
    two, start = on_ray(Resources(cluster.address))
    ray.shutdown()
    cluster.shutdown()
    return {
        "one": round(one, 2),
        "two_processes": round(both, 2),
        "two_nodes": round(two, 2),
        "start": round(start, 2),
        "speedup": round(one / two, 3),
        "speedup_of_two_processes": round(one / both, 3),
    }


def measure_overhead() -> dict[str, Any]:
    """One node against one process, on all cores."""
    one = one_process(default_threads())
    many, start = on_ray(Resources())
    return {
        "one": round(one, 2),
        "batch": round(many, 2),
        "start": round(start, 2),
        "overhead": round(many / one - 1, 4),
    }


def measure_memory() -> dict[str, Any]:
    """Resident memory of the workers over a run."""
    seen: list[float] = []

    def watch(progress: Progress) -> None:
        seen.append(max(_worker_bytes(), default=0) / 2**20)

    seconds, _ = on_ray(Resources(), watch)
    quarters = [round(float(max(part)), 1) for part in np.array_split(np.array(seen), 4)]
    return {"seconds": round(seconds, 1), "second_quarter_mib": quarters[1], "last_quarter_mib": quarters[3]}


def measure_hours(seconds: float) -> dict[str, Any]:
    """The command with a limit of time, from the start of its process to its end."""
    begun, moments = time.time(), dict[str, float]()

    def watch(progress: Progress) -> None:
        part = "planning" if progress.is_planning else "running"
        moments.setdefault(f"first_{part}", time.time() - begun)
        moments[f"last_{part}"] = time.time() - begun
        print(part, progress.done, f"{time.time() - begun:.1f} s", file=sys.stderr)

    outcome = run(Collection("in", "many", MODEL, hours=seconds / 3600), Resources(), progress=watch)
    taken = time.time() - begun
    assert outcome.decision is not None
    assert outcome.failed == 0
    return {
        "asked": seconds,
        "taken": round(taken, 1),
        "used": round(taken / seconds, 3),
        "decided": round(outcome.decision.budget, 3),
        "budget": round(outcome.share or 0.0, 3),
        "worker_seconds": round(sum(outcome.rows["total_seconds"].to_pylist()), 1),
    } | {name: round(moment, 1) for name, moment in moments.items()}


def _worker_bytes() -> list[int]:
    """Resident memory of each actor of Ray Data."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"MapWorker" in (process / "cmdline").read_bytes():
                found.append(int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        except OSError:
            continue
    return found


def main() -> None:
    """Measure one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("nodes", "overhead", "memory", "hours"))
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--sides", type=int, nargs=2, default=(64, 320), metavar=("LEAST", "MOST"))
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    photos = arguments.photos.resolve()
    measure = {
        "nodes": measure_nodes,
        "overhead": measure_overhead,
        "memory": measure_memory,
        "hours": lambda: measure_hours(arguments.seconds),
    }[arguments.what]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_pictures(photos, Path("in"), arguments.pictures, tuple(arguments.sides))
        result = measure()
        if arguments.what in ("nodes", "overhead"):
            check_equal()
    print(result)
    print(json.dumps(result | {"pictures": arguments.pictures, "environment": describe_environment(Execution())}))


if __name__ == "__main__":
    main()
