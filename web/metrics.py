"""`/metrics`: what the web counts itself, and what the hub says of itself when asked."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from web.events import API_REQUESTS, API_SECONDS, INGEST_REQUESTS
from web.hub_port import HubPort
from web.ingest import Ingest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class ApiMetrics:
    """Counts the requests of the management API. Routes by pattern: ids would be endless labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            API_REQUESTS,
            "Requests to the API, by route.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            API_SECONDS,
            "How long requests to the API took.",
            buckets=_BUCKETS_S,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, duration_s: float) -> None:
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.observe(duration_s)


class _LiveCollector(Collector):
    """Reads what is counted elsewhere at the moment it is asked for."""

    def __init__(self, hub: HubPort, ingest: Ingest) -> None:
        self._hub = hub
        self._ingest = ingest

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            INGEST_REQUESTS, "Requests that hand over a message, by answer.", labels=["status"]
        )
        for status, count in self._ingest.counts.items():
            requests.add_metric([str(status)], count)
        yield requests
        yield from self._hub.metrics()

    def describe(self) -> Iterable[Metric]:
        # Without this the registry would collect once, before the hub has started.
        return []


def watch(registry: CollectorRegistry, hub: HubPort, ingest: Ingest) -> None:
    """Make `registry` show the hub and the ingest."""
    registry.register(_LiveCollector(hub, ingest))


def render(registry: CollectorRegistry) -> bytes:
    return generate_latest(registry)
