"""Memory: how an image is cut to fit into a limit, that a process keeps it, and that threads share it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adadsr import Execution, Upscaler, checkpoints
from adadsr.backends import BACKENDS
from adadsr.errors import InputError
from adadsr.networks import NetworkConfig, assemble
from adadsr.upscaler.frame import Frame
from adadsr.upscaler.memory import CHEAP_SIDE, DEFAULT_LIMIT, LOW_LIMIT, SharedMemory, lay_out, lay_out_picture
from upscaler_samples import CONFIGS, DEEP, model_of, photo

MIB = 2**20
SMALL = NetworkConfig("edsr", 2, 64, 16, adaptive=True, depth_tile=4)
LARGE = NetworkConfig("edsr", 2, 256, 32, adaptive=True, depth_tile=4)
ATTENTIVE = NetworkConfig("rcan", 2, 64, 20, 10, adaptive=True, depth_tile=4)

MEMORY_RUN = """
import sys
import numpy as np
from adadsr import Execution, Upscaler, checkpoints

def peak():  # not ru_maxrss, which a child takes over from a large parent
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

memory = int(sys.argv[2])
upscaler = Upscaler(checkpoints.load(sys.argv[1]), Execution(memory=memory, threads=2))
upscaler(np.zeros((40, 40, 4), np.uint8), budget=0.7)
image = np.random.default_rng(0).integers(0, 256, (900, 800, 4), np.uint8)
before = peak() - image.nbytes
report = upscaler(image, budget=0.7).report
assert report.memory_bytes <= memory
print(peak() - before, report.tiles)
"""


class Sketch:
    """As much of an engine as a layout asks for: a network of a configuration, and bytes that grow with the window."""

    def __init__(self, config, free=None):
        self.network = assemble(config, lambda name, shape: np.broadcast_to(np.float32(0), shape))
        self._free = free

    def footprint(self, height, width, batch=1):
        return 6 * 4 * batch * height * width * self.network.channels + 10_000

    def free_bytes(self):
        return self._free


def frame_of(height, width):
    return Frame.of(height, width, "reflect", Sketch(DEEP).network)


@pytest.fixture(scope="module")
def engine():
    return Sketch(DEEP)


@settings(max_examples=50)
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    memory=st.integers(2, 60),
    held=st.integers(0, 10 * MIB),
    tile=st.one_of(st.none(), st.integers(20, 500)),
)
def test_a_layout_stays_within_its_limit_and_its_tile(engine, height, width, memory, held, tile):
    execution = Execution(memory=memory * MIB, tile=tile)
    try:
        layout = lay_out(engine, frame_of(height, width), held, execution)
    except InputError as error:
        least = int(re.search(r"at least (\d+) MiB", str(error))[1])
        assert least > memory
        assert lay_out(engine, frame_of(height, width), held, Execution(memory=least * MIB)).bytes <= least * MIB
        return
    assert held < layout.bytes <= memory * MIB
    assert (layout.frame.height, layout.frame.width) == (height, width)
    for tiles in (layout.tiles, layout.scored):
        assert sum(each.core.height * each.core.width for each in tiles) == height * width
        for each in tiles:
            assert held + engine.footprint(each.window.height, each.window.width) <= layout.bytes
            assert tile is None or max(each.core.height, each.core.width) <= tile
    assert layout.exact
    assert layout.is_whole == (len(layout.tiles) == 1)


@pytest.mark.parametrize(("square", "tile", "side"), [(1, 1, 4), (1, 9, 8), (2, 5, 8), (2, 17, 16), (2, 32, 32)])
def test_a_tile_is_a_cap_on_pixels_of_the_image(square, tile, side):
    network = NetworkConfig("esrgan", 2, 8, 1, growth=4, unshuffle=square)
    layout = lay_out_picture(Sketch(network), 60, 60, 0, Execution(tile=tile))
    assert max(max(each.core.height, each.core.width) for each in layout.tiles) * square == side


@pytest.mark.parametrize("size", [(47_000, 47_000), (1, 2**29), (2**31, 3)])
@pytest.mark.parametrize("kind", ["adaedsr-tiles", "adarcan"])
def test_an_image_that_engines_cannot_count_is_cut(kind, size):
    layout = Upscaler(model_of(CONFIGS[kind]), Execution(memory=2**60)).layout(*size, 0)
    assert len(layout.tiles) > 1
    assert max(tile.window.area for tile in layout.tiles) < 2**31


def test_more_memory_and_less_that_is_held_make_larger_tiles(engine):
    def tiles(memory, held=0):
        return len(lay_out(engine, frame_of(2000, 2000), held, Execution(memory=memory * MIB)).tiles)

    assert tiles(50) > tiles(100) > tiles(2000) == 1
    assert tiles(100, held=50 * MIB) == tiles(50)


@pytest.mark.parametrize(
    ("config", "side", "held", "limit"),
    [
        (SMALL, 300, 0, LOW_LIMIT),  # in one tile
        (SMALL, 4000, 0, LOW_LIMIT),  # in tiles so large that their overlap is small
        (SMALL, 4000, LOW_LIMIT, DEFAULT_LIMIT),
        (LARGE, 100, 0, LOW_LIMIT),
        (LARGE, 2000, 0, DEFAULT_LIMIT),
        (ATTENTIVE, 500, 0, LOW_LIMIT),
        (ATTENTIVE, 1500, 0, DEFAULT_LIMIT),  # its tiles are not exact
    ],
)
def test_by_default_little_memory_is_taken_only_where_it_will_do(config, side, held, limit):
    engine = Sketch(config)
    layout = lay_out(engine, frame_of(side, side), held, Execution())
    assert layout == lay_out(engine, frame_of(side, side), held, Execution(memory=limit))
    if limit == LOW_LIMIT:
        assert layout.is_whole or layout.tiles[0].core.width >= CHEAP_SIDE * engine.network.context


def test_a_device_is_filled_as_far_as_it_is_free():
    engine = Sketch(DEEP, free=100 * MIB)
    layout = lay_out(engine, frame_of(2000, 2000), 0, Execution())
    assert layout == lay_out(Sketch(DEEP), frame_of(2000, 2000), 0, Execution(memory=90 * MIB))
    assert lay_out(engine, frame_of(2000, 2000), 0, Execution(memory=300 * MIB)).bytes > 100 * MIB


def test_a_limit_that_holds_nothing_names_the_least():
    upscaler = Upscaler(model_of(DEEP), Execution(memory=MIB))
    with pytest.raises(InputError, match=r"60x60 needs at least \d+ MiB .*, the limit is 1 MiB; raise it \(--memory"):
        upscaler(photo(60, 60))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_plan_says_its_bytes(name):
    memory = 36 * MIB if name == "adaesrgan-tiles" else 12 * MIB  # ESRGAN's tiles read 64 pixels around them
    upscaler = Upscaler(model_of(CONFIGS[name]), Execution(memory=memory))
    image = photo(250, 260)
    plan = upscaler.prepare(image).plan(depth=2.0)
    assert len(plan.tiles) > 1
    assert image.nbytes < plan.bytes <= memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(BACKENDS["native"].missing("cpu") is not None, reason="the native engine was not built")
def test_a_process_stays_within_its_limit(tmp_path):
    """The peak of a run with many tiles, alpha included, above that of a small one."""
    checkpoints.save(model_of(NetworkConfig("edsr", 2, 64, 2, adaptive=True, depth_tile=4)), tmp_path / "m.safetensors")
    limit = 150 * MIB
    command = [sys.executable, "-c", MEMORY_RUN, str(tmp_path / "m.safetensors"), str(limit)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    peak, tiles = (int(value) for value in run.stdout.split())
    assert tiles > 1
    assert peak <= limit


def test_shared_memory_is_granted_up_to_its_limit():
    memory, inside, most, lock = SharedMemory(10), [], [], threading.Lock()

    def work(wanted):
        with memory.lease(wanted):
            with lock:
                inside.append(wanted)
                most.append(sum(inside))
            threading.Event().wait(0.002)
            with lock:
                inside.remove(wanted)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [3, 4, 5, 6, 2, 1, 7, 10] * 5))
    assert max(most) <= 10
    assert memory.used == 0


def test_a_run_that_wants_more_than_the_limit_runs_alone():
    memory, order = SharedMemory(10), []
    started, finish = threading.Event(), threading.Event()

    def large():
        with memory.lease(50):
            order.append("large")
            started.set()
            finish.wait(10)

    def small():
        with memory.lease(1):
            order.append("small")

    threads = [threading.Thread(target=large), threading.Thread(target=small)]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    threads[1].join(0.05)
    assert order == ["large"]
    finish.set()
    for thread in threads:
        thread.join(10)
    assert order == ["large", "small"]


def wait_until(is_true):
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_runs_get_memory_in_the_order_in_which_they_asked():
    """Otherwise small ones would pass a large one for as long as they come."""
    memory, order = SharedMemory(4), []

    def work(wanted):
        with memory.lease(wanted):
            order.append(wanted)

    threads = [threading.Thread(target=work, args=(wanted,)) for wanted in (3, 2, 1)]
    with memory.lease(2):
        for count, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda count=count: len(memory._waiting) == count)
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [3, 2, 1] or order == [3, 1, 2]  # the last two fit together
    assert memory.used == 0


def exit_status(child):
    """Of a child process, which has a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_can_run_whatever_threads_did_at_the_fork():
    """It has none of them, so nobody gives back their memory or releases their locks."""
    upscaler = Upscaler(model_of(CONFIGS["adaedsr-tiles"]), Execution(memory=12 * MIB))
    shared, engine = upscaler.with_threads(2), upscaler.engine
    prepared = shared.prepare(photo(30, 30), score=False)
    owners = (upscaler, shared, prepared._color, *([engine._memory] if engine.backend == "native" else []))
    locked, forked = threading.Event(), threading.Event()

    def others():
        with ExitStack() as stack:
            stack.enter_context(upscaler.memory.lease(12 * MIB))
            for owner in owners:
                stack.enter_context(owner._lock)
            locked.set()
            forked.wait(70)

    thread = threading.Thread(target=others)
    thread.start()
    assert locked.wait(10)
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            prepared.run(prepared.plan(depth=1.0))
            for each in (upscaler, shared):
                each.full_precision()
                each(photo(20, 20))
            ended = 0
        finally:
            os._exit(ended)
    status = exit_status(child)
    forked.set()
    thread.join(10)
    assert status == 0
    assert upscaler.memory.used == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_keeps_the_memory_of_the_thread_that_forked():
    memory = SharedMemory(10)
    with memory.lease(8):
        child = os.fork()
        used = memory.used
    if child == 0:
        ended = 1
        try:
            ended = 0 if (used, memory.used) == (8, 0) else 1
        finally:
            os._exit(ended)
    assert exit_status(child) == 0


