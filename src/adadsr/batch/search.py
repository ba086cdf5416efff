"""Inputs -> the images they name. Uses names only; no image is opened."""

import contextlib
import fnmatch
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from adadsr import images
from adadsr.batch.leftout import HIDDEN, LINKED, LeftOut
from adadsr.errors import InputError, cause_of
from adadsr.formats import READABLE_SUFFIXES, suffix_of

_BRACKETS = "; brackets are wildcards: [ab] matches a or b; write [[] for a bracket, or check the name"


def is_pattern(text: str) -> bool:
    """Whether an input is a pattern of names, and not a file or folder whose name looks like one."""
    return glob.has_magic(text) and not os.path.lexists(text)


class Found(NamedTuple):
    """An image and its path below the output folder. named: whether the user named this file itself."""

    source: Path
    below: Path
    named: bool


class Search:
    """Everything that the inputs name; `find_jobs` says how.

    Attributes:
        found: all images, each once.
        failures: inputs without an image and folders that cannot be read, with the reason.
        left_out: what lies in folders or matches patterns, but is not an image.
    """

    def __init__(self, inputs: Iterable[str], out: Path | None) -> None:
        """Search. out: the output folder, whose content is left out; None if outputs go beside the inputs.

        Raises InputError if `out` is an input folder.
        """
        self.failures: list[tuple[Path, str]] = []
        self.left_out = LeftOut()
        self._out = None if out is None else _real(out)
        self._in_out: dict[tuple[Path, Path], bool] = {}
        found: dict[str, Found] = {}
        for text in inputs:
            for each in self._images_of(text):
                found.setdefault(os.path.abspath(each.source), each)
        self.found = list(found.values())

    def _images_of(self, text: str) -> list[Found]:
        path, before = Path(text), len(self.failures)
        if "://" in text and not os.path.exists(path):
            self.failures.append((path, f"{text}: is an address; download it, as in: curl -s URL | adadsr upscale -"))
            return []
        if os.path.isdir(path):
            if self._is_out(path):
                raise InputError(f"{path}: output and input folder are the same; choose another, or pass --suffix")
            images_here = list(self._in_folder(path, path))
        elif is_pattern(text):
            images_here = list(self._in_pattern(text))
        else:  # the file may not exist: reading it says so
            images_here = [Found(path, Path(path.name), True)]
        if not images_here and len(self.failures) == before:
            what = "no image matches this pattern" if is_pattern(text) else "no images in this folder"
            advice = _BRACKETS if is_pattern(text) and "[" in text else ""
            self.failures.append((path, f"{text}: {what}; supported: {', '.join(READABLE_SUFFIXES)}{advice}"))
        return images_here

    def _in_folder(self, folder: Path, base: Path) -> Iterator[Found]:
        """Images in a folder, sorted, without hidden files and without `out` if it lies inside."""
        for parent, folders, files in os.walk(folder, onerror=self._unreadable):
            here = Path(parent)
            folders[:] = sorted(name for name in folders if self._enters(here / name))
            for name in sorted(files):
                yield from self._in_file(here / name, base)

    def _enters(self, folder: Path) -> bool:
        """Whether a subfolder is searched. A link is not: it may lead out of the folder, or back to its beginning."""
        if self._is_out(folder):
            return False
        if folder.name.startswith(".") or folder.is_symlink():
            self.left_out.add(folder, HIDDEN if folder.name.startswith(".") else LINKED)
            return False
        return True

    def _is_out(self, folder: Path) -> bool:
        """Whether a folder is `out`, also under another name: through a link, a bind mount, or in another case."""
        if self._out is None:
            return False
        with contextlib.suppress(OSError):  # one of them does not exist
            return os.path.samefile(folder, self._out)
        return _real(folder) == self._out

    def _in_file(self, path: Path, base: Path) -> Iterator[Found]:
        if path.name.startswith("."):
            self.left_out.add(path, HIDDEN)
        elif images.is_image_file(path) or (suffix_of(path.name) in READABLE_SUFFIXES and not os.path.exists(path)):
            yield Found(path, path.relative_to(base), False)  # reading says what is wrong with a broken link
        else:
            self.left_out.add(path)

    def _in_pattern(self, pattern: str) -> Iterator[Found]:
        """Matching images and those in matching folders, without `out` if it lies inside."""
        parts = Path(pattern).parts
        fixed = next(at for at in range(len(parts)) if not os.path.lexists(Path(*parts[: at + 1])))
        base, ends_anywhere = Path(*parts[:fixed]), parts[-1] == "**"
        wanted = (*parts[fixed:], "*") if ends_anywhere else parts[fixed:]
        for path in sorted(_matches(base, wanted, self._unreadable)):
            is_folder = os.path.isdir(path)
            if self._is_in_out(path if is_folder or path.is_symlink() else path.parent, base):
                continue
            if not is_folder:
                yield from self._in_file(path, base)
            elif path.is_symlink() and _overlap(_real(path), _real(base)):
                self.left_out.add(path, LINKED)
            elif not ends_anywhere:  # otherwise its files match themselves
                yield from self._in_folder(path, base)

    def _is_in_out(self, path: Path, base: Path) -> bool:
        """Whether a folder or link is `out` or lies in it, where `out` lies below `base`. Asks once for each."""
        if self._out is None or path == base:
            return False
        if (path, base) not in self._in_out:
            self._in_out[path, base] = (
                self._is_out(path)
                or (_real(base) in self._out.parents and self._out in _real(path).parents)
                or self._is_in_out(path.parent, base)
            )
        return self._in_out[path, base]

    def _unreadable(self, error: OSError) -> None:
        folder = Path(error.filename)
        failure = folder, f"{folder}: cannot be read ({cause_of(error)}); check its permissions"
        if folder.is_dir() and failure not in self.failures:  # a pattern asks files and broken links, too
            self.failures.append(failure)


def _real(path: Path) -> Path:
    """As `Path.resolve`, which raises where links lead in circles."""
    return Path(os.path.realpath(path))


def _overlap(one: Path, other: Path) -> bool:
    """Whether two real folders are the same or one lies in the other."""
    return one == other or one in other.parents or other in one.parents


def _matches(base: Path, parts: Sequence[str], unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    """Existing paths below `base` that match `parts` of a pattern, as of `glob`; links may not lead in circles.

    A part that exists literally, such as `album [2020]`, matches itself, too. unreadable: called for what cannot be
    listed.
    """
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        for folder in _folders_from(base, unreadable):
            yield from _matches(folder, rest, unreadable)
    elif glob.has_magic(part):
        for name in _listed(base, unreadable):
            hidden = name.startswith(".") and not part.startswith(".")
            if name == part or (not hidden and fnmatch.fnmatch(name, part)):
                yield from _matches(base / name, rest, unreadable)
    elif os.path.lexists(base / part):
        yield from _matches(base / part, rest, unreadable)


def _folders_from(base: Path, unreadable: Callable[[OSError], None]) -> list[Path]:
    """`base` and all folders below, each once and without hidden ones; what links lead to comes last."""
    found, seen, linked = [], set(), [base]
    for start in linked:  # grows meanwhile
        for parent, folders, _ in os.walk(start, onerror=unreadable):
            here = Path(parent)
            real = os.path.realpath(here)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            found.append(here)
            below = sorted(here / name for name in folders if not name.startswith("."))
            linked += [path for path in below if path.is_symlink()]
            folders[:] = [path.name for path in below if not path.is_symlink()]
    return found


def _listed(folder: Path, unreadable: Callable[[OSError], None]) -> list[str]:
    """Names in a folder; none if it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        unreadable(error)
        return []
