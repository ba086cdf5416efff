"""The queue: order, bytes, cores, and budgets that fall together before anything is refused."""

import asyncio
import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="needs the extra `serve`; .ci/run installs it")

from adadsr.errors import InputError
from adadsr.serving import Settings, read_keys
from adadsr.serving.asked import AskedResult
from adadsr.serving.demand import LEAST_GAINS, Demand
from adadsr.serving.pace import FIRST_RATE, Pace
from adadsr.serving.problems import Problem
from adadsr.serving.queue import Queue, Ticket

GIB = 2**30


def ticket(seconds: float = 1.0, bytes: int = 0, threads: int = 1, budget: float = 1.0, floor: float = 0.5) -> Ticket:
    """A request that takes core-seconds in proportion to its budget."""
    return Ticket(bytes, threads, lambda share: seconds * share, budget, floor, wanted)


def wanted(least_gain: float) -> float:
    """Budget that a picture wants: all at a gain of 1e-10, nothing at 1e3, evenly on a scale of logarithms."""
    if least_gain in (0, math.inf):
        return 1.0 if least_gain == 0 else 0.0
    return min(1.0, max(0.0, (3 - math.log10(least_gain)) / 13))


async def entered(queue: Queue, each: Ticket, order: list[Ticket], end: asyncio.Event) -> None:
    async with queue.turn(each):
        order.append(each)
        await end.wait()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def in_queue(tickets: list[Ticket], **options: float) -> tuple[Queue, list[Ticket], list[str]]:
    """Tickets that came one after the other while nothing ended; those that began, and who was refused."""

    async def run() -> tuple[Queue, list[Ticket], list[str]]:
        queue = Queue(**{"cores": 2, "memory": GIB, "target_wait": 1e9, **options})
        order, end, refused = [], asyncio.Event(), []
        tasks = []
        for each in tickets:
            tasks.append(asyncio.ensure_future(entered(queue, each, order, end)))
            await settle()
        began = list(order)
        refused = [task.exception().kind.name for task in tasks if task.done()]
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.running, list(queue.waiting)) == ([], [])
        return queue, began, refused

    return asyncio.run(run())


def test_small_ones_run_beside_each_other_and_large_ones_alone():
    small, other, large, last = ticket(), ticket(), ticket(threads=2), ticket()
    assert in_queue([small, other, large])[1] == [small, other]
    assert in_queue([large, small])[1] == [large]
    assert in_queue([small, large, last])[1] == [small]  # nobody overtakes a large one forever


def test_memory_is_shared_by_bytes():
    half, other, little = ticket(bytes=GIB // 2), ticket(bytes=GIB // 2 + 1), ticket(bytes=1)
    assert in_queue([half, other])[1] == [half]
    assert in_queue([half, little])[1] == [half, little]


def test_one_that_leaves_makes_room():
    async def run() -> None:
        queue, order, end = Queue(1, GIB, 1e9), [], asyncio.Event()
        tasks = [asyncio.ensure_future(entered(queue, ticket(), order, end)) for _ in range(3)]
        await settle()
        for task in tasks[:2]:  # the first runs, the second waits
            task.cancel()
        await settle()
        assert order[1:] == queue.running
        assert len(order) == 2
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30), st.floats(0.5, 20))
def test_budgets_fall_only_as_far_as_the_target_asks(seconds: list[float], target: float):
    _, began, refused = in_queue([ticket(each, budget=0.8, floor=0.4) for each in seconds], cores=1, target_wait=target)
    assert began  # the first never waits
    assert set(refused) <= {"overloaded"}
    assert began[0].least_gain == 0


def served_of(requests: int) -> list[float]:
    """Budgets of requests of a second each that come at once, target 2 s, those that were not refused."""

    async def run() -> list[float]:
        queue, served = Queue(1, GIB, 2.0), []

        async def one() -> None:
            each = ticket(1.0, budget=1.0, floor=0.2)
            with contextlib.suppress(Problem):
                async with queue.turn(each):
                    served.append(each.served(each.least_gain))
                    await settle()

        await asyncio.gather(*(one() for _ in range(requests)))
        return served

    return asyncio.run(run())


def test_all_that_wait_are_served_by_one_least_gain():
    served = served_of(6)
    assert len(served) == 6
    assert served[0] == 1  # came first, to an idle service
    assert min(served) >= 0.2
    assert served[1] <= 0.5
    assert served[-1] == 1  # nobody waits behind the last
    assert served[1:] == sorted(served[1:])


def test_nobody_is_refused_while_others_get_more_than_their_floors():
    served = served_of(9)
    assert len(served) < 9
    assert served[1:] == [0.2] * (len(served) - 1)


def test_a_picture_that_gains_less_falls_further():
    flat = Ticket(0, 1, lambda share: share, 1.0, 0.1, lambda least_gain: 0.5 * wanted(least_gain))
    busy, modest = ticket(floor=0.1), ticket(budget=0.3, floor=0.1)
    for gain in (1e-9, 1e-5, 1.0):
        assert flat.served(gain) <= busy.served(gain)
        assert modest.served(gain) == min(0.3, busy.served(gain))  # a small budget falls only when others reach it
    assert [each.served(math.inf) for each in (flat, busy, modest)] == [0.1] * 3