def test_memory_is_given_back_after_an_error():
    memory = SharedMemory(10)
    with pytest.raises(RuntimeError), memory.lease(10):
        raise RuntimeError
    with memory.lease(10):
        assert memory.used == 10


def test_a_thread_does_not_wait_for_itself():
    memory = SharedMemory(10)
    with memory.lease(8), memory.lease(8):
        assert memory.used == 16
    assert memory.used == 0


def test_a_plan_during_a_run_of_the_same_thread_ends():
    upscaler = Upscaler(model_of(CONFIGS["adaedsr-tiles"]), Execution(memory=12 * MIB))
    first, second = (upscaler.prepare(photo(60, 60), score=False) for _ in range(2))
    plans = []
    first.run(first.plan(), progress=lambda share: plans.append(second.plan(depth=1.0)))
    assert plans


class Shelf:
    """A keeper that notes that it dropped what it had."""

    def __init__(self):
        self.is_full = True

    def drop(self):
        self.is_full = False


def test_what_is_kept_makes_room_for_runs_oldest_first():
    memory, shelves = SharedMemory(10), [Shelf() for _ in range(4)]
    for shelf in shelves[:3]:
        memory.keep(shelf, 3)
    with memory.lease(3):
        assert [shelf.is_full for shelf in shelves[:3]] == [False, True, True]
    with memory.lease(10, shelves[1]):
        assert shelves[1].is_full  # its own bytes are part of the lease
        assert not shelves[2].is_full
    assert memory.kept == 3
    memory.keep(shelves[3], 9)
    assert [shelf.is_full for shelf in shelves] == [False, False, False, True]
    del shelves[3], shelf
    assert memory.kept == 0


