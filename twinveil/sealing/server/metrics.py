"""What the server counts, for Prometheus: outcomes by reason, and where a verification's time goes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from twinveil.sealing.reasons import Reason
from twinveil.sealing.server.verify import STAGES, Verdict

_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Metrics:
    """In a registry of its own, so that several servers of one process do not count together."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._verifications = Counter(
            "twinveil_sealing_verifications",
            "Envelopes verified, by what the device was told and the reason.",
            ("outcome", "reason"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "twinveil_sealing_stage_seconds",
            "Time of each stage of a verification.",
            ("stage",),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        for reason in Reason:
            self._verifications.labels(reason.outcome.value, reason.value)
        for stage in STAGES:
            self._seconds.labels(stage)

    def count(self, verdict: Verdict) -> None:
        self._verifications.labels(verdict.outcome.value, verdict.reason.value).inc()
        for stage, seconds in verdict.seconds.items():
            self._seconds.labels(stage).observe(seconds)
