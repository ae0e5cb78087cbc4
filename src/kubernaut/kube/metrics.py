"""The metrics of a controller, under the names of controller-runtime, so that its dashboards work."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ObservedCache(Protocol):
    """What is shown of a cache; an informer is one."""

    @property
    def kind(self) -> object: ...

    @property
    def staleness(self) -> float: ...

    def __len__(self) -> int: ...


class KubeMetrics:
    """One per registry; queues, controllers and recorders of a process share it and are told apart by label."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        at = registry if registry is not None else CollectorRegistry()
        queue = ["name"]
        self.queue_depth = Gauge("workqueue_depth", "Items in the queue.", queue, registry=at)
        self.queue_adds = Counter("workqueue_adds", "Items added.", queue, registry=at)
        self.queue_retries = Counter("workqueue_retries", "Items requeued after a failure.", queue, registry=at)
        self.queue_wait = Histogram(
            "workqueue_queue_duration_seconds",
            "How long items waited in the queue.",
            queue,
            registry=at,
            buckets=_BUCKETS,
        )
        self.queue_work = Histogram(
            "workqueue_work_duration_seconds",
            "How long processing of items took.",
            queue,
            registry=at,
            buckets=_BUCKETS,
        )
        self.queue_unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Total age of the items in processing.", queue, registry=at
        )
        self.queue_longest = Gauge(
            "workqueue_longest_running_processor_seconds", "Age of the oldest item in processing.", queue, registry=at
        )
        controller = ["controller"]
        self.reconciles = Counter(
            "controller_runtime_reconcile",
            "Reconciles by result: success, requeue_after, error or terminal_error.",
            [*controller, "result"],
            registry=at,
        )
        self.reconcile_errors = Counter(
            "controller_runtime_reconcile_errors", "Reconciles that failed.", controller, registry=at
        )
        self.reconcile_terminal = Counter(
            "controller_runtime_terminal_reconcile_errors",
            "Reconciles that failed and are not retried.",
            controller,
            registry=at,
        )
        self.reconciles_overdue = Gauge(
            "controller_runtime_reconciles_overdue",
            "Reconciles that run longer than their time limit.",
            controller,
            registry=at,
        )
        self.reconcile_time = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long reconciles took.",
            controller,
            registry=at,
            buckets=_BUCKETS,
        )
        self.max_concurrent_reconciles = Gauge(
            "controller_runtime_max_concurrent_reconciles", "Configured workers.", controller, registry=at
        )
        self.workers_active = Gauge(
            "controller_runtime_active_workers", "Workers that are reconciling.", controller, registry=at
        )
        kind = ["kind"]
        self.cache_objects = Gauge("kubernaut_cache_objects", "Objects in a cache.", kind, registry=at)
        self.cache_staleness = Gauge(
            "kubernaut_cache_staleness_seconds",
            "Since the API server sent anything for a cache; it sends a bookmark each minute at least.",
            kind,
            registry=at,
        )
        self.leader = Gauge(
            "leader_election_master_status", "1 while this replica holds the lease.", ["name"], registry=at
        )
        self.undecodable = Counter(
            "kubernaut_kubernetes_objects_undecodable",
            "Objects of a list or a watch that were skipped because they do not fit their type.",
            ["kind"],
            registry=at,
        )
        self.events_written = Counter(
            "kubernaut_kubernetes_events_written", "Kubernetes Events created or updated.", registry=at
        )
        self.events_dropped = Counter(
            "kubernaut_kubernetes_events_dropped",
            "Kubernetes Events not written: rate_limited, queue_full, rejected, failed or shutdown.",
            ["reason"],
            registry=at,
        )

    def watch_cache(self, cache: ObservedCache) -> None:
        """Show size and staleness of a cache, as of the moment somebody asks."""
        kind = str(cache.kind)
        self.cache_objects.labels(kind).set_function(lambda: len(cache))
        self.cache_staleness.labels(kind).set_function(lambda: cache.staleness)
