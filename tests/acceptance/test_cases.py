"""What real senders send, posted to `kubernaut up`: the signals that a user expects, one row per case.

The files are shaped as public reports, receivers' READMEs and test files show them.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from acceptance.conftest import start_up, stop_up
from kubernaut.api.signals import SignalProcessing
from kubernaut.embedded.demo.scenario import SIGNALS
from kubernaut.embedded.stack import NAMESPACE
from kubernaut.gateway.requests import REQUESTS
from kubernaut.kube.client import ClientConfig, ListOptions, open_client
from kubernaut.kube.objects import Key
from support.case_cluster import CaseCluster
from support.eventually import eventually
from support.services import enterable_directory

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(120)]

WEBHOOK = Path(__file__).resolve().parents[1] / "cases/webhook"
WRITTEN_AT = datetime(2026, 11, 29, 16, 26, 7, tzinfo=UTC)
"""When most of the notifications were sent, by the times in them."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One signal. Targets are `Kind[.group]/name[@namespace]`; without a namespace, they are in the shop."""

    target: str
    owner: str = ""
    """The target itself, when empty."""
    severity: str | None = "critical"
    """Any of the five words, when None."""
    environment: str = "Production"
    priority: str = "P0"
    occurrences: int = 1
    cluster: str = ""
    is_degraded: bool = False
    is_resolved: bool = False
    chain: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Case:
    files: tuple[str, ...]
    signals: tuple[Expected, ...]


POD = "Pod/api-7d4b-x2x9p"
API = "Deployment/api"
CRASH = Expected(target=POD, owner=API)
WARNING = {"severity": "warning", "priority": "P1"}
INFO = {"severity": "info", "priority": "P2"}


def case(*files, signals=()):
    name = "+".join(file.split("-")[0] or "deleted" for file in files)
    return pytest.param(Case(files, tuple(signals)), id=name)


def about(target, **more):
    return Expected(target=target, **more)


