"""Which pictures kill their workers: the tries of a unit leave behind what they ran."""

import json
from collections import Counter

from adadsr.storage import Place

FOLDER = "tries"
DEATHS = 2
"""Workers that must die while they run nothing but a picture, before it counts as the cause."""


class Tries:
    """The tries of a unit. Creating one starts the next try.

    The first try runs several pictures at once and notes nothing, as most units need no other. Later ones run one at a
    time and note which.

    Attributes:
        is_first: Whether no try of the unit began before.
        killers: Names of the outputs of pictures that are not to run again.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._file = place, f"{FOLDER}/{name}.json"
        self._before: list[str] = json.loads(place.read(self._file) or b"[]")
        self.is_first = not self._before
        self.killers = {name for name, deaths in Counter(self._before).items() if name and deaths >= DEATHS}
        self._note("")

    def begin(self, name: str) -> None:
        """Say that this try runs a picture; an empty name for none."""
        if not self.is_first:
            self._note(name)

    def _note(self, name: str) -> None:
        self._place.replace(self._file, json.dumps([*self._before, name]).encode())
