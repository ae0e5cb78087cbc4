"""Finished signals reach a receiver at least once, each with one id, whatever happens to the receiver or to us."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.api.signals import (
    BusinessClassification,
    EnvironmentClassification,
    KubernetesContext,
    PriorityAssignment,
    SignalProcessing,
    SignalStatus,
)
from kubernaut.api.vocabulary import Environment, Phase, Priority
from kubernaut.embedded.ports import free_port
from kubernaut.kube.informer import Informer
from kubernaut.ops.backoff import Backoff
from kubernaut.ops.http.server import Listen, open_server
from kubernaut.ops.settings import SettingsError, load
from kubernaut.signalprocessing.config import SignalProcessingConfig
from kubernaut.signalprocessing.kinds import SIGNAL
from kubernaut.signalprocessing.sinks import cloud_events, sink
from kubernaut.signalprocessing.sinks.config import SinkConfig
from kubernaut.signalprocessing.sinks.dispatch import SinkDispatcher
from kubernaut.signalprocessing.sinks.metrics import SinkMetrics
from kubernaut.signalprocessing.sinks.sink import Sink, open_sink
from support.eventually import eventually
from support.signals import a_signal

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"
RECEIVER = Path(__file__).resolve().parents[3] / "docs/examples/receiver.py"


def finished(
    *,
    priority: str = "P0",
    environment: str = "Production",
    team: str = "checkout",
    ended: timedelta = timedelta(hours=1),
    phase: Phase = Phase.COMPLETED,
) -> SignalProcessing:
    """A signal that ends that much after now, as it is for a sink that was there before."""
    now = datetime.now(UTC)
    status = SignalStatus(
        phase=phase,
        start_time=now,
        completion_time=now + ended,
        kubernetes_context=KubernetesContext(custom_labels={"team": [team]} if team else {}),
        environment_classification=EnvironmentClassification(
            environment=Environment(environment), source="namespace-labels", classified_at=now
        ),
        priority_assignment=PriorityAssignment(
            priority=Priority(priority), source="rego-policy", assigned_at=now, policy_name="a-rule"
        ),
        business_classification=BusinessClassification(business_unit="retail"),
    )
    return a_signal(status=status)


@dataclass
class Receiver:
    """Answers as told, and keeps what it was sent."""

    answers: list[int] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        if json.loads(body)["id"] in self.refused:
            return Response(status_code=400)
        status = self.answers.pop(0) if self.answers else 204
        if status < 300:
            self.requests.append((dict(request.headers), body))
        return Response(status_code=status)

    @property
    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for _, body in self.requests]


@asynccontextmanager
async def open_receiver(port: int = 0, **more) -> AsyncIterator[Receiver]:
    receiver = Receiver(**more)
    app = Starlette(routes=[Route("/", receiver.answer, methods=["POST"])])
    async with open_server(app, Listen(port=port), shutdown_timeout=1) as server:
        receiver.url = f"{server.url}/"
        yield receiver


@asynccontextmanager
async def a_sink(directory: Path, url: str, registry: CollectorRegistry | None = None, **more) -> AsyncIterator[Sink]:
    config = SinkConfig(name="test", url=url, **more)
    async with open_sink(config, directory, SinkMetrics(registry or CollectorRegistry()), "eu-1") as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sink, "RETRY", Backoff(initial_delay=0.01, max_delay=0.02))


async def test_a_finished_signal_is_delivered_once_also_after_a_restart(tmp_path):
    signal = finished()
    async with open_receiver() as receiver:
        for _ in range(2):
            async with a_sink(tmp_path, receiver.url) as opened:
                for _ in range(3):
                    opened.offer(signal)
                await eventually(lambda: receiver.requests and not opened._pending and not opened._incoming)

    assert receiver.ids == [cloud_events.event_id(signal)]


async def test_a_receiver_that_is_away_gets_everything_when_it_is_back_also_from_another_process(tmp_path):
    signals, port = [finished() for _ in range(20)], free_port()
    url = f"http://127.0.0.1:{port}/"
    async with a_sink(tmp_path, url) as opened:
        for signal in signals:
            opened.offer(signal)
        await eventually(lambda: opened._failures > 1)
    async with a_sink(tmp_path, url) as opened, open_receiver(port) as receiver:
        await eventually(lambda: len(receiver.requests) == 20, timeout=10)

    assert sorted(receiver.ids) == sorted(map(cloud_events.event_id, signals))


@pytest.mark.parametrize("status", [500, 503, 429, 404, 302])
async def test_whatever_is_no_success_is_sent_again(tmp_path, status):
    async with open_receiver(answers=[status, status]) as receiver, a_sink(tmp_path, receiver.url) as opened:
        opened.offer(finished())

        await eventually(lambda: len(receiver.requests) == 1)


async def test_an_event_that_is_refused_holds_up_no_other_and_is_given_up_at_last(tmp_path, monkeypatch):
    registry, bad = CollectorRegistry(), finished()
    async with (
        open_receiver(refused={cloud_events.event_id(bad)}) as receiver,
        a_sink(tmp_path, receiver.url, registry, max_age=1.0) as opened,
    ):
        for signal in (bad, finished(), finished()):
            opened.offer(signal)
        await eventually(lambda: len(receiver.requests) == 2)
        await eventually(lambda: registry.get_sample_value(TOTAL, {"sink": "test", "outcome": "given_up"}) == 1)

    assert registry.get_sample_value(TOTAL, {"sink": "test", "outcome": "delivered"}) == 2
    assert registry.get_sample_value("signalprocessing_sink_pending_events", {"sink": "test"}) is not None


TOTAL = "signalprocessing_sink_events_total"


@pytest.mark.parametrize(
    ("signal", "wanted", "is_sent"),
    [
        (finished(), {}, True),
        (finished(phase=Phase.FAILED), {}, True),
        (finished(phase=Phase.CLASSIFYING), {}, False),
        (finished(ended=-timedelta(days=1)), {}, False),
        (finished(priority="P1"), {"priorities": (Priority.P0, Priority.P1)}, True),
        (finished(priority="P2"), {"priorities": (Priority.P0, Priority.P1)}, False),
        (finished(environment="Staging"), {"environments": (Environment.PRODUCTION,)}, False),
        (finished(), {"environments": (Environment.PRODUCTION,)}, True),
        (finished(), {"teams": ("checkout",)}, True),
        (finished(), {"teams": ("search",)}, False),
        (finished(team=""), {"teams": ("retail",)}, True),
        (finished(), {"teams": ("checkout",), "priorities": (Priority.P3,)}, False),
    ],
)
async def test_only_what_is_wanted_is_sent(tmp_path, signal, wanted, is_sent):
    async with a_sink(tmp_path, "http://127.0.0.1:9/", **wanted) as opened:
        opened.offer(signal)

        assert bool(opened._incoming) is is_sent


async def test_what_does_not_fit_is_taken_from_the_cluster_when_there_is_room(tmp_path):
    signals = [finished() for _ in range(10)]
    async with open_receiver() as receiver, a_sink(tmp_path, receiver.url, max_pending=2) as opened:
        opened.relist = lambda: signals
        for signal in signals:
            opened.offer(signal)
        assert len(opened._incoming) == 2

        await eventually(lambda: len(receiver.requests) == 10)


async def test_an_event_is_a_cloud_event_and_its_signature_verifies(tmp_path):
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "token").write_text("t0ken\n")
    signal = finished()
    async with (
        open_receiver() as receiver,
        a_sink(tmp_path, receiver.url, secret_file=tmp_path / "key", token_file=tmp_path / "token") as opened,
    ):
        opened.offer(signal)
        await eventually(lambda: receiver.requests)

    ((headers, body),) = receiver.requests
    event = json.loads(body)
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["webhook-id"] == event["id"]
    expected = cloud_events.sign(cloud_events.secret_of(KEY), event["id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected
    assert (event["specversion"], event["type"]) == ("1.0", "ai.kubernaut.signal.completed")
    assert event["source"].startswith("/clusters/eu-1/namespaces/")
    assert datetime.fromisoformat(event["time"]) == signal.status.completion_time
    assert (event["priority"], event["environment"], event["team"]) == ("P0", "Production", "checkout")
    # CloudEvents: names of attributes are lower-case letters and digits, and short.
    assert all(name.isalnum() and name == name.lower() and len(name) <= 20 for name in event)
    assert event["data"]["decision"]["policyName"] == "a-rule"


async def test_every_signal_that_the_controller_sees_is_offered_to_each_sink(tmp_path):
    async with open_receiver() as first, open_receiver() as second:
        sinks = tuple(SinkConfig(name=name, url=each.url) for name, each in (("a", first), ("b", second)))
        config = SignalProcessingConfig(sinks=sinks, sink_dir=tmp_path)
        signals = Informer(None, SIGNAL)  # type: ignore[arg-type]  # nothing is asked of a server
        dispatcher = SinkDispatcher(config, signals, SinkMetrics(CollectorRegistry()))
        earlier, signal = finished(), finished()
        signals.observe(earlier)  # by another replica, before this one leads
        async with dispatcher.running():
            signals.observe(msgspec.structs.replace(signal, status=SignalStatus(phase=Phase.ENRICHING)))
            metadata = msgspec.structs.replace(signal.metadata, resource_version="2")
            signals.observe(msgspec.structs.replace(signal, metadata=metadata))
            await eventually(lambda: len(first.requests) == len(second.requests) == 2)

    assert set(first.ids) == set(second.ids) == {cloud_events.event_id(earlier), cloud_events.event_id(signal)}
    assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == ["a.sqlite", "b.sqlite"]


def test_the_signature_is_that_of_standard_webhooks():
    """The example in their reference implementations."""
    body = b'{"test": 2432232314}'

    signature = cloud_events.sign(cloud_events.secret_of(KEY), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert signature == "v1,pZN3CVESPCUuihODVQNgWONmlcH9xCz9b1ykcK53XqY="


def test_texts_of_an_event_are_bounded():
    signal = finished()
    alert = msgspec.structs.replace(signal.spec.signal, annotations={"description": "x" * 400_000})
    signal = msgspec.structs.replace(signal, spec=msgspec.structs.replace(signal.spec, signal=alert))

    assert len(cloud_events.encode(signal)) < 64 * 1024


@pytest.mark.parametrize(
    ("sinks", "says"),
    [
        ([{"name": "a", "url": "http://h/"}] * 2, "two sinks have this name"),
        ([{"name": "../a", "url": "http://h/"}], "letters, digits"),
        ([{"name": "a", "url": "ftp://me:hunter2@h/"}], "http:// or https://"),
        ([{"name": "a", "url": "http://h/", "priorities": ["P9"]}], "P0, P1, P2, P3"),
        ([{"name": "a", "url": "http://h/", "enviroments": ["Production"]}], "environments"),
        ([{"name": "a"}], "url"),
    ],
)
def test_a_sink_that_cannot_be_is_refused_with_its_key(sinks, says):
    with pytest.raises(SettingsError, match="sinks") as error:
        load(SignalProcessingConfig, {"sinks": sinks})

    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("content", ["", "whsec_!!!", None])
async def test_a_key_that_is_none_is_named_and_not_shown(tmp_path, content):
    if content is not None:
        (tmp_path / "key").write_text(content)

    with pytest.raises(SettingsError, match="secretFile") as error:
        async with a_sink(tmp_path, "http://127.0.0.1:9/", secret_file=tmp_path / "key"):
            pass

    assert "!!!" not in str(error.value)


@asynccontextmanager
async def the_documented_receiver(alertmanager: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    port = free_port()
    environment = {"SECRET": KEY, "ALERTMANAGER": alertmanager, "PATH": ""}
    process = await asyncio.create_subprocess_exec(
        sys.executable, RECEIVER, str(port), env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}/", process
    finally:
        process.kill()
        await process.communicate()


async def test_the_documented_receiver_checks_prints_and_gives_alerts_to_an_alertmanager(tmp_path):
    (tmp_path / "key").write_text(KEY)
    posted: list[dict] = []

    async def alerts(request: Request) -> Response:
        posted.extend(await request.json())
        return Response()

    app = Starlette(routes=[Route("/api/v2/alerts", alerts, methods=["POST"])])
    signal = finished()
    async with (
        open_server(app, Listen(), shutdown_timeout=1) as alertmanager,
        the_documented_receiver(alertmanager.url) as (url, process),
        a_sink(tmp_path, url, secret_file=tmp_path / "key") as opened,
    ):
        opened.offer(signal)
        line = (await process.stdout.readline()).decode()
        await eventually(lambda: not opened._pending and not opened._incoming and not opened._in_flight)
        async with httpx2.AsyncClient() as http:
            forged = await http.post(url, content=b"{}", headers={"webhook-id": "x", "webhook-timestamp": "1"})

    assert line.split()[:2] == ["P0", "Production"]
    assert forged.status_code == 401
    ((alert),) = posted
    assert alert["labels"]["priority"] == "P0"
    assert alert["labels"]["alertname"] == signal.spec.signal.name
