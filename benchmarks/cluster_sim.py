"""A simulated cluster: how far from the ideal does a collection end that is cut into units as `adadsr batch` cuts it?

`python benchmarks/cluster_sim.py [--pictures 1000000] [--workers 1000] [--seeds 3]`. Times of pictures are lognormal,
so that few take most of the time; units are cut by a guess that is off by a third. Some workers are slow, some are lost
every hour and replaced after minutes; their units are done again by others. A worker holds one unit that runs and one
that waits, as in `cluster.running`. The ideal is all work on all workers that are there, without any wait. The last
line is JSON.
"""

import argparse
import heapq
import json
from collections import deque
from dataclasses import dataclass

import numpy as np

from adadsr.cluster.running import IN_FLIGHT
from adadsr.cluster.units import cut

GOAL = 1.05


@dataclass(frozen=True)
class World:
    """What a cluster is like. Times are in seconds.

    slow_share of the workers take slowness times as long. lost: share of the workers that is lost in an hour.
    replaced: time until another one takes the place of one that was lost. guess: sigma of the logarithm of the ratio of
    guessed and real cost. mean, sigma: of the time of a picture, and of its logarithm. start: of a worker. overhead:
    of a unit.
    """

    workers: int = 1000
    slow_share: float = 0.05
    slowness: float = 2.0
    lost: float = 0.05
    replaced: float = 180.0
    guess: float = 0.3
    mean: float = 3.0
    sigma: float = 1.3
    start: float = 10.0
    overhead: float = 0.05


def simulate(world: World, pictures: int, seed: int) -> dict[str, float]:
    """Run a collection; returns its makespan, the ideal, and what was done twice."""
    random = np.random.default_rng(seed)
    real = random.lognormal(np.log(world.mean) - world.sigma**2 / 2, world.sigma, pictures)
    guessed = real * random.lognormal(0, world.guess, pictures)
    parts = cut(guessed.tolist(), world.workers)
    work = [float(real[part].sum()) + world.overhead for part in parts]
    speeds = np.where(random.random(world.workers) < world.slow_share, 1 / world.slowness, 1.0)
    queue, again, done = deque(range(len(parts))), 0.0, 0
    held: list[deque[int]] = [deque() for _ in range(world.workers)]
    began = np.zeros(world.workers)
    version = [0] * world.workers
    events: list[tuple[float, int, int, str]] = []

    def begin(worker: int, now: float) -> None:
        """Fill up a worker, and start what is first."""
        idle = not held[worker]
        while queue and len(held[worker]) < IN_FLIGHT:
            held[worker].append(queue.popleft())
        if idle and held[worker]:
            run(worker, now)

    def run(worker: int, now: float) -> None:
        began[worker] = now
        heapq.heappush(events, (now + work[held[worker][0]] / speeds[worker], worker, version[worker], "end"))

    for worker in range(world.workers):
        heapq.heappush(events, (world.start * random.uniform(0.5, 1.5), worker, 0, "up"))
        heapq.heappush(events, (random.exponential(3600 / world.lost), worker, 0, "lost"))
    now = 0.0
    while done < len(parts):
        now, worker, made, kind = heapq.heappop(events)
        if kind == "up":
            begin(worker, now)
        elif kind == "end" and made == version[worker]:
            held[worker].popleft()
            done += 1
            if held[worker]:
                run(worker, now)
            begin(worker, now)
        elif kind == "lost":
            if held[worker]:
                again += (now - began[worker]) * speeds[worker]
                queue.extendleft(reversed(held[worker]))
                held[worker].clear()
            version[worker] += 1
            back = now + world.replaced
            heapq.heappush(events, (back, worker, version[worker], "up"))
            heapq.heappush(events, (back + random.exponential(3600 / world.lost), worker, version[worker], "lost"))
    there = 1 / (1 + world.lost * world.replaced / 3600)
    ideal = float(real.sum() / (speeds.sum() * there))
    return {
        "makespan": round(float(now), 1),
        "ideal": round(ideal, 1),
        "ratio": round(float(now) / ideal, 4),
        "units": len(parts),
        "done_again": round(float(again / real.sum()), 5),
        "largest_picture": round(float(real.max()), 1),
    }


def main() -> None:
    """Simulate a few seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    world = World(workers=arguments.workers)
    rows = [simulate(world, arguments.pictures, seed) for seed in range(arguments.seeds)]
    for row in rows:
        print(row)
    worst = max(row["ratio"] for row in rows)
    print(json.dumps({"rows": rows, "worst": worst, "goal": GOAL, "met": worst <= GOAL, "world": vars(world)}))


if __name__ == "__main__":
    main()
