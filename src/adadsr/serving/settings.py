"""What `adadsr serve` can be told, in one object."""

import ipaddress
import math
import os
from dataclasses import dataclass
from pathlib import Path

from adadsr.errors import InputError
from adadsr.images import DEFAULT_MAX_PIXELS
from adadsr.upscaler import Execution

KEYS_VARIABLE = "ADADSR_API_KEYS"
"""Environment variable with API keys, separated by commas."""
DEFAULT_MEMORY = 4 * 2**30
LEAST_MEMORY = 8 * 2**20
"""Enough for a thumbnail of 64x64 pixels."""
PREPARED_SHARE = 0.25
"""Share of the memory for pictures that wait, prepared, for their next plan."""
SHORTEST_KEY = 16


@dataclass(frozen=True)
class Settings:
    """How the service runs.

    Attributes:
        host, port: Where it listens; port 0 takes a free one.
        models: Checkpoint files to offer beside the bundled models.
        device, backend, threads: As for `Execution`.
        memory: Of all requests and prepared pictures together, in bytes.
        max_pixels: Limit on the pixels of an input.
        max_upload: Limit on the bytes of a request.
        time_limit: Of one request, in seconds: waiting and running.
        upload_limit: Of receiving a request, and of a client's reading a piece of an answer, in seconds.
        target_wait: Wait in seconds above which budgets fall.
        least_budget: Lowest budget that a busy service may use, in (0, 1].
        kept_for: How long a prepared picture is kept after its last use, in seconds.
        keys: API keys, one of which a request must name; none for no keys.
        origins: Of other sites whose pages may call, such as `https://photos.example`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    models: tuple[str, ...] = ()
    device: str = "cpu"
    backend: str | None = None
    threads: int | None = None
    memory: int = DEFAULT_MEMORY
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_upload: int = 64 * 2**20
    time_limit: float = 120.0
    upload_limit: float = 30.0
    target_wait: float = 10.0
    least_budget: float = 0.5
    kept_for: float = 900.0
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_upload", "time_limit", "upload_limit", "target_wait", "kept_for"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}={getattr(self, name)} must be above 0 and finite")
        if self.memory < LEAST_MEMORY:
            raise InputError(f"memory={self.memory} is too little to serve; pass at least {LEAST_MEMORY >> 20}M")
        if not 0 < self.least_budget <= 1:
            raise InputError(f"least_budget={self.least_budget:g} is outside (0, 1]; 1 never lowers a budget")
        if not 0 <= self.port < 2**16:
            raise InputError(f"port={self.port} is outside 0..65535; 0 takes a free one")
        for key in self.keys:
            if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
                raise InputError(f"an API key must have at least {SHORTEST_KEY} printable ASCII characters, no spaces")
        for origin in self.origins:
            if origin.count("/") != 2 or not origin.startswith(("http://", "https://")):
                raise InputError(f"origin={origin!r} is not like https://photos.example, without a path")

    @property
    def execution(self) -> Execution:
        """How networks run; one may take the memory that is not for prepared pictures."""
        return Execution(self.device, self.backend, memory=self.working_memory, threads=self.threads)

    @property
    def working_memory(self) -> int:
        """Bytes of all requests that run."""
        return self.memory - self.prepared_memory

    @property
    def prepared_memory(self) -> int:
        """Bytes of prepared pictures, apart from what they may keep in working memory that is free."""
        return int(self.memory * PREPARED_SHARE)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def read_keys(path: Path | None) -> tuple[str, ...]:
    """API keys of a file, one a line, `#` begins a comment, and of ADADSR_API_KEYS. Raises InputError."""
    lines = os.environ.get(KEYS_VARIABLE, "").split(",")
    if path is not None:
        try:
            lines += path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot read API keys ({error}); pass a text file with one key a line") from error
    keys = tuple(key for line in lines if (key := line.partition("#")[0].strip()))
    if path is not None and not keys:
        raise InputError(f"{path}: contains no API key; write one a line")
    return keys