UNKNOWN = {"severity": "unknown", "priority": "P2"}
CASES = [
    case("p01-tabs", signals=[CRASH]),
    case("p02-escaped-emoji", signals=[CRASH]),
    case("p03-watchdog", signals=[CRASH]),
    case("p05-bom", signals=[CRASH]),
    case("p06-slashes", signals=[CRASH]),
    case("p07-nul", signals=[about(API, name="Nul�l")]),
    case(
        "w01-kubejobfailed",
        "w01b-kubejobfailed-aggregated",
        signals=[
            about("Job/nightly-report-29586120", owner="CronJob/nightly-report", **WARNING, occurrences=2),
        ],
    ),
    case(
        "w01-kubejobfailed",
        "w02-exported-pod",
        signals=[about("Job/nightly-report-29586120", owner="CronJob/nightly-report", **WARNING), CRASH],
    ),
    case("w04-external-label", signals=[about(POD, owner=API, cluster="home")]),
    case(
        "w06-two-clusters",
        "w06b-one-of-them",
        "z01-firing",
        signals=[about(API, cluster="eu-1"), about(API, cluster="us-1"), about(API, name="ApiDown")],
    ),
    case("w07-grafana", signals=[about(API)]),
    case("w07b-grafana-test"),
    case("w10-openshift-watchdog"),
    case("w11-resolved-only"),
    case("w12-unicode", signals=[about(API, **UNKNOWN)]),
    case("w13-icmp"),
    case("w14-no-status", signals=[about(API, **WARNING)]),
    case(
        "w15-common-only",
        signals=[about("Deployment/cart2", name="HighMemoryUsage", severity="high", priority="P1")],
    ),
    case(
        "w18-one-in-the-future",
        signals=[about(f"Deployment/clock-{name}", is_degraded=True) for name in "ab"],
    ),
    case("w18b-zero-start", signals=[about("Deployment/clock-c", is_degraded=True)]),
    case(
        "w18c-zero-and-good",
        signals=[about(f"Deployment/clock-{name}", is_degraded=True) for name in "de"],
    ),
    case("w19-twice", signals=[about("Deployment/twice", **WARNING)]),
    case(
        "w19b-firing-and-resolved",
        signals=[about("Deployment/twice", **WARNING, is_resolved=True)],
    ),
    case("w20-odd-labels", signals=[about("Deployment/odd", **UNKNOWN)]),
    case("w20b-long-name", signals=[about("Deployment/longname")]),
    case("w21-vmalert", signals=[about(API, **WARNING)]),
    case("w22-mimir", signals=[about(POD, owner=API, **WARNING)]),
    case(
        "w23a-static-pod",
        "w23b-static-pod",
        "w23c-node",
        signals=[
            about("Pod/etcd-cp-1@kube-system"),
            about("Pod/kube-apiserver-cp-1@kube-system"),
            about("Node/cp-1@", severity="warning", environment="Unknown", priority="P2"),
        ],
    ),
    case(
        "w24-role-label",
        signals=[about(f"Pod/{name}-db-0", is_degraded=True) for name in ("users", "billing")],
    ),
    case("w24b-event-label", signals=[about("Pod/users-db-0", is_degraded=True)]),
    case("w25-plain-owner", signals=[about("Pod/session-1", owner="Session.training.example/s1", **WARNING, chain=1)]),
    case(
        "w26-knative",
        signals=[
            about("Pod/hello-00001-deployment-5d8-abcde@fn", owner="Service.serving.knative.dev/hello@fn", chain=5)
        ],
    ),
    case(
        "w26-knative",
        "-Pod/hello-00001-deployment-5d8-abcde@fn",
        "w26b-knative-resolved",
        signals=[
            about(
                "Pod/hello-00001-deployment-5d8-abcde@fn",
                owner="Service.serving.knative.dev/hello@fn",
                chain=5,
                is_resolved=True,
            )
        ],
    ),
    case("w27-rollout-pod", signals=[about("Pod/checkout-6c9-zzzzz", owner="Rollout.argoproj.io/checkout", chain=2)]),
    case("w27b-rollout-label", signals=[about("Rollout.argoproj.io/checkout")]),
    case(
        "w28a-info",
        "w28b-critical",
        signals=[about("Deployment/growing", **INFO), about("Deployment/growing")],
    ),
    case("w29-kubernetes-pod-name", signals=[CRASH]),
    case("w29b-pod-name", signals=[CRASH]),
    case(
        "w30-targetdown",
        signals=[about("Namespace/shop@", **WARNING)] * 2,
    ),
    case("w31-hpa", signals=[about("HorizontalPodAutoscaler.autoscaling/api", **WARNING, is_degraded=True)]),
    case("w47-hpa", signals=[about("HorizontalPodAutoscaler.autoscaling/api", **WARNING, is_degraded=True)]),
    case("w32-uppercase", signals=[about("Namespace/shop@", is_degraded=True)]),
    case("w33-lone-surrogate", signals=[about(API)]),
    case("w33b-invalid-utf8", signals=[about(API)]),
    case("w34-ansi", signals=[about("Deployment/ansi", **UNKNOWN, is_degraded=True)]),
    case("w40-labels-differ-by-replica", signals=[about("Deployment/cart2", occurrences=2)]),
    case("w43-service-and-ingress", signals=[about("Ingress.networking.k8s.io/api", is_degraded=True)]),
    case("w44-pvc", signals=[about("PersistentVolumeClaim/data-users-db-0", is_degraded=True)]),
    case(
        "w45-namespace-gone",
        signals=[about("Pod/x-1@gone", environment="Unknown", priority="P1", is_degraded=True)],
    ),
    case("w46-cronjob", signals=[about("CronJob.batch/nightly-report", **WARNING)]),
    case("w48-istio", signals=[about(API)]),
    case("w49-workload-labels", signals=[about(API, **INFO)]),
    case("w50-created-by", signals=[about("ReplicaSet/api-7d4b", owner=API, **WARNING)]),
    case(
        "w51-pod-and-node",
        "w51b-pod-and-other-node",
        signals=[
            about("Pod/session-1", owner="Session.training.example/s1", occurrences=2),
            about("Pod/orders-db-1", owner="Cluster.postgresql.cnpg.io/orders-db", occurrences=2),
        ],
    ),
    case(
        "w52-severities",
        signals=[
            about(f"Deployment/sev-{number:02}", name=f"S{number}", severity=None, is_degraded=True)
            for number in range(30)
        ],
    ),
    case(
        "r01-grafana-firing",
        "r02-grafana-resolved",
        signals=[about(API, is_resolved=True), about("Pod/users-db-0", **WARNING, is_degraded=True)],
    ),
    case("r03-grafana-nodata", signals=[about(API, name="DatasourceNoData")]),
    case("r04-grafana-test"),
    case("r05-vmalert-firing", signals=[about(API, **WARNING, cluster="home")]),
    case(
        "r05-vmalert-firing", "r06-vmalert-resolved", signals=[about(API, **WARNING, cluster="home", is_resolved=True)]
    ),
    case(
        "s01-kubesphere",
        signals=[about("Node/worker-1@", environment="Unknown", priority="P1", cluster="default")],
    ),
    case("s02-amazon-sns", signals=[about(POD, owner=API, name="HighErrorRate")]),
    case("s03-scraped-service-labels", signals=[about(API, **WARNING)]),
    case("s04-version-3", signals=[about(API, **WARNING)]),
    case(
        "s05-openshift-platform",
        signals=[
            about("Node/worker-2@", environment="Unknown", priority="P1"),
            about("Namespace/openshift-monitoring@", environment="Unknown", priority="P1"),
        ],
    ),
    case("s06-alertmanager-api", signals=[about(API, name="ApiSlow")]),
    case("s07-posted-alerts", signals=[about(POD, owner=API, **WARNING)]),
    case("s08-kind-and-name", signals=[about(API)]),
    case("s10-oncall-firing", signals=[about(API)]),
    case("s10-oncall-firing", "s11-oncall-resolved", signals=[about(API, is_resolved=True)]),
    case(
        "s12-azure-monitor",
        signals=[about(POD, owner=API, severity="high", priority="P1", cluster="aks0001", name="KubePodCrashLooping")],
    ),
    case(
        "s12-azure-monitor",
        "s13-azure-resolved",
        signals=[about(POD, owner=API, severity="high", priority="P1", cluster="aks0001", is_resolved=True)],
    ),
    case("s09-aks", signals=[about(POD, owner=API, **UNKNOWN, cluster="prod-aks")]),
    case(
        "z01-firing",
        "z02-resolved-zero-and-good",
        "z03-resolved-zero",
        signals=[about(API, is_resolved=True), about("Deployment/cart2", **WARNING)],
    ),
]


