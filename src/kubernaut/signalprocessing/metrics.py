"""The metrics of signal processing; processing and enrichment have the names and labels of the Go project."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubernaut.api.vocabulary import Phase


class PolicyMetrics:
    """Versions and decisions of the policy."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reloads = Counter("signalprocessing_policy_reload_total", "Policy versions loaded.", registry=registry)
        self._errors = Counter(
            "signalprocessing_policy_reload_errors_total", "Policy versions rejected.", registry=registry
        )
        self._when = Gauge(
            "signalprocessing_policy_last_reload_timestamp_seconds",
            "When the policy in force was loaded.",
            registry=registry,
        )
        self._is_good = Gauge(
            "signalprocessing_policy_last_reload_successful",
            "1 when the newest policy version is in force, 0 when it was rejected.",
            registry=registry,
        )
        self._info = Gauge("signalprocessing_policy_info", "The policy in force.", ["hash"], registry=registry)
        self._uses_kept = Gauge(
            "signalprocessing_policy_last_known_good",
            "1 while a kept version decides because the files at the start were rejected.",
            registry=registry,
        )
        self._fallbacks = Counter(
            "signalprocessing_policy_fallback_total",
            "Policy rules that failed or had an invalid result.",
            ["rule"],
            registry=registry,
        )
        self._decisions = Histogram(
            "signalprocessing_policy_decision_duration_seconds",
            "Time of one decision, the round trip to the policy process included.",
            buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1.0),
            registry=registry,
        )

    def loaded(self, policy_hash: str, *, is_kept: bool = False) -> None:
        """A version is in force; a kept one where the files at the start were rejected."""
        self._uses_kept.set(int(is_kept))
        self._reloads.inc()
        self._when.set(time.time())
        self._is_good.set(1)
        self._info.clear()
        self._info.labels(policy_hash).set(1)

    def restored(self) -> None:
        """The files hold the version in force again."""
        self._uses_kept.set(0)
        self._is_good.set(1)

    def rejected(self) -> None:
        """A version was rejected; the previous one stays in force."""
        self._errors.inc()
        self._is_good.set(0)

    def fell_back(self, rule: str) -> None:
        self._fallbacks.labels(rule).inc()

    def decided(self, seconds: float) -> None:
        self._decisions.observe(seconds)


class ShadowMetrics:
    """What a shadow policy would decide."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._compared = Counter(
            "signalprocessing_policy_shadow_total",
            "Signals by what a shadow policy made of them: same, different, failed (a rule of it), skipped.",
            ["result"],
            registry=registry,
        )
        self._disagreements = Counter(
            "signalprocessing_policy_shadow_disagreements_total",
            "Parts of decisions that a shadow policy decides otherwise.",
            ["part"],
            registry=registry,
        )
        self._info = Gauge(
            "signalprocessing_policy_shadow_info", "The shadow policy that is loaded.", ["hash"], registry=registry
        )

    def loaded(self, policy_hash: str) -> None:
        """A shadow is loaded; none with an empty hash."""
        self._info.clear()
        if policy_hash:
            self._info.labels(policy_hash).set(1)

    def compared(self, result: str) -> None:
        self._compared.labels(result).inc()

    def disagreed(self, parts: Iterable[str]) -> None:
        for part in parts:
            self._disagreements.labels(part).inc()


class ProcessingMetrics:
    """Phases and status writes of signals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter(
            "signalprocessing_processing_total",
            "Phases of signals by result.",
            ["phase", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "signalprocessing_processing_duration_seconds",
            "Duration of a phase; for `completed` since the signal was first seen.",
            ["phase"],
            registry=registry,
        )
        self._enrichment_errors = Counter(
            "signalprocessing_enrichment_errors_total",
            "Enrichments that were incomplete or failed.",
            ["error_type"],
            registry=registry,
        )
        self._writes = Counter(
            "signalprocessing_status_writes_total",
            "Status patches sent to the API server.",
            ["result"],
            registry=registry,
        )

    def attempt(self, phase: Phase) -> None:
        self._total.labels(phase.lower(), "attempt").inc()

    def succeeded(self, phase: Phase, seconds: float | None = None) -> None:
        self._total.labels(phase.lower(), "success").inc()
        if seconds is not None:
            self._duration.labels(phase.lower()).observe(seconds)

    def failed(self, phase: Phase) -> None:
        self._total.labels(phase.lower(), "failure").inc()

    def enrichment_failed(self, error_type: str) -> None:
        self._enrichment_errors.labels(error_type).inc()

    def wrote(self, result: str) -> None:
        self._writes.labels(result).inc()
