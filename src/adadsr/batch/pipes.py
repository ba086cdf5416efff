"""Standard input and output as the files of one job."""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from adadsr.batch.jobs import DEFAULT_SUFFIX, Job, Jobs, output_file
from adadsr.batch.leftout import LeftOut
from adadsr.errors import ImageFileError, InputError, cause_of
from adadsr.formats import HEAD_BYTES, Format, recognise

PIPE = "-"
"""How the user names standard input and output."""
_STDIN, _STDOUT = "<stdin>", "<stdout>"


class _NamedBytes(io.BytesIO):
    """The content of standard input, by a name for messages."""

    name = _STDIN


def is_pipe(inputs: Sequence[str], out: str | None) -> bool:
    """Whether standard input or output is named."""
    return PIPE in inputs or out == PIPE


def find_pipe(
    inputs: Sequence[str], out: str | None, stdin: BinaryIO, *, suffix: str | None = None, overwrite: bool = False
) -> Jobs:
    """The one job of a run that `is_pipe`.

    Args:
        inputs, out: as for `find_jobs`.
        stdin: read to its end if it is named.
        suffix: of the output, such as `.png`; None for the format of the input's content.
        overwrite: as for `find_jobs`.

    Raises:
        InputError: several inputs, a folder, or an output without a name.
    """
    if len(inputs) != 1 or (os.path.isdir(inputs[0]) and inputs[0] != PIPE):
        raise InputError(f"{PIPE} is one image; pass it with one input file and one output, not with folders")
    reads, writes = inputs[0] == PIPE, out == PIPE
    if out is None:
        raise InputError(f"{PIPE}: standard input has no name; pass -o FILE, or -o {PIPE} for standard output")
    content = stdin.read() if reads else None
    source = Path(_STDIN if reads else inputs[0])
    if writes:
        target = Path(_STDOUT + (suffix or _suffix_of(_head(source) if content is None else content[:HEAD_BYTES])))
    else:
        target = output_file(out, suffix)
    job = Job(source, target, content=content, to_stdout=writes)
    exists = not writes and not overwrite and os.path.exists(target)
    return Jobs([] if exists else [job], [job] if exists else [], [], [], LeftOut())


def _head(path: Path) -> bytes:
    """The first bytes of a file; none if it cannot be read, which reading it says later."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES) if path.is_file() else b""
    except OSError:
        return b""


def _suffix_of(head: bytes) -> str:
    """Suffix of an output in the format of a file that begins with `head`."""
    content = recognise(head)
    is_written = isinstance(content, Format) and not content.has_palette
    return content.suffixes[0] if content is not None and is_written else DEFAULT_SUFFIX


def readable(job: Job) -> Path | BinaryIO:
    """What `images` reads: the job's file, what its store gives, or what standard input contained."""
    if job.store is not None:
        return job.store.open()
    return job.source if job.content is None else _NamedBytes(job.content)


def write_stdout(content: bytes) -> None:
    """Write to standard output. Raises ImageFileError, as where its reader has gone."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # otherwise Python complains again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ImageFileError(f"{_STDOUT}: cannot write ({cause_of(error)})") from error