@dataclass(frozen=True)
class Shop:
    """One `kubernaut up`, with namespaces of one case's own in its cluster."""

    webhook: str
    cluster: CaseCluster
    shop: str
    functions: str
    moved_by: timedelta = field(default_factory=lambda: since_written())

    def located(self, text: str) -> tuple[str, str, str, str]:
        """Kind, group, name and namespace of `Kind[.group]/name[@namespace]`."""
        kind, _, rest = text.partition("/")
        name, at, namespace = rest.partition("@")
        kind, _, group = kind.partition(".")
        names = {"shop": self.shop, "fn": self.functions}
        if kind == "Namespace":
            name = names.get(name, name)
        return kind, group, name, names.get(namespace, namespace) if at else self.shop

    async def post(self, file: str) -> httpx2.Response:
        body = (WEBHOOK / f"{file}.json").read_bytes()
        body = re.sub(rb"\bshop\b", self.shop.encode(), body)
        body = re.sub(rb"\bfn\b", self.functions.encode(), body)
        async with httpx2.AsyncClient(timeout=20) as http:
            return await http.post(
                self.webhook, content=moved(body, self.moved_by), headers={"content-type": "application/json"}
            )

    async def signals(self) -> dict[str, SignalProcessing]:
        listed = await self.cluster.client.list(SIGNALS, ListOptions(namespace=NAMESPACE))
        return {signal.metadata.name: signal for signal in listed.items}

    async def difference(self, signal: SignalProcessing, expected: Expected) -> dict[str, tuple[object, object]]:
        """What of a signal is not as expected: what it is, and what it should be."""
        about, status = signal.spec.signal, signal.status
        target = about.target_resource
        request = await self.cluster.client.get(REQUESTS, Key(NAMESPACE, signal.metadata.name.removeprefix("sp-")))
        kind, group, name, namespace = self.located(expected.target)
        owner_kind, owner_group, owner_name, owner_namespace = self.located(expected.owner or expected.target)
        owner = ":".join(part for part in (expected.cluster, f"{owner_namespace}:{owner_kind}:{owner_name}") if part)
        pairs: dict[str, tuple[object, object]] = {
            "target": ((target.kind, target.name, target.namespace), (kind, name, namespace)),
            "fingerprint": (about.fingerprint, hashlib.sha256(owner.encode()).hexdigest()),
            "environment": (status.environment_classification.environment, expected.environment),
            "occurrences": (request.status.deduplication.occurrence_count, expected.occurrences),
            "cluster": (about.cluster_id, expected.cluster),
            "degraded": (status.kubernetes_context.degraded_mode, expected.is_degraded),
            "resolved": ("kubernaut.ai/resolved-at" in signal.metadata.annotations, expected.is_resolved),
        }
        if expected.severity is not None:
            pairs["severity"] = (status.signal_classification.severity, expected.severity)
            pairs["priority"] = (status.priority_assignment.priority, expected.priority)
        if group:
            pairs["group"] = (target.api_version.rpartition("/")[0], group)
        if expected.name is not None:
            pairs["name"] = (about.name, expected.name)
        chain = status.kubernetes_context.owner_chain
        if expected.chain is not None:
            pairs["chain"] = (len(chain), expected.chain)
            last = (chain[-1].kind, chain[-1].api_version.rpartition("/")[0], chain[-1].name)
            pairs["last owner"] = (last, (owner_kind, owner_group, owner_name))
        return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}


