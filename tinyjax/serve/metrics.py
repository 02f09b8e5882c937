"""What is counted, in Prometheus' format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tinyjax.serve.teller import Teller

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The numbers of one server."""

    def __init__(self, teller: Teller):
        """Starts at zero; what is told and what waits is asked of the teller."""
        self._registry = CollectorRegistry()
        self.answers = self._counter("answers", "HTTP answers to /v1/completions", ["status"])
        self.stories = self._counter(
            "stories", "Stories that have ended; gone: their client left", ["finish"]
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens read")
        self.tokens = self._counter("tokens", "Tokens drawn")
        self.first_token = self._histogram("first_token_seconds", "From a request to its first token")
        self.answered = self._histogram("answer_seconds", "From a request to the end of its answer")
        for name, what, value in (
            ("slots", "Stories that can be told at a time", lambda: teller.slots),
            ("stories_telling", "Stories that are being told", lambda: teller.telling),
            ("stories_waiting", "Stories that wait for a slot", lambda: teller.waiting),
        ):
            Gauge(f"tinyjax_{name}", what, registry=self._registry).set_function(value)

    def _counter(self, name: str, what: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"tinyjax_{name}", what, labels or [], registry=self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(f"tinyjax_{name}", what, buckets=_SECONDS, registry=self._registry)

    def text(self) -> tuple[bytes, str]:
        """Returns all numbers, and their content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
