"""What Prometheus can ask for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SHARES = tuple(index / 10 for index in range(1, 11))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Histogram(
            "adadsr_request_seconds", "Time of requests", ("path", "status"), buckets=SECONDS, registry=registry
        )
        self.stages = Histogram(
            "adadsr_stage_seconds", "Time of the stages of a request", ("stage",), buckets=SECONDS, registry=registry
        )
        self.requested = Histogram(
            "adadsr_requested_budget", "Budgets that requests asked for", buckets=SHARES, registry=registry
        )
        self.served = Histogram("adadsr_served_budget", "Budgets that were served", buckets=SHARES, registry=registry)
        self.lowered = Counter("adadsr_lowered_budgets", "Requests served below their budget", registry=registry)
        self.refusals = Counter("adadsr_refusals", "Requests refused, by problem", ("problem",), registry=registry)
        self.received = Counter("adadsr_received_bytes", "Bytes of request bodies", registry=registry)
        self.sent = Counter("adadsr_sent_bytes", "Bytes of answers", registry=registry)
        self.waiting = Gauge("adadsr_queue_waiting", "Requests that wait", registry=registry)
        self.running = Gauge("adadsr_queue_running", "Requests that run", registry=registry)
        self.wait = Gauge("adadsr_queue_wait_seconds", "Wait of a request that comes now", registry=registry)
        self.memory = Gauge("adadsr_memory_bytes", "Working memory that runs have taken", registry=registry)
        self.prepared = Gauge("adadsr_prepared_images", "Prepared pictures that are kept", registry=registry)
        self.prepared_bytes = Gauge("adadsr_prepared_bytes", "Bytes of prepared pictures", registry=registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages.labels(name).observe(time.perf_counter() - start)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
