"""A policy that decides beside the one in force and changes nothing."""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from kubernaut.cli import policy_shadow
from kubernaut.cli.errors import CommandError
from kubernaut.ops.http.problems import application
from kubernaut.ops.http.server import Listen, open_server
from kubernaut.signalprocessing.config import ClassifierConfig
from kubernaut.signalprocessing.metrics import PolicyMetrics, ShadowMetrics
from kubernaut.signalprocessing.policy import shadow, shadow_endpoint
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import open_live_policy
from kubernaut.signalprocessing.policy.sources import builtin
from support.eventually import eventually
from support.logs import capture_logs
from support.signals import a_context, a_signal

INPUT = PolicyInput(
    signal=a_signal(severity="critical").spec.signal, context=a_context(labels={"kubernaut.ai/environment": "staging"})
)
OTHER = builtin().files[0][1].replace('"Staging": {"critical": "P1"', '"Staging": {"critical": "P0"')


@asynccontextmanager
async def opened(path: Path, registry: CollectorRegistry):
    config = ClassifierConfig(policy_dir=None, shadow=path, hot_reload_interval=0.2)
    async with (
        open_live_policy(config, PolicyMetrics(registry)) as live,
        shadow.open_shadow(live, config, ShadowMetrics(registry)) as shadowed,
    ):
        yield shadowed


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"signalprocessing_policy_shadow_{name}", labels) or 0.0


async def test_a_disagreement_is_counted_listed_and_logged_and_the_decision_stands(tmp_path: Path):
    registry = CollectorRegistry()
    (tmp_path / "next.rego").write_text(OTHER)
    with capture_logs() as lines:
        async with opened(tmp_path / "next.rego", registry) as shadowed:
            decided = await shadowed.decide(INPUT)
            await eventually(lambda: shadowed.report().different == 1)
            report = shadowed.report()

    assert decided.priority == "P1"
    (found,) = report.disagreements
    assert found.parts == {"priority": ("P1", "P0")}
    assert (found.rule, found.shadow_rule) == ("staging-critical", "staging-critical")
    assert found.shadow_hash == report.policy_hash != found.policy_hash
    assert value(registry, "total", result="different") == 1
    assert value(registry, "disagreements_total", part="priority") == 1
    (line,) = [line for line in lines if line["event"] == "shadow policy disagrees"]
    assert line["priority"] == "P1 -> P0"


async def test_equal_policies_agree(tmp_path: Path):
    registry = CollectorRegistry()
    (tmp_path / "policy.rego").write_text(builtin().files[0][1])
    async with opened(tmp_path, registry) as shadowed:
        await asyncio.gather(*(shadowed.decide(INPUT) for _ in range(20)))
        await eventually(lambda: shadowed.report().same == 20)

        assert shadowed.report().disagreements == []


async def test_a_shadow_that_is_broken_or_missing_touches_nothing_and_is_taken_once_it_is_mended(tmp_path: Path):
    registry = CollectorRegistry()
    path = tmp_path / "next.rego"
    with capture_logs() as lines:
        async with opened(path, registry) as shadowed:
            await eventually(lambda: bool(shadowed.report().error))
            assert (await shadowed.decide(INPUT)).priority == "P1"
            path.write_text("package signalprocessing\nseverity := {")
            await eventually(lambda: re.search(r"next.rego:2", shadowed.report().error) is not None)
            path.write_text(OTHER)
            await eventually(lambda: shadowed.report().policy_hash != "")
            await shadowed.decide(INPUT)
            await eventually(lambda: shadowed.report().different == 1)

    events = [line["event"] for line in lines if "shadow" in line["event"]]
    assert events[:3] == [
        "no shadow policy yet",
        "shadow policy rejected, nothing is compared",
        "shadow policy loaded",
    ]


async def test_a_shadow_that_never_ends_costs_no_decision_its_time_and_the_queue_is_bounded(tmp_path: Path):
    registry = CollectorRegistry()
    slow = "\nlabels[x] := [y] if {\n\tinput.signal.labels.slow\n\tsome x in numbers.range(1, 3000000)\n\ty := x\n}\n"
    (tmp_path / "next.rego").write_text(OTHER + slow)
    signal = a_signal(labels={"slow": "yes"}).spec.signal
    hanging = PolicyInput(signal=signal, context=INPUT.context)
    count = shadow.MAX_QUEUED + 200
    async with opened(tmp_path / "next.rego", registry) as shadowed:
        await eventually(lambda: shadowed.report().policy_hash != "")

        decided = [await shadowed.decide(hanging) for _ in range(count)]

        report = shadowed.report()
    assert len(decided) == count
    assert not any(each.failures for each in decided)
    assert 150 < report.skipped <= 201


async def test_without_a_shadow_the_policy_stays_as_it_is():
    config = ClassifierConfig(policy_dir=None)
    registry = CollectorRegistry()
    async with (
        open_live_policy(config, PolicyMetrics(registry)) as live,
        shadow.open_shadow(live, config, ShadowMetrics(registry)) as shadowed,
    ):
        assert shadowed is None


async def test_the_command_lists_disagreements_and_exits_with_1(tmp_path: Path, capsys):
    registry = CollectorRegistry()
    (tmp_path / "next.rego").write_text(OTHER)
    async with opened(tmp_path / "next.rego", registry) as shadowed:
        app = application(shadow_endpoint.shadow_routes(shadowed))
        async with open_server(app, Listen(host="127.0.0.1", port=0)) as server:
            assert await policy_shadow.shadow(controller=server.url) == 0
            await shadowed.decide(INPUT)
            await eventually(lambda: shadowed.report().different == 1)
            capsys.readouterr()

            code = await policy_shadow.shadow(controller=server.url)

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert re.search(r"shop/Pod/api-7d-x +HighMemoryUsage +priority +P1 +P0", lines[1])
    assert lines[-1] == "0 the same, 1 different, 0 failed, 0 skipped"


@pytest.mark.parametrize(
    ("peer", "is_listed"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:10.0.0.7", False), ("10.0.0.7", False), ("", False)],
)
async def test_names_of_alerts_are_for_this_machine_only(peer: str, is_listed: bool, tmp_path: Path):
    (tmp_path / "next.rego").write_text(OTHER)
    async with opened(tmp_path / "next.rego", CollectorRegistry()) as shadowed:
        await eventually(lambda: shadowed.report().policy_hash != "")
        await shadowed.decide(INPUT)
        await eventually(lambda: shadowed.report().different == 1)
        app = application(shadow_endpoint.shadow_routes(shadowed))
        transport = httpx2.ASGITransport(app=app, client=(peer, 1))

        async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as http:
            text = (await http.get(shadow_endpoint.PATH)).text

    found = msgspec.json.decode(text, type=shadow.ShadowReport)
    assert found.different == 1
    assert ("HighMemoryUsage" in text, len(found.disagreements), found.withheld) == (
        (True, 1, 0) if is_listed else (False, 0, 1)
    )


async def test_the_command_says_that_there_is_no_shadow_or_no_controller(tmp_path: Path):
    async with open_server(application([]), Listen(host="127.0.0.1", port=0)) as server:
        with pytest.raises(CommandError, match=r"has no shadow policy; set classifier\.shadow"):
            await policy_shadow.shadow(controller=server.url)

    with pytest.raises(CommandError) as raised:
        await policy_shadow.shadow(controller=server.url)
    assert raised.value.code == 3
