"""Figures of each actor for Ray's metrics, which Prometheus scrapes."""

from adadsr.batch import Result


class Meters:
    """Counters of one actor, by the names under which Prometheus has them."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Histogram

        self._pictures = Counter("adadsr_pictures", "Inputs that ended, by status.", tag_keys=("status",))
        self._megapixels = Counter("adadsr_megapixels", "Megapixels of outputs.")
        self._gmacs = Counter("adadsr_gmacs", "Executed multiply-accumulates, in 10^9.")
        bounds = [0.1, 0.3, 1, 3, 10, 30, 100, 300]
        self._seconds = Histogram("adadsr_picture_seconds", "Seconds of one input.", boundaries=bounds)

    def count(self, result: Result) -> None:
        """Count one result."""
        self._pictures.inc(1, {"status": result.status.value})
        self._seconds.observe(max(result.seconds, 1e-6))
        if result.report is not None:
            width, height = result.report.output_size
            self._megapixels.inc(max(width * height / 1e6, 1e-9))
            self._gmacs.inc(max(result.report.executed_gmacs, 1e-9))