def test_prepared_images_beyond_the_limit_give_up_features_and_still_run():
    upscaler = Upscaler(model_of(CONFIGS["adaedsr-tiles"]), Execution(memory=12 * MIB))
    image = photo(100, 100)
    prepared = [upscaler.prepare(image) for _ in range(40)]
    assert upscaler.memory.kept <= 12 * MIB
    assert upscaler.memory.kept < 40 * 4 * upscaler.engine.network.channels * 100 * 100
    results = [each.run(each.plan(depth=1.0)).image for each in (prepared[0], prepared[-1])]
    np.testing.assert_array_equal(*results)


def test_threads_of_one_upscaler_share_its_limit():
    """No two of their runs are inside the engine at once, where the limit holds one."""
    model = model_of(CONFIGS["adaedsr-tiles"])
    image = photo(60, 60)
    wanted = Upscaler(model).prepare(image).plan().bytes
    upscaler = Upscaler(model, Execution(memory=int(1.5 * wanted)))
    inside, most, lock, body = [], [], threading.Lock(), upscaler.engine.body

    def counted(*arguments):
        with lock:
            inside.append(1)
            most.append(len(inside))
        threading.Event().wait(0.01)
        try:
            return body(*arguments)
        finally:
            with lock:
                inside.pop()

    upscaler.engine.body = counted
    alone = upscaler(image).image
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: upscaler(image, depth=4.0), range(6)):
            np.testing.assert_array_equal(result.image, alone)
    assert max(most) == 1
    most.clear()
    upscaler.memory.limit = 2**60
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upscaler(image), range(6)))
    assert max(most) > 1


def test_head_and_adapter_wait_for_memory_too():
    upscaler, prepared = Upscaler(model_of(CONFIGS["adaedsr-tiles"]), Execution(memory=10 * MIB)), []
    thread = threading.Thread(target=lambda: prepared.append(upscaler.prepare(photo(20, 20))))
    with upscaler.memory.lease(10 * MIB):
        thread.start()
        thread.join(0.2)
        assert not prepared
    thread.join(10)
    assert prepared


def test_runs_share_a_limit_that_nobody_asked_for() -> None:
    """Each run plans with its default; together they stay within the largest of these."""
    assert Upscaler(model_of(CONFIGS["adaedsr"])).memory.limit == DEFAULT_LIMIT
    assert Upscaler(model_of(CONFIGS["adaedsr"]), Execution(memory=2**28)).memory.limit == 2**28
