"""Files that a search passes over, by kind."""

import os
from collections import Counter, defaultdict

from adadsr.formats import suffix_of

_RAW = ".3fr .ari .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw"
_VIDEO = ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .vob .webm .wmv"
_IMAGES = ".ai .cur .dds .dpx .emf .eps .exr .fits .hdr .icns .ico .jls .jxr .kra .pcx .pdf .psb .psd .qoi .svg .tga"
_KINDS = {
    "camera raw files": f"{_RAW} .rw2 .rwl .sr2 .srf .srw .x3f",
    "videos": _VIDEO,
    "images of other formats": f"{_IMAGES} .wdp .wmf .xbm .xcf .xpm",
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes.split()}
OTHER, HIDDEN, LINKED = "other files", "hidden files and folders", "linked folders"
EARLIER = "outputs of other inputs"
_NAMED_BY_SUFFIX = (*_KINDS, OTHER)
_MOST_SUFFIXES = 5


def is_known(suffix: str) -> bool:
    """Whether a suffix such as `.tga` is that of pictures or films that cannot be read."""
    return suffix in _BY_SUFFIX


class LeftOut:
    """What a search left out: each path once, with its kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def add(self, path: str | os.PathLike[str], kind: str | None = None) -> None:
        """Count a path. kind: None for what its suffix says."""
        name = os.path.abspath(path)
        self._kinds.setdefault(name, kind or _BY_SUFFIX.get(suffix_of(name), OTHER))

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of files by kind and by suffix, which is empty if there is none or if it does not matter."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for name, kind in self._kinds.items():
            counts[kind][suffix_of(name) if kind in _NAMED_BY_SUFFIX else ""] += 1
        return {
            kind: dict(sorted(counts[kind].items()))
            for kind in (*_NAMED_BY_SUFFIX, HIDDEN, LINKED, EARLIER)
            if kind in counts
        }

    def __str__(self) -> str:
        """`2 camera raw files (.cr2, .nef), 1 video (.mov)`; empty if nothing was left out."""
        return ", ".join(_described(kind, suffixes) for kind, suffixes in self.counts().items())


def _described(kind: str, suffixes: dict[str, int]) -> str:
    number = sum(suffixes.values())
    if number == 1:
        kind = kind.replace("files", "file").replace("folders", "folder").replace("videos", "video")
        kind = kind.replace("images", "image").replace("outputs", "output").replace(" and ", " or ")
    named = [suffix or "no suffix" for suffix in suffixes]
    if named == ["no suffix"] and kind not in ("other file", OTHER):
        return f"{number} {kind}"
    more = ", ..." if len(named) > _MOST_SUFFIXES else ""
    return f"{number} {kind} ({', '.join(named[:_MOST_SUFFIXES])}{more})"
