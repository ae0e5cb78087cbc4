"""The metrics of signal processing; processing and enrichment have the names and labels of the Go project."""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import Phase
from kubernaut.signalprocessing.bounded_label import NONE, BoundedLabel


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
        self._loaded_at: float | None = None
        Gauge(
            "signalprocessing_policy_age_seconds", "Since the policy in force was loaded.", registry=registry
        ).set_function(lambda: time.monotonic() - self._loaded_at if self._loaded_at is not None else 0.0)
        self._info = Gauge("signalprocessing_policy_info", "The policy in force.", ["hash"], registry=registry)
        self._uses_kept = Gauge(
            "signalprocessing_policy_last_known_good",
            "1 while a kept version decides because the files at the start were rejected.",
            registry=registry,
        )
        self._differs = Gauge(
            "signalprocessing_policy_differs_between_replicas",
            "1 while another replica decides by another version of the policy.",
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
        self._loaded_at = time.monotonic()
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

    def differs(self, *, is_different: bool) -> None:
        """Another replica decides by another version, or no longer."""
        self._differs.set(int(is_different))

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


MAX_TEAMS, MAX_RULES = 50, 100
"""Different values of the labels `team` and `rule`; the policy may give any number."""

_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class DecisionMetrics:
    """What was decided about signals, and how long it took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._signals = Counter(
            "signalprocessing_signals_total",
            "Signals that ended, by result and decision; `none` where there is none.",
            ["result", "priority", "environment", "severity"],
            registry=registry,
        )
        self._teams = Counter(
            "signalprocessing_signals_by_team_total",
            f"Completed signals by the custom label `team`; `other` beyond {MAX_TEAMS} different ones.",
            ["team"],
            registry=registry,
        )
        self._rules = Counter(
            "signalprocessing_signals_by_rule_total",
            f"Completed signals by the policy rule that gave the priority; `other` beyond {MAX_RULES} different ones.",
            ["rule"],
            registry=registry,
        )
        self._latency = Histogram(
            "signalprocessing_signal_latency_seconds",
            "From the receipt of the alert to the end of its signal.",
            buckets=_LATENCIES,
            registry=registry,
        )
        self._open = Gauge("signalprocessing_open_signals", "Signals that have not ended.", registry=registry)
        self._team, self._rule = BoundedLabel(MAX_TEAMS), BoundedLabel(MAX_RULES)

    def watch(self, signals: Callable[[], Iterable[SignalProcessing]]) -> None:
        """Count the open ones of these signals whenever somebody asks."""
        self._open.set_function(lambda: sum(signal.status.completion_time is None for signal in signals()))

    def ended(self, signal: SignalProcessing) -> None:
        """A signal has ended; call it once for each."""
        status = signal.status
        priority, environment = status.priority_assignment, status.environment_classification
        severity = status.signal_classification and status.signal_classification.severity
        self._signals.labels(
            (status.phase or Phase.FAILED).lower(),
            priority.priority if priority else NONE,
            environment.environment.lower() if environment else NONE,
            severity or NONE,
        ).inc()
        if status.completion_time is not None:
            seconds = (status.completion_time - signal.spec.signal.received_time).total_seconds()
            self._latency.observe(max(0.0, seconds))
        if status.phase is Phase.COMPLETED:
            labels = status.kubernetes_context.custom_labels if status.kubernetes_context else {}
            self._teams.labels(self._team.value(next(iter(labels.get("team", [])), ""))).inc()
            self._rules.labels(self._rule.value(priority.policy_name if priority else "")).inc()
