"""Where things are kept that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder `adadsr` below XDG_CACHE_HOME, or else ~/.cache. Raises RuntimeError where there is no home folder."""
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "adadsr"
