"""Pictures that a page uploaded: prepared once, planned often."""

import secrets
import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import IO

from adadsr.errors import InputError
from adadsr.formats import InputFormat
from adadsr.images import Picture
from adadsr.serving.problems import NO_MEMORY, UNKNOWN_IMAGE, Problem
from adadsr.serving.uploads import SPOOL_BYTES
from adadsr.serving.work import Encoded
from adadsr.upscaler import PreparedChain

ID_BYTES = 24
MOST = 256
FLOATS = 2 * 3 * 4 + 9
"""Bytes of a pixel in the arrays that a prepared picture holds besides its pixels and features: colour and transparency
as floats, and what the adapter predicts."""


@dataclass(eq=False)
class Kept:
    """A picture. prepared: by model and size. state, progress: of the latest run. result: its file."""

    name: str
    given: InputFormat
    picture: Picture
    id: str = field(default_factory=lambda: secrets.token_urlsafe(ID_BYTES))
    prepared: dict[object, PreparedChain] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    state: str = "idle"
    progress: float = 0.0
    result: IO[bytes] | None = None

    @property
    def bytes(self) -> int:
        """Memory, without features, which are kept only as long as no run needs their room."""
        pixels = self.picture.height * self.picture.width
        return self.picture.pixels.nbytes + FLOATS * pixels * max(1, len(self.prepared))

    def keep(self, key: object, prepared: PreparedChain) -> None:
        """Keep what was prepared, in place of what was prepared for another model or size."""
        self.prepared = {key: prepared}

    def keep_result(self, encoded: Encoded) -> None:
        """Keep a result on disk, in place of the last."""
        self.forget_result()
        file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        try:
            file.write(encoded.content)
        except OSError:
            file.close()
            raise
        self.result = file

    def forget_result(self) -> None:
        """Drop the result."""
        if self.result is not None:
            self.result.close()
            self.result = None


class Store:
    """Kept pictures, the latest used last. The oldest make room for new ones. Used from the event loop only."""

    def __init__(self, limit: int, seconds: float) -> None:
        """limit: in bytes. seconds: without use, after which a picture is forgotten."""
        self.limit, self.seconds = limit, seconds
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Memory of all."""
        return sum(kept.bytes for kept in self._kept.values())

    def check(self, height: int, width: int) -> None:
        """Raise InputError if a picture of this size can never be kept."""
        least = height * width * (3 + FLOATS)
        if least > self.limit:
            raise InputError(
                f"{width}x{height} needs {-(-least // 2**20)} MiB to stay prepared, and the service keeps "
                f"{self.limit // 2**20} MiB; send it to /v1/upscale, or pass more --memory"
            )

    def add(self, kept: Kept) -> None:
        """Keep one more. Raises Problem if it does not fit beside pictures that run."""
        self.forget_old()
        while self._kept and (self.bytes + kept.bytes > self.limit or len(self) >= MOST):
            idle = next((each for each in self._kept.values() if each.state == "idle"), None)
            if idle is None:
                raise Problem(NO_MEMORY, "too many pictures are kept; try again later", retry_after=10.0)
            self.remove(idle.id)
        self._kept[kept.id] = kept

    def get(self, name: str) -> Kept:
        """A picture by its id. Raises Problem."""
        self.forget_old()
        kept = self._kept.get(name)
        if kept is None:
            raise Problem(UNKNOWN_IMAGE, f"image={name}: unknown or forgotten; upload it again")
        kept.used = time.monotonic()
        self._kept.move_to_end(name)
        return kept

    def find(self, name: str) -> Kept | None:
        """The same without counting as a use; None if it is unknown."""
        return self._kept.get(name)

    def remove(self, name: str) -> None:
        """Forget a picture, if it is there."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            kept.forget_result()

    def forget_old(self) -> None:
        """Forget what was not used for long."""
        now = time.monotonic()
        for kept in list(self._kept.values()):
            if kept.state == "idle" and now - kept.used > self.seconds:
                self.remove(kept.id)
