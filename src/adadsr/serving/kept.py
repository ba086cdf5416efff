"""Pictures that a page uploaded: prepared once, planned often."""

import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

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


class Result:
    """A result's file, on disk if it is large. Threads may share it.

    Attributes:
        bytes: Of the file.
        pixels, decoded_bytes: Of the picture in it.
    """

    def __init__(self, encoded: Encoded) -> None:
        """Raises OSError if the disk is full."""
        picture = encoded.upscaled.picture
        assert picture is not None
        self.bytes, self.pixels = len(encoded.content), picture.height * picture.width
        self.decoded_bytes = picture.pixels.nbytes
        self._lock, self._file = threading.Lock(), tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        self._is_closed = False
        try:
            self._file.write(encoded.content)
        except OSError:
            self.close()
            raise

    def content(self) -> bytes:
        """The file. Raises Problem if a newer result has taken its place."""
        try:
            with self._lock:
                if self._is_closed:
                    raise Problem(UNKNOWN_IMAGE, "the result was forgotten; post to /v1/upscale again")
                self._file.seek(0)
                return self._file.read()
        finally:
            if self._is_closed:
                self.close()

    def close(self) -> None:
        """Forget it. Does not wait: if a thread reads the file, that thread closes it afterwards."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._lock.release()


@dataclass(eq=False)
class Kept:
    """A picture. prepared: by model and size. state, progress, result: of the latest run."""

    name: str
    given: InputFormat
    picture: Picture
    id: str = field(default_factory=lambda: secrets.token_urlsafe(ID_BYTES))
    prepared: dict[object, PreparedChain] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    state: str = "idle"
    progress: float = 0.0
    result: Result | None = None

    @property
    def bytes(self) -> int:
        """Memory, without features, which are kept only as long as no run needs their room."""
        pixels = self.picture.height * self.picture.width
        return self.picture.pixels.nbytes + FLOATS * pixels * max(1, len(self.prepared))

    def keep(self, key: object, prepared: PreparedChain) -> None:
        """Keep what was prepared, in place of what was prepared for another model or size."""
        self.prepared = {key: prepared}

    def forget_result(self) -> None:
        """Drop the result."""
        if self.result is not None:
            self.result.close()
            self.result = None


class Store:
    """Kept pictures, the latest used last. The oldest make room for new ones. Used from the event loop only."""

    def __init__(self, limit: int, seconds: float) -> None:
        """limit: in bytes, for pictures, and as many for results. seconds: without use until a picture is forgotten."""
        self.limit, self.seconds = limit, seconds
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Memory of all."""
        return sum(kept.bytes for kept in self._kept.values())

    @property
    def result_bytes(self) -> int:
        """Of the files of all results."""
        return sum(kept.result.bytes for kept in self._kept.values() if kept.result is not None)

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

    def keep_result(self, kept: Kept, result: Result) -> None:
        """Keep a result in place of the picture's last one. The oldest of others make room for it."""
        kept.forget_result()
        if kept.id not in self._kept:
            result.close()
            return
        kept.result = result
        for other in self._kept.values():
            if self.result_bytes > self.limit and other is not kept:
                other.forget_result()

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
