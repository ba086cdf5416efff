"""Names of outputs: the user's pattern, and distinct names for inputs that would share one."""

import os
import string
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adadsr.errors import InputError

_FIELDS = ("stem", "scale", "ext")


@dataclass(frozen=True)
class Naming:
    """How outputs are named.

    Attributes:
        template: with {stem}, the input's name without suffix; {scale}; and at its end {ext}, the output's suffix.
        scale: what {scale} stands for; None if it is not one number.

    Raises:
        InputError: a template that does not name a file for every input.
    """

    template: str = "{stem}{ext}"
    scale: str | None = None

    def __post_init__(self) -> None:
        given = f"--name {self.template!r}"
        try:
            parts = [
                (field, spec, conversion) for _, field, spec, conversion in string.Formatter().parse(self.template)
            ]
        except ValueError as error:
            raise InputError(f"{given}: {error}; write {{{{ and }}}} for braces") from None
        fields = [field for field, *_ in parts if field is not None]
        unknown = [field for field in fields if field not in _FIELDS] + [
            each for part in parts for each in part[1:] if each
        ]
        if unknown:
            raise InputError(f"{given}: {{{unknown[0]}}} is unknown; use {{stem}}, {{scale}} and {{ext}}")
        if "stem" not in fields or not self.template.endswith("{ext}"):
            raise InputError(f"{given}: must contain {{stem}} and end with {{ext}}, as in {{stem}}_{{scale}}x{{ext}}")
        if "/" in self.template or os.sep in self.template:
            raise InputError(f"{given}: names a folder; pass it as --output")
        if "scale" in fields and self.scale is None:
            raise InputError(f"{given}: {{scale}} differs between images of a given size; leave it out")

    @classmethod
    def of_suffix(cls, suffix: str) -> "Naming":
        """The stem, followed by `suffix`. Raises InputError if that names another folder."""
        if not suffix or "/" in suffix or os.sep in suffix:
            raise InputError(f"--suffix {suffix!r}: pass text for the end of the name, such as _x2")
        return cls("{stem}" + suffix.replace("{", "{{").replace("}", "}}") + "{ext}")

    def name(self, stem: str, ext: str) -> str:
        """The name of one output. ext: with the dot."""
        return self.template.format(stem=stem, scale=self.scale, ext=ext)


def distinct(sources: Sequence[Path], targets: Sequence[Path], naming: Naming, *, beside: bool = False) -> list[Path]:
    """The targets, with other names where several are the same: `a.png.webp`, `folder/a.webp` or both.

    All that share a name get another one, which depends on their paths only, so that repeating a command finds its
    outputs again. beside: whether outputs go beside the inputs, so that a source with such a name is an earlier output.
    """
    result, keys = list(targets), [_key(target) for target in targets]
    counts = Counter(keys)
    taken = {*counts} if beside else {*counts, *map(_key, sources)}
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if counts[key] > 1:
            groups.setdefault(key, []).append(index)
    for group in groups.values():
        for names in zip(*(_alternatives(sources[at], targets[at], naming) for at in group), strict=False):
            new = {_key(name) for name in names}
            if len(new) == len(group) and not new & taken:
                taken |= new
                for at, name in zip(group, names, strict=True):
                    result[at] = name
                break
    return result


def _key(path: Path) -> str:
    """What two paths have in common if they are the same file: `A.png` is `a.png` on Windows and macOS."""
    name = os.path.abspath(path)
    return name.casefold() if sys.platform in ("win32", "darwin") else name


def _alternatives(source: Path, target: Path, naming: Naming) -> Iterator[Path]:
    """Ever longer names: with the suffix of the source, and with more and more of its folders."""
    folders = Path(os.path.abspath(source)).parent.parts[1:]
    marked = naming.name(source.name, target.suffix)
    for count in range(len(folders) + 1):
        place = target.parent.joinpath(*folders[len(folders) - count :])
        if count:
            yield place / target.name
        yield place / marked
