"""The log of finished images, one JSON line each: what an interrupted run goes on from."""

import json
from dataclasses import asdict
from pathlib import Path

from adadsr.errors import InputError
from adadsr.evaluation.records import ImageRecord


class ImageLog:
    """`images.jsonl`: records by key, in memory and on disk. Lines of other options stay and are not looked at."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        """fresh: start over. Raises InputError where the file holds something else than records, OSError where it
        cannot be read or written.
        """
        self._path = path
        self._records: dict[str, ImageRecord] = {}
        if fresh:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._read()
        path.open("a").close()  # what cannot be written is said before the first image is measured

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # a line that was cut off when the run was interrupted
            self._path.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = ImageRecord(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{self._path}, line {number}: is not a record of this version ({error}); "
                    "pass --fresh to start over, or choose another --out"
                ) from error
            self._records[record.key] = record

    def get(self, key: str) -> ImageRecord | None:
        """The finished record of this key."""
        return self._records.get(key)

    def add(self, record: ImageRecord) -> None:
        """Keep a record; its line is on its way to the disk when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record), allow_nan=False) + "\n")
        self._records[record.key] = record
