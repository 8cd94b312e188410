"""What an endpoint counts about itself, and how Prometheus reads it.

    raymi_requests_total{application,model,replica,version,path,status}  answers
    raymi_request_seconds{application,model,replica,version}  time of answers with status 200
    raymi_batch_rows{application,model,replica,version}       rows in one forward pass
    raymi_queue_rows{application,model,replica}               rows that wait for one
    raymi_active_version{application,model,replica}           number of the one that answers

A load balancer stands in front of the replicas, so a scrape reaches any of them. Each writes what
it has counted into its report, and whichever is asked tells it of all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from raymi.store.record import Record

OTHER = "other"
"""The path of answers that are no predictions; they belong to no model."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class RequestCount(Record):
    """Answers of one kind."""

    path: str
    """`/predict`, an infer path, or `other`."""

    version: str
    """That answered; empty where none did."""

    status: int
    """HTTP status."""

    count: int
    """How many."""


class Histogram(Record):
    """How many observations of one version fell between two bounds."""

    version: str
    """The version."""

    counts: tuple[int, ...]
    """Per bound, those at most as large and larger than the bound before; last: all larger ones."""

    total: float
    """Sum of the observations."""


class MetricsSnapshot(Record):
    """Everything one replica has counted of a model since it started."""

    requests: tuple[RequestCount, ...] = ()
    seconds: tuple[Histogram, ...] = ()
    batch_rows: tuple[Histogram, ...] = ()
    queue_rows: int = 0


class RequestMetrics:
    """Counts answers. Belongs to one event loop; costs less than a microsecond an answer."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, list[int]] = {}
        self._totals: dict[str, float] = {}

    def answered(self, path: str, version: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests[path, version, status] += 1
        if status == 200:
            counts = self._seconds.get(version)
            if counts is None:
                counts = self._seconds[version] = [0] * (len(SECONDS) + 1)
            counts[bisect_left(SECONDS, seconds)] += 1
            self._totals[version] = self._totals.get(version, 0.0) + seconds

    def snapshot(
        self, batch_sizes: Mapping[str, Counter[int]], *, queue_rows: int
    ) -> MetricsSnapshot:
        """The counts so far.

        Args:
            batch_sizes: By version, how many forward passes had so many rows.
            queue_rows: That wait now.
        """
        return MetricsSnapshot(
            requests=tuple(
                RequestCount(path=path, version=version, status=status, count=count)
                for (path, version, status), count in self._requests.items()
            ),
            seconds=tuple(
                Histogram(version=version, counts=tuple(counts), total=self._totals[version])
                for version, counts in self._seconds.items()
            ),
            batch_rows=tuple(_rows(version, sizes) for version, sizes in batch_sizes.items()),
            queue_rows=queue_rows,
        )


def _rows(version: str, sizes: Counter[int]) -> Histogram:
    counts = [0] * (len(ROWS) + 1)
    for size, count in sizes.items():
        counts[bisect_left(ROWS, size)] += count
    total = sum(size * count for size, count in sizes.items())
    return Histogram(version=version, counts=tuple(counts), total=total)


class ReplicaMetrics(Record):
    """One replica's share of an answer to Prometheus, for one of its models."""

    model: str
    """The model's name."""

    replica: str
    """Its id."""

    active_version: int | None
    """The version that answers there; None: none can."""

    snapshot: MetricsSnapshot
    """What it has counted."""


def exposition(application: str, replicas: Iterable[ReplicaMetrics]) -> bytes:
    """The text format that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_Collector(application, tuple(replicas)))
    return generate_latest(registry)


class _Collector:
    """What prometheus_client asks for."""

    def __init__(self, application: str, replicas: tuple[ReplicaMetrics, ...]) -> None:
        self._application = application
        self._replicas = replicas

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        where = ("application", "model", "replica")
        requests = CounterMetricFamily(
            "raymi_requests", "Answers.", labels=(*where, "version", "path", "status")
        )
        seconds = HistogramMetricFamily(
            "raymi_request_seconds", "Time of answers with status 200.", labels=(*where, "version")
        )
        rows = HistogramMetricFamily(
            "raymi_batch_rows", "Rows in one forward pass.", labels=(*where, "version")
        )
        queue = GaugeMetricFamily("raymi_queue_rows", "Rows that wait.", labels=where)
        active = GaugeMetricFamily("raymi_active_version", "The one that answers.", labels=where)
        for replica in self._replicas:
            here = (self._application, replica.model, replica.replica)
            snapshot = replica.snapshot
            for r in snapshot.requests:
                model = "" if r.path == OTHER else replica.model
                labels = (self._application, model, replica.replica)
                requests.add_metric((*labels, r.version, r.path, str(r.status)), r.count)
            for family, bounds, histograms in (
                (seconds, SECONDS, snapshot.seconds),
                (rows, ROWS, snapshot.batch_rows),
            ):
                for h in histograms:
                    family.add_metric((*here, h.version), _cumulative(bounds, h.counts), h.total)
            queue.add_metric(here, snapshot.queue_rows)
            if replica.active_version is not None:
                active.add_metric(here, replica.active_version)
        return (requests, seconds, rows, queue, active)


def _cumulative(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each holds all that are smaller."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, map(float, bounds)), "+Inf"), counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
