"""Ray: one that is started on this machine for a run, or a cluster's."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import NamedTuple

from adadsr.cluster.order import PROCESS_BYTES, WORKER_MEMORY, Resources
from adadsr.errors import InputError, StorageError
from adadsr.machine import default_threads
from adadsr.upscaler import Execution

STORE_BYTES = 128 * 2**20
"""Ray's object store on this machine. Only names and rows pass through it."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Environment of Ray: no reports to its makers, CUDA devices as they are, and no notices on the terminal."""


class Pool(NamedTuple):
    """Actors of a run, and what each needs. execution: how their networks run.

    first: that fit now; 0 if a cluster must add a node. most: that may run.
    """

    first: int
    most: int
    cpus: int
    gpus: int
    memory: int
    execution: Execution

    @property
    def needs(self) -> str:
        """What an actor needs of a node, for messages."""
        cores = f"{self.cpus} core{'' if self.cpus == 1 else 's'}"
        return f"{cores} and {self.memory / 2**30:.1f} GiB" + (" and a GPU" if self.gpus else "")


@contextlib.contextmanager
def connected(resources: Resources) -> Iterator[None]:
    """Ray while the block runs, unless it is there already. Raises StorageError if the address has no cluster."""
    os.environ.update({name: value for name, value in _SETTINGS.items() if name not in os.environ})
    import ray
    import ray.data  # sets up its log

    if ray.is_initialized():
        with _quiet():
            yield
        return
    with _quiet():
        try:
            with _stderr_closed():
                _start(resources.address)
        except Exception as error:  # a plain Exception where Ray's processes do not come up in time
            ray.shutdown()
            raise StorageError(_refusal(resources.address, error)) from error
        try:
            yield
        finally:
            ray.shutdown()


def _refusal(address: str | None, error: Exception) -> str:
    cause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if address is None:
        return f"Ray did not start on this machine ({cause}); it may be overloaded, try again"
    return (
        f"no Ray cluster at {address} ({cause}); start one with ray start --head, set RAY_AUTH_MODE=token if it asks "
        "for a token, or leave out --address"
    )


def _start(address: str | None) -> None:
    import ray

    if address is not None:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        return
    ray.init(
        "local",
        num_cpus=default_threads(),
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Keep Ray's libraries from announcing their settings; failures come as exceptions."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def pool_of(resources: Resources, execution: Execution) -> Pool:
    """As many actors as fit now, or as are asked for.

    execution: its device may be `auto`. Raises InputError if not even one fits, unless a cluster is asked for a number
    of them: its autoscaler may start from nothing.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(node.get("GPU", 0) for node in nodes)
    device = execution.device
    if device == "auto":
        device = "cuda" if gpus >= 1 else "cpu"
    each = 0 if device == "cpu" else 1
    limit = execution.memory or (WORKER_MEMORY if device == "cpu" else 4 * WORKER_MEMORY)
    memory = limit + PROCESS_BYTES

    def fits(node: dict[str, float]) -> int:
        wanted = {"CPU": resources.cores, "memory": memory, "GPU": each}
        return int(min(node.get(name, 0) // amount for name, amount in wanted.items() if amount))

    now = sum(fits(node) for node in nodes)
    most = resources.workers or now
    threads = execution.threads or resources.cores
    run = Execution(
        device, execution.backend, execution.tile, limit if device == "cpu" else execution.memory,
        execution.precision, threads, execution.border,
    )  # fmt: skip
    pool = Pool(min(now, most), most, resources.cores, each, memory, run)
    if not now and (resources.address is None or resources.workers is None):
        grow = "" if resources.address is None else ", or pass --workers if the cluster adds nodes by itself"
        raise InputError(f"no node of the cluster has {pool.needs} for one actor; lower --cores or --memory{grow}")
    return pool


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data's notices go to its log files only."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
