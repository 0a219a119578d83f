"""What Prometheus can read of an instance."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Counters and times of one instance, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.events = Counter("live_events", "Events that were accepted", registry=self._registry)
        self.decisions = Counter(
            "live_decisions", "Decisions", ["decision_point", "action", "arm"], registry=self._registry
        )
        self.answers = Counter("live_answers", "Answers to POST /events", ["status"], registry=self._registry)
        self.failures = Counter("live_failures", "Batches whose features or models failed", registry=self._registry)
        self.answer_seconds = Histogram(
            "live_answer_seconds", "From a request to its answer", buckets=SECONDS, registry=self._registry
        )
        self.batch_seconds = Histogram(
            "live_batch_seconds", "Log, features, models and decisions of a batch", buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """All of them in Prometheus' own format."""
        return generate_latest(self._registry)
