"""What this machine offers: threads, the processor's name, and a cache folder."""

import math
import os
import platform
from functools import cache
from pathlib import Path, PurePosixPath

from adadsr.errors import InputError

THREAD_VARIABLES = ("ADADSR_THREADS", "OMP_NUM_THREADS")
"""Environment variables that set the number of threads; the first one with a value wins."""
ISA_VARIABLE = "ADADSR_ISA"
"""Environment variable that asks for the native engine on one of its instruction sets."""
CACHE_VARIABLE = "ADADSR_CACHE_DIR"
"""Environment variable that names the cache folder."""
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def default_threads() -> int:
    """Number of threads set by an environment variable, otherwise the processors this process may use; at least 1.

    That is the size of its affinity mask, or less if a control group limits processor time. Raises InputError if
    ADADSR_THREADS is not a positive whole number.
    """
    for variable in THREAD_VARIABLES:
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return int(text)
        if text and variable == THREAD_VARIABLES[0]:
            raise InputError(f"{variable}={text} must be a number of threads, at least 1")
    return max(1, math.ceil(min(_processors(), _quota())))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float:
    """Processors granted by this process's control groups and all that contain them; infinity if there is no limit."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUP / "cpu" if controllers else _CGROUP  # the first version of control groups, or the second
        group = PurePosixPath(own).relative_to("/")
        quotas += [_quota_of(root / each) for each in (group, *group.parents)]
    return min(quotas)


def _quota_of(group: Path) -> float:
    """Processors that a control group grants; infinity if it states no limit."""
    try:
        if (group / "cpu.max").exists():
            quota, period = map(int, (group / "cpu.max").read_text().split())  # `max` is no limit
        else:
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


@cache
def processor_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return names[0] if names else platform.processor() or platform.machine()


def cache_folder() -> Path:
    """Cache folder: ADADSR_CACHE_DIR, otherwise `adadsr` below XDG_CACHE_HOME or ~/.cache.

    It may not exist yet. Raises RuntimeError if there is no home folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "adadsr"
