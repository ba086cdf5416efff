"""Inputs and output path -> jobs. Uses names only; no image is opened."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from adadsr import images
from adadsr.batch.leftout import EARLIER, LeftOut, is_known
from adadsr.batch.naming import Naming, distinct
from adadsr.batch.search import Found, Search
from adadsr.errors import InputError
from adadsr.formats import READABLE_SUFFIXES, find_format

DEFAULT_SUFFIX = ".png"
"""Suffix of the output of an input without one, or of a format that is only read."""


class Store(Protocol):
    """Where the files of one job are if not where its paths say: in a bucket, or to be committed in another way."""

    def open(self) -> Path | BinaryIO:
        """The input, for `images`. Raises ImageFileError."""

    def put(self, content: bytes) -> None:
        """Keep the content of the output. Raises ImageFileError."""


@dataclass(frozen=True)
class Job:
    """One image to upscale.

    depth_view: output path of the picture of its depth map, if any. content: of standard input, if that is the source.
    to_stdout: whether the target only names the format of what goes to standard output. store: reads the input and
    takes the output, which the paths then only name. least_gain: see `Target`; if any, in place of the run's target.
    """

    source: Path
    target: Path
    depth_view: Path | None = None
    content: bytes | None = field(default=None, compare=False, repr=False)
    to_stdout: bool = False
    store: Store | None = field(default=None, compare=False, repr=False)
    least_gain: float | None = None

    @property
    def writes_file(self) -> bool:
        """Whether the target is a file to be written."""
        return not self.to_stdout and self.store is None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that the job writes."""
        return (self.target,) if self.depth_view is None else (self.target, self.depth_view)


class Jobs(NamedTuple):
    """What a run does, and what it does not.

    existing: jobs skipped because their target exists. failures: (input, reason). notes: what was decided about names.
    left_out: what lies in input folders but is not an input.
    """

    to_run: list[Job]
    existing: list[Job]
    failures: list[tuple[Path, str]]
    notes: list[str]
    left_out: LeftOut


def find_jobs(
    inputs: Sequence[str],
    out: str | None,
    *,
    suffix: str | None = None,
    naming: Naming | None = None,
    depth_views: bool = False,
    overwrite: bool = False,
) -> Jobs:
    """Decide which files are read and where the results go.

    inputs: files; folders, searched recursively except for hidden files and links to folders, with their structure kept
        below `out`; and patterns (`*`, `?`, `[...]`, `**`), with their structure kept from the first part that has a
        wildcard. Searches skip `out` inside an input folder.
    out: the output file if a single file is named and `out` has an image suffix, otherwise a folder; None for the
        folder of each input. The outputs of other inputs are then left out, so that a repeated command finds nothing
        new to do; a note names those that the user named, and no output overwrites them.
    suffix: of all outputs in a folder, such as `.png`; None keeps that of each input. An output file may have another
        suffix of the same format, such as `.jpeg` if `.jpg` is given.
    naming: of the files in a folder; None for the names of the inputs.
    Inputs that would have the same output get distinct ones, see `naming.distinct`. An input without images is a
    failure of its own, like a bad file. Raises InputError if `out` is unsuitable, or if an output is also an input.
    """
    search = Search(inputs, None if out is None else Path(out))
    found, unused = (search.found, []) if out is not None else _without_outputs(search, suffix, naming)
    jobs, notes = _distinct_jobs(found, _targets(found, out, suffix, naming), naming, beside=out is None)
    if depth_views:
        jobs = _with_depth_views(jobs)
    _check_outputs(jobs, protected=unused if overwrite else ())
    if unused:
        more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        notes.append(f"named like outputs of other inputs and therefore not upscaled: {unused[0]}{more}")
    # A run writes the image last, so if it exists, nothing is left to do.
    existing = {job: None for job in jobs if not overwrite and os.path.exists(job.target)}
    to_run = [job for job in jobs if job not in existing]
    return Jobs(to_run, list(existing), search.failures, notes, search.left_out)


def jobs_below(
    found: Sequence[Found], place: Path, *, suffix: str | None = None, naming: Naming | None = None
) -> tuple[list[Job], list[str]]:
    """Jobs that write below a folder, named as by `find_jobs`, and notes. Nothing is asked of a file system.

    Raises InputError if an output is also an input, or that of two jobs.
    """
    targets = [place / _named(each.below, suffix, naming) for each in found]
    jobs, notes = _distinct_jobs(found, targets, naming)
    _check_outputs(jobs, keys=lambda path: (os.path.abspath(path),))
    return jobs, notes


def _without_outputs(search: Search, suffix: str | None, naming: Naming | None) -> tuple[list[Found], list[Path]]:
    """What a search found without the outputs that these inputs get beside them; and those of them that are named."""
    found, named = search.found, list[Path]()
    while True:
        written = _written_beside(found, suffix, naming)
        earlier = [each for each in found if os.path.abspath(each.source) in written]
        if not earlier:
            return found, named
        for each in earlier:
            search.left_out.add(each.source, EARLIER)
        named += [each.source for each in earlier if each.named]
        found = [each for each in found if os.path.abspath(each.source) not in written]


def _written_beside(found: Sequence[Found], suffix: str | None, naming: Naming | None) -> set[str]:
    """All files that these or fewer inputs get beside them, with and without depth maps.

    An input whose output has its own name counts as one, too, unless the user named it: `_check_outputs` refuses that.
    """
    targets = dict(zip(found, _targets(found, None, suffix, naming), strict=True))
    own = [each for each, target in targets.items() if each.source == target]
    for each in own:
        del targets[each]
    jobs, _ = _distinct_jobs(list(targets), list(targets.values()), naming, beside=True)
    outputs = {*targets.values(), *(job.target for job in jobs)}
    views = {view for target in outputs for view in _view_names(target)}
    return {os.path.abspath(path) for path in (*outputs, *views, *(each.source for each in own if not each.named))}


