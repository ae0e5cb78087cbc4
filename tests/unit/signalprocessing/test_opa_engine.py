"""`classifier.engine: opa`: a real OPA evaluates, where there is one; without one the rules fall back and say why."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kubernaut.ops.settings import SettingsError
from kubernaut.signalprocessing.config import ClassifierConfig, OpaConfig, PolicyEngine
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy import smoke
from kubernaut.signalprocessing.policy.archive import PolicyArchive
from kubernaut.signalprocessing.policy.changes import ChangeReason
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import LivePolicy, limits_of, open_live_policy, open_policy
from kubernaut.signalprocessing.policy.sources import builtin, from_text
from support.eventually import eventually
from support.signals import a_context, a_signal

needs_opa = pytest.mark.skipif(not shutil.which("opa"), reason="opa is not installed")
INPUT = PolicyInput(signal=a_signal(severity="critical").spec.signal, context=a_context())
CONFLICT = """package signalprocessing
import rego.v1
severity := "critical"
severity := "high" if input.signal.labels.page
environment := {"environment": "Test", "source": uuid.rfc4122(input.signal.name)}
priority := {"priority": "P1", "policy_name": data.signalprocessing.severity}
"""


class OpaProcess:
    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *("opa", "run", "--server", "--addr", f"127.0.0.1:{self.port}", "--disable-telemetry"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        await eventually(self._listens)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()


@asynccontextmanager
async def opened_opa() -> AsyncIterator[OpaProcess]:
    opa = OpaProcess()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    opa.port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    try:
        await opa.start()
        yield opa
    finally:
        await opa.stop()


def limits(url: str, timeout: float = 5.0):
    return limits_of(ClassifierConfig(engine=PolicyEngine.OPA, opa=OpaConfig(url=url, timeout=timeout)))


@needs_opa
async def test_opa_decides_as_the_engine_of_this_package_does():
    async with (
        opened_opa() as opa,
        open_policy(builtin()) as ours,
        open_policy(builtin(), limits(opa.url)) as theirs,
    ):
        for each in smoke.representative_inputs():
            assert await theirs.decide(each) == await ours.decide(each)


@needs_opa
async def test_opas_builtins_are_there_and_a_conflict_falls_back_with_opas_reason_and_place():
    paged = PolicyInput(signal=a_signal(labels={"page": "y"}).spec.signal, context=a_context())
    async with opened_opa() as opa, open_policy(from_text(CONFLICT), limits(opa.url)) as policy:
        good, bad = await policy.decide(INPUT), await policy.decide(paged)

    assert good.failures == ()
    assert len(good.environment_source) == 36
    assert good.policy_name == "critical"
    assert bad.environment == "Test"
    assert {each.rule for each in bad.failures} == {"severity", "priority"}
    assert (
        "policy.rego:4:1: rule data.signalprocessing.severity produced conflicting values:"
        ' "critical" at policy.rego:3 "high" at policy.rego:4'
    ) in bad.failures[0].message


@needs_opa
async def test_versions_share_one_opa_and_a_restart_of_it_is_made_good():
    other = from_text(builtin().files[0][1].replace('"critical": "P1"', '"critical": "P3"'))
    async with (
        opened_opa() as opa,
        open_policy(builtin(), limits(opa.url)) as first,
        open_policy(other, limits(opa.url)) as second,
    ):
        staging = PolicyInput(signal=INPUT.signal, context=a_context(labels={"kubernaut.ai/environment": "staging"}))
        assert [(await each.decide(staging)).priority for each in (first, second, first)] == ["P1", "P3", "P1"]

        await opa.stop()
        down = await first.decide(staging)
        await opa.start()
        again = await first.decide(staging)

    assert down.priority_source == "fallback-severity"
    assert "Connection refused" in down.failures[0].message
    assert again.failures == ()
    assert again.priority == "P1"


@needs_opa
async def test_a_policy_that_opa_does_not_accept_is_refused_with_its_place():
    async with opened_opa() as opa:
        with pytest.raises(PolicyError) as raised:
            async with open_policy(from_text("package signalprocessing\n\nx := y\n"), limits(opa.url)):
                pass

    assert str(raised.value) == "policy.rego:3:6: var y is unsafe"


async def _never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_an_opa_that_is_not_there_or_does_not_answer_is_named():
    async with asyncio.timeout(30):
        server = await asyncio.start_server(_never_answer, "127.0.0.1", 0)
        silent = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(PolicyError, match=r"OPA at http://127\.0\.0\.1:\d+: no answer within 0\.3 s"):
            async with open_policy(builtin(), limits(silent, timeout=0.3)):
                pass
        server.close()
        await server.wait_closed()
        with pytest.raises(PolicyError, match="Connection refused"):
            async with open_policy(builtin(), limits(silent)):
                pass


@asynccontextmanager
async def started_without_opa(opa: OpaProcess, text: str, folder: Path) -> AsyncIterator[LivePolicy]:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    opa.port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    (folder / "policy.rego").write_text(text)
    config = ClassifierConfig(policy_dir=folder, engine=PolicyEngine.OPA, opa=OpaConfig(url=opa.url))
    archive = PolicyArchive(folder / "archive")
    async with open_live_policy(config, PolicyMetrics(CollectorRegistry()), archive) as live:
        yield live
        assert (archive.last_known_good() is None) is (live.rejection is not None)


async def test_controller_starts_without_opa_falls_back_and_says_so(tmp_path: Path):
    async with started_without_opa(OpaProcess(), builtin().files[0][1], tmp_path) as live:
        decided = await live.decide(INPUT)

        assert decided.priority_source == "fallback-severity"
        assert "Connection refused" in decided.failures[0].message
        assert live.rejection == f"opa_unavailable,policy_unchecked:{live.current.hash[:12]}"
        assert not await live.reload()
        assert live.rejection


@needs_opa
async def test_policy_is_checked_and_decides_once_opa_is_there(tmp_path: Path):
    opa = OpaProcess()
    try:
        async with started_without_opa(opa, builtin().files[0][1], tmp_path) as live:
            await opa.start()
            await eventually(lambda: live.rejection is None)

            assert (await live.decide(INPUT)).failures == ()
            change, _ = live.changes.get_nowait()
            assert (change.reason, change.error) == (ChangeReason.START, None)
            await live.keep()
    finally:
        await opa.stop()


@needs_opa
async def test_policy_that_opa_refuses_once_it_is_there_is_rejected_with_its_place(tmp_path: Path):
    opa = OpaProcess()
    try:
        async with started_without_opa(opa, "package signalprocessing\n\nx := y\n", tmp_path) as live:
            await opa.start()
            await eventually(lambda: "policy.rego:3:6" in (live.rejection or ""))
            await live.reload()

            assert "policy.rego:3:6" in (live.rejection or "")
            assert (await live.decide(INPUT)).priority_source == "fallback-severity"
    finally:
        await opa.stop()


def test_an_address_without_scheme_is_refused():
    with pytest.raises(SettingsError, match="must be an address such as"):
        OpaConfig(url="opa:8181")