def since_written() -> timedelta:
    """By how much a case is moved that is sent now; some of its times are minutes ahead, and a run takes longer."""
    return datetime.now(UTC) - WRITTEN_AT


def moved(body: bytes, by: timedelta) -> bytes:
    """The body with its times moved to now, so that what lay in the future still does."""

    def move(at: re.Match[bytes]) -> bytes:
        return (datetime.fromisoformat(at[0].decode()) + by).isoformat().encode()

    return re.sub(rb"2026-11-\d\dT[\d:.]+(?=Z|[+-]\d\d:\d\d)", move, body)


@pytest.fixture(scope="module")
def webhook(kubernetes_with_crds):
    async def prepare():
        async with open_client(ClientConfig(kubeconfig=kubernetes_with_crds, field_manager="test")) as client:
            await CaseCluster(client).add_common()

    asyncio.run(prepare())
    with enterable_directory() as path:
        up = start_up(path / "data", "--kubeconfig", str(kubernetes_with_crds), "--yes")
        yield up.webhook
        assert stop_up(up) == 0


@pytest.fixture
async def shop(webhook, kubernetes_with_crds):
    async with open_client(ClientConfig(kubeconfig=kubernetes_with_crds, field_manager="test")) as client:
        cluster = CaseCluster(client)
        yield Shop(webhook, cluster, *await cluster.add_shop())


@pytest.mark.parametrize("row", CASES)
async def test_what_real_senders_send_becomes_the_signals_that_a_user_expects(shop, row):
    before = await shop.signals()

    answers = []
    for step in row.files:
        if step.startswith("-"):
            kind, _, name, namespace = shop.located(step[1:])
            await shop.cluster.delete(kind, name, namespace)
        else:
            answers.append(await shop.post(step))

    assert [answer.status_code // 100 for answer in answers] == [2] * len(answers), [a.text for a in answers]
    new: list[SignalProcessing] = []
    await eventually(lambda: all_final(shop, before, new), timeout=20)
    assert await differences(shop, new, row.signals) == []


async def all_final(shop, before, new):
    """Whether every signal since then has ended; `new` gets them."""
    new[:] = [signal for name, signal in (await shop.signals()).items() if name not in before]
    return all(signal.status.phase and signal.status.phase.is_final for signal in new)


async def differences(shop, signals, expected):
    """Which signals are missing, which are too many, and how each other one is not as expected."""
    left, found = [*signals], []
    for wanted in expected:
        compared = [(await shop.difference(signal, wanted), signal) for signal in left]
        if not compared:
            found.append(f"missing: {wanted}")
            continue
        least, nearest = min(compared, key=lambda pair: len(pair[0]))
        left.remove(nearest)
        if least:
            found.append(f"{wanted.target}: {least}")
    return found + [f"not expected: {signal.spec.signal.target_resource}" for signal in left]
