"""From a YAML file to dataclasses, with errors that name the part and the key."""

import re
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from adadsr.errors import InputError, cause_of

T = TypeVar("T")


def read_yaml(path: Path) -> object:
    """What a YAML file holds. 1e-4 is a number, unlike in YAML 1.1. Raises InputError, which names the file."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")  # YAML 1.1 wants 1.0e-4 or 1.0e+4
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot read ({cause_of(error)}); pass the path of a recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not valid YAML ({reason}); see recipes/ for examples") from error


def read_part(cls: type[T], content: object, name: str) -> T:
    """A dataclass from its fields by name. name: of the part of a file that has them, with which errors begin."""
    try:
        check_keys(cls, content)
        assert isinstance(content, dict)
        return cls(**content)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def check_keys(cls: type[Any], content: object) -> None:
    """Raise InputError unless `content` is a dict of fields of a dataclass, with all that have no default."""
    if not isinstance(content, dict):
        what = "is empty; expected" if content is None else "expected"
        got = "" if content is None else f", got {content!r}"
        raise InputError(f"{what} `key: value` lines{got}; docs/training.md lists the keys")
    known = {field.name: field.default is MISSING for field in fields(cls)}
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            remedy = f"did you mean {near[0]!r}?" if near else "docs/training.md lists the keys"
            raise InputError(f"unknown key {key!r}; {remedy}")
    if missing := [name for name, is_needed in known.items() if is_needed and name not in content]:
        raise InputError(f"missing keys: {', '.join(missing)}; docs/training.md lists the keys")