@given(st.lists(st.lists(st.floats(0, 1), min_size=14, max_size=14), max_size=60), st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_demand_falls_as_the_least_gain_grows(seen: list[list[float]], one: float, other: float):
    demand = Demand()
    for shares in seen:
        demand.learn(np.sort(shares)[::-1])
    low, high = sorted((one, other))
    assert 0 <= demand.share(high) <= demand.share(low) <= 1
    assert (demand.share(0), demand.share(math.inf)) == (1, 0)


def test_the_demand_comes_to_what_it_sees():
    demand, shares = Demand(), np.linspace(0.9, 0, 14)
    for _ in range(100):
        demand.learn(shares)
    assert [demand.share(gain) for gain in LEAST_GAINS[1:]] == pytest.approx(shares[1:], abs=1e-3)


def test_a_wait_over_the_target_even_at_the_floors_is_refused_with_a_time():
    async def run() -> Problem:
        queue, order, end = Queue(1, GIB, 3.0), [], asyncio.Event()
        tasks = [asyncio.ensure_future(entered(queue, ticket(2.0, floor=1.0), order, end)) for _ in range(4)]
        await settle()
        refused = [task.exception() for task in tasks if task.done()]
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(refused) == 2
        return refused[0]

    problem = asyncio.run(run())
    assert problem.kind.status == 503
    assert int(problem.headers()["Retry-After"]) >= 1
    assert "even at the smallest budgets" in problem.detail


def test_one_that_is_cancelled_counts_for_nothing_though_its_step_still_runs():
    left = replace(ticket(100), is_cancelled=lambda: True)
    assert in_queue([left, ticket(), ticket()], target_wait=10.0)[2] == []
    assert in_queue([ticket(100), ticket()], target_wait=10.0)[2] == ["overloaded"]


def test_a_floor_of_its_own_refuses_rather_than_serves_less():
    busy, proud = ticket(4.0, floor=1.0), ticket(4.0, budget=1.0, floor=1.0)
    modest = ticket(4.0, budget=1.0, floor=0.1)
    assert in_queue([busy, modest, proud], cores=1, target_wait=4.5)[2] == []
    assert in_queue([busy, proud, modest], cores=1, target_wait=4.5)[2] == ["overloaded"]


def test_a_closed_queue_refuses_what_waits_and_what_comes():
    async def run() -> None:
        queue, order, end = Queue(1, GIB, 1e9), [], asyncio.Event()
        tasks = [asyncio.ensure_future(entered(queue, ticket(), order, end)) for _ in range(3)]
        await settle()
        queue.close()
        await settle()
        assert [task.done() for task in tasks] == [False, True, True]
        end.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(each, "kind", None) and each.kind.name for each in results] == [None, *2 * ["shutting-down"]]
        with pytest.raises(Problem):
            await entered(queue, ticket(), order, end)

    asyncio.run(run())


@given(st.floats(1e6, 1e14), st.lists(st.floats(1e6, 1e13), min_size=1, max_size=20))
def test_the_pace_lies_between_what_was_assumed_and_what_it_sees(rate: float, runs: list[float]):
    pace = Pace()
    for macs in runs:
        pace.learn(macs, pace.core_seconds(0) + macs / rate)
    low, high = sorted([1 / FIRST_RATE, 1 / rate])
    assert low * (1 - 1e-9) <= pace.seconds_per_mac <= high * (1 + 1e-9)


@given(st.floats(1e6, 1e14))
def test_the_pace_comes_to_that_of_photos(rate: float):
    pace = Pace()
    for _ in range(10):
        pace.learn(1e14, pace.core_seconds(0) + 1e14 / rate)
    assert abs(pace.seconds_per_mac - 1 / rate) <= 1e-3 * max(1 / rate, 1 / FIRST_RATE)


def test_a_run_without_work_says_nothing_of_the_pace():
    pace = Pace()
    pace.learn(0, 10.0)
    assert pace.seconds_per_mac == 1 / FIRST_RATE


def test_a_pause_during_a_tiny_run_does_not_make_the_next_look_slow():
    pace = Pace()
    pace.learn(1e9, 10.0)
    assert pace.core_seconds(4e9) < 2


@given(st.floats(0.01, 1), st.none() | st.floats(0.01, 1))
def test_a_request_may_raise_the_floor_of_the_service_but_not_lower_it(least: float, own: float | None):
    assert AskedResult(least_budget=own).floor(least) == max(least, own or least)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"memory": 1},
        {"least_budget": 0},
        {"target_wait": 0},
        {"time_limit": math.inf},
        {"kept_for": math.nan},
        {"keys": ("short",)},
        {"origins": ("photos.example",)},
    ],
)
def test_settings_are_checked(wrong: dict[str, object]):
    with pytest.raises(InputError):
        Settings(**wrong)


def test_keys_come_from_a_file_and_from_the_environment(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADADSR_API_KEYS", "one-of-the-environment,")
    (tmp_path / "keys").write_text("# ours\nfirst-key-of-the-file  # Ann\n\nsecond-key-of-the-file\n")
    keys = ("one-of-the-environment", "first-key-of-the-file", "second-key-of-the-file")
    assert read_keys(tmp_path / "keys") == keys
    (tmp_path / "none").write_text("# nothing\n")
    monkeypatch.delenv("ADADSR_API_KEYS")
    for path in ("none", "missing"):
        with pytest.raises(InputError, match="API key"):
            read_keys(tmp_path / path)
