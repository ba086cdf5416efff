"""How fast this machine is at the moment: multiply-accumulates to core-seconds, learned from what has run."""

FIRST_RATE = 50e9
"""Multiply-accumulates per second and core that are assumed before anything has run."""
MEMORY = 0.2
"""Weight of the newest run."""
FIXED_SECONDS = 2e-3
"""Of a request, whatever its size."""


class Pace:
    """An average that favours recent runs. Used from one thread."""

    def __init__(self, rate: float = FIRST_RATE) -> None:
        """rate: multiply-accumulates per second and core."""
        self.seconds_per_mac, self.runs = 1 / rate, 0

    def core_seconds(self, macs: float) -> float:
        """Expected time of a run on one core, reading and writing included."""
        return FIXED_SECONDS + macs * self.seconds_per_mac

    def learn(self, macs: float, core_seconds: float) -> None:
        """Count a finished run."""
        if macs <= 0:
            return
        seen = max(core_seconds - FIXED_SECONDS, 0.0) / macs
        weight = 1.0 if not self.runs else MEMORY
        self.seconds_per_mac += weight * (seen - self.seconds_per_mac)
        self.runs += 1
