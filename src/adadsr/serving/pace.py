"""How fast this machine is at the moment: multiply-accumulates to core-seconds, learned from what has run."""

FIRST_RATE = 50e9
"""Multiply-accumulates per second and core that are assumed before anything has run."""
ASSUMED_MACS = 25e9
"""Weight of that assumption, in multiply-accumulates: it limits how far a pause of the machine during a tiny run can
raise the estimate."""
FORGOTTEN = 0.2
"""Fraction of its weight that each earlier run loses when another finishes."""
FIXED_SECONDS = 2e-3
"""Of a request, whatever its size."""


class Pace:
    """An average that favours recent runs and large ones. Used from one thread."""

    def __init__(self, rate: float = FIRST_RATE) -> None:
        """rate: multiply-accumulates per second and core, until runs tell."""
        self._assumed, self._macs, self._seconds = ASSUMED_MACS / rate, 0.0, 0.0

    @property
    def seconds_per_mac(self) -> float:
        """On one core."""
        return (self._assumed + self._seconds) / (ASSUMED_MACS + self._macs)

    def core_seconds(self, macs: float) -> float:
        """Expected time of a run on one core, reading and writing included."""
        return FIXED_SECONDS + macs * self.seconds_per_mac

    def learn(self, macs: float, core_seconds: float) -> None:
        """Count a finished run."""
        if macs <= 0:
            return
        self._macs = (1 - FORGOTTEN) * self._macs + macs
        self._seconds = (1 - FORGOTTEN) * self._seconds + max(core_seconds - FIXED_SECONDS, 0.0)
