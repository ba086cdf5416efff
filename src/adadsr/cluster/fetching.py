"""The inputs of a unit, fetched ahead of the network, and its outputs, committed one by one."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, overload

from adadsr import batch
from adadsr.batch import Job, Measured, Options
from adadsr.cluster.sources import split
from adadsr.errors import AdaDSRError, ImageFileError, StorageError
from adadsr.storage import Place, is_url, open_place
from adadsr.upscaler import Size

AHEAD = 2
"""Inputs that are fetched while another one is worked on."""


class Files:
    """The files of one job: see `batch.Store`.

    Attributes:
        address: Of the input.
        name: Of the output, below the destination.
        etag, input_bytes: Of the input, as far as they are known.
        least_gain: See `Job`.
        output_bytes, output_sha256: Of the output, once it is there.
    """

    def __init__(
        self, place: Place, address: str, name: str, etag: str, size: int, least_gain: float | None = None
    ) -> None:
        self._place, self.address, self.name, self.etag, self.input_bytes = place, address, name, etag, size
        self.least_gain = least_gain
        self.output_bytes: int | None = None
        self.output_sha256: str | None = None
        self._content: bytes | None = None
        self._refusal: str | None = None

    @property
    def shown(self) -> str:
        """The input as paths and messages of `batch` name it."""
        return str(Path(self.address))

    def fetch(self, source: Place | None) -> None:
        """Fetch the input, if it is not a file of this machine. source: where its bucket is."""
        if source is None:
            return
        try:
            content = source.read(split(self.address)[1], self.input_bytes)
            if content is None:
                raise StorageError(f"{self.address}: no such object; it was removed, or the list is wrong")
        except AdaDSRError as error:
            self._refusal = str(error)
            return
        self._content, self.input_bytes = content, len(content)
        self.etag = self.etag or f"sha256:{hashlib.sha256(content).hexdigest()}"

    def refuse(self, reason: str) -> None:
        """Make every use of the input fail."""
        self._refusal = reason

    def open(self) -> Path | BinaryIO:
        if self._refusal is not None:
            raise ImageFileError(self._refusal)
        return Path(self.address) if self._content is None else _Named(self._content, self.shown)

    def put(self, content: bytes) -> None:
        """Commit the output. What exists under its name is left from a unit that was cut short."""
        if not self._place.create(self.name, content) and self._place.read(self.name) != content:
            self._place.replace(self.name, content)
        self.output_bytes, self.output_sha256 = len(content), hashlib.sha256(content).hexdigest()
        self.close()

    def close(self) -> None:
        """Forget the input."""
        self._content = None


class _Named(io.BytesIO):
    """Bytes with a name for messages."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class Fetched(Sequence[Measured]):
    """The jobs of a unit as `batch.run` takes them. An input is fetched shortly before it is asked for.

    What cannot be measured has no pixels, and fails with its reason when it is read.
    """

    def __init__(
        self, place: Place, unit: dict[str, Any], size: Size, options: Options, least_gain: float | None = None
    ) -> None:
        """least_gain: of all; that of an input is divided by its factor. None where the target of the run counts."""
        self._size, self._options = size, options
        gains = [None if least_gain is None else least_gain / factor for factor in unit["factors"]]
        rows = zip(unit["sources"], unit["names"], unit["tags"], unit["sizes"], gains, strict=True)
        self.files = [Files(place, *row) for row in rows]
        self._jobs = [
            Job(Path(each.address), Path(place.join(each.name)), store=each, least_gain=each.least_gain)
            for each in self.files
        ]
        self._measured: dict[int, Measured] = {}
        self._sources: dict[str, Place] = {}
        self._fetching: dict[int, Future[None]] = {}
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="adadsr-fetch")

    def __enter__(self) -> "Fetched":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, index: int) -> Measured: ...

    @overload
    def __getitem__(self, index: slice) -> list[Measured]: ...

    def __getitem__(self, index: int | slice) -> Measured | list[Measured]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index not in self._measured:
            self._measured[index] = self._measure(index)
        return self._measured[index]

    def __iter__(self) -> Iterator[Measured]:
        return (self[index] for index in range(len(self)))

    def _measure(self, index: int) -> Measured:
        for ahead in range(index, min(index + 1 + AHEAD, len(self))):
            if ahead not in self._fetching:
                files = self.files[ahead]
                self._fetching[ahead] = self._pool.submit(files.fetch, self._source(files.address))
        self._fetching[index].result()
        measured, failed = batch.measure([self._jobs[index]], self._size, self._options)
        if failed:
            self.files[index].refuse(failed[0].reason or "")
            return Measured(self._jobs[index], 0)
        return measured[0]

    def _source(self, address: str) -> Place | None:
        """Where an input's bucket is; None for a file of this machine."""
        if not is_url(address):
            return None
        bucket = split(address)[0]
        return self._sources.setdefault(bucket, open_place(bucket))