def _distinct_jobs(
    found: Sequence[Found], targets: Sequence[Path], naming: Naming | None, *, beside: bool = False
) -> tuple[list[Job], list[str]]:
    """A job for each input with a name of its own, and a note if some names had to change. beside: see `distinct`."""
    names = distinct([each.source for each in found], targets, naming or Naming(), beside=beside)
    jobs = [Job(each.source, name) for each, name in zip(found, names, strict=True)]
    renamed = [name for name, target in zip(names, targets, strict=True) if name != target]
    notes = [f"{len(renamed)} outputs would share names and got longer ones, such as {renamed[0]}"] if renamed else []
    return jobs, notes


def _targets(found: Sequence[Found], out: str | None, suffix: str | None, naming: Naming | None) -> list[Path]:
    if out is None:
        return [_named(each.source, suffix, naming) for each in found]
    place, ending = Path(out), Path(out).suffix.lower()
    is_folder = os.path.isdir(place) or out.endswith(("/", os.sep))
    is_image = ending in READABLE_SUFFIXES or is_known(ending)
    if not is_folder and is_image:
        if naming is not None:
            raise InputError(f"{place}: names the output; drop --name and --suffix, or pass a folder")
        if len(found) > 1 or not all(each.named for each in found):
            raise InputError(f"{place}: names one file, but the inputs may be several; pass a folder")
        return [_single_target(place, ending, suffix) for _ in found]
    if os.path.exists(place) and not is_folder:
        raise InputError(f"{place}: is a file; pass a folder, or an image name for a single input")
    return [place / _named(each.below, suffix, naming) for each in found]


def _named(path: Path, suffix: str | None, naming: Naming | None) -> Path:
    """`path` with the output's name and suffix."""
    return path.with_name((naming or Naming()).name(path.stem, suffix or _writable(path.suffix)))


def _writable(suffix: str) -> str:
    """`suffix`, or the default where it is missing, or its format is only read or has few colours."""
    is_known = suffix.lower() in images.SUPPORTED_SUFFIXES
    return suffix if is_known and not find_format(suffix).has_palette else DEFAULT_SUFFIX


def output_file(out: str, suffix: str | None) -> Path:
    """`out` as the one output. suffix: as for `find_jobs`. Raises InputError for a folder or an unknown suffix."""
    if os.path.isdir(out) or out.endswith(("/", os.sep)):
        raise InputError(f"{out}: is a folder, but standard input has no name; pass an output file")
    if not Path(out).suffix:
        raise InputError(f"{out}: a name without a suffix does not say which format to write; add one, as {out}.png")
    return _single_target(Path(out), Path(out).suffix.lower(), suffix)


def _single_target(place: Path, ending: str, suffix: str | None) -> Path:
    if ending not in images.SUPPORTED_SUFFIXES:
        known = ", ".join(images.SUPPORTED_SUFFIXES)
        raise InputError(f"{place}: {ending} files cannot be written; use one of {known}, or a folder")
    if suffix is not None and find_format(suffix) is not find_format(ending):
        raise InputError(f"{place}: the name says {ending}, --format says {suffix}; drop --format")
    return place


def _with_depth_views(jobs: Sequence[Job]) -> list[Job]:
    """The map of a.png is a.depth.png, or a.png.depth.png if a.jpg or a.depth.png is written, too."""
    stems = Counter(job.target.with_suffix("") for job in jobs)
    targets = {job.target for job in jobs}

    def view(target: Path) -> Path:
        short, long = _view_names(target)
        is_free = stems[target.with_suffix("")] == 1 and short not in targets
        return short if is_free else long

    return [Job(job.source, job.target, view(job.target)) for job in jobs]


def _view_names(target: Path) -> tuple[Path, Path]:
    """The names that the picture of a depth map may have."""
    return target.with_name(f"{target.stem}.depth.png"), target.with_name(f"{target.name}.depth.png")


def _keys(path: Path) -> tuple[Any, ...]:
    """What two paths share if they are the same file, the real path first; bind mounts and case need the identity.

    Hard links share an identity, too, but are distinct files: replacing one leaves the others as they are.
    """
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except OSError:
        return (real,)
    return (real, (found.st_dev, found.st_ino)) if found.st_ino and found.st_nlink == 1 else (real,)


def _check_outputs(
    jobs: Sequence[Job], *, protected: Sequence[Path] = (), keys: Callable[[Path], tuple[Any, ...]] = _keys
) -> None:
    """Refuse two jobs that write the same file, and a job that overwrites an input.

    protected: inputs without a job. keys: see `_keys`.
    """
    sources = {key: source for source in (*protected, *(job.source for job in jobs)) for key in keys(source)}
    writers: dict[Any, Job] = {}
    for job in jobs:
        for output in job.outputs:
            final = keys(output)
            source = next((sources[key] for key in final if key in sources), None)
            if source is not None:
                advice = "name only the originals, or " if source in protected else ""
                raise InputError(f"{output}: would overwrite the input {source}; {advice}choose another output")
            other = writers.setdefault(final[0], job)
            if other is not job:
                raise InputError(
                    f"{other.source} and {job.source} would both be written to {output}; "
                    "rename one, or choose separate output folders"
                )
