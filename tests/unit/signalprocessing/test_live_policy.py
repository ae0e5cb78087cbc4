"""A policy that changes while it is in use."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from kubernaut.signalprocessing.config import ClassifierConfig
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy.archive import PolicyArchive
from kubernaut.signalprocessing.policy.changes import ChangeReason
from kubernaut.signalprocessing.policy.errors import PolicyError, PolicyMissing
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import LivePolicy, open_live_policy
from support.eventually import eventually
from support.logs import capture_logs
from support.signals import a_context, a_signal

INPUT = PolicyInput(signal=a_signal().spec.signal, context=a_context())


def a_policy(name: str) -> str:
    """A policy of which every answer tells the version."""
    return f"""package signalprocessing

import rego.v1

environment := {{"environment": "Test", "source": "{name}"}}

severity := "info"

priority := {{"priority": "P3", "policy_name": "{name}"}}

labels := {{"version": ["{name}"]}}
"""


def opened(folder: Path, registry: CollectorRegistry | None = None) -> AbstractAsyncContextManager[LivePolicy]:
    config = ClassifierConfig(policy_dir=folder, hot_reload_interval=1.0)
    return open_live_policy(config, PolicyMetrics(registry or CollectorRegistry()))


async def versions(live: LivePolicy) -> set[str]:
    decision = await live.current.decide(INPUT)
    return {decision.environment_source, decision.policy_name, *decision.custom_labels["version"]}


@pytest.mark.requirement("BR-SP-072")
async def test_changed_file_is_loaded(tmp_path: Path):
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    async with opened(tmp_path) as live:
        assert await versions(live) == {"v1"}
        (tmp_path / "policy.rego").write_text(a_policy("v2"))

        await asyncio.wait_for(live.changed.wait(), 10)

        assert await versions(live) == {"v2"}


@pytest.mark.requirement("DEFECT-11")
@pytest.mark.requirement("LESSON-16")
async def test_swapped_link_of_a_mounted_configmap_is_loaded(tmp_path: Path):
    for version in ("v1", "v2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "policy.rego").write_text(a_policy(version))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "policy.rego").symlink_to("..data/policy.rego")
    async with opened(tmp_path) as live:
        (tmp_path / "..data_tmp").symlink_to("..v2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

        await asyncio.wait_for(live.changed.wait(), 10)

        assert await versions(live) == {"v2"}


@pytest.mark.requirement("BR-SP-072")
@pytest.mark.requirement("LESSON-17")
async def test_invalid_policy_keeps_the_previous_one_and_is_counted_once(tmp_path: Path):
    registry = CollectorRegistry()
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    async with opened(tmp_path, registry) as live:
        (tmp_path / "policy.rego").write_text(a_policy("v2") + "severity := {")

        await eventually(lambda: registry.get_sample_value("signalprocessing_policy_last_reload_successful") == 0)
        assert not await live.reload()

        assert await versions(live) == {"v1"}
        assert registry.get_sample_value("signalprocessing_policy_reload_errors_total") == 1


async def test_policy_file_removed_and_written_again_is_loaded(tmp_path: Path):
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    async with opened(tmp_path) as live:
        (tmp_path / "policy.rego").unlink()
        await live.reload()
        assert await versions(live) == {"v1"}
        (tmp_path / "policy.rego").write_text(a_policy("v2"))

        await asyncio.wait_for(live.changed.wait(), 10)

        assert await versions(live) == {"v2"}


@pytest.mark.requirement("DEFECT-06")
async def test_one_signal_is_decided_by_one_policy_version(tmp_path: Path):
    (tmp_path / "policy.rego").write_text(a_policy("v0"))
    mixed: list[set[str]] = []
    seen: set[str] = set()
    async with opened(tmp_path) as live:
        done = asyncio.Event()

        async def decide() -> None:
            while not done.is_set():
                found = await versions(live)
                seen.update(found)
                mixed.extend([found] if len(found) != 1 else [])

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(decide())
            for number in range(1, 6):
                (tmp_path / "policy.rego").write_text(a_policy(f"v{number}"))
                await live.reload()
                assert await versions(live) == {f"v{number}"}
            done.set()

    assert mixed == []
    assert "v0" in seen
    assert len(seen) >= 3


async def test_invalid_result_is_counted_by_its_rule(tmp_path: Path):
    registry = CollectorRegistry()
    (tmp_path / "policy.rego").write_text(a_policy("v1").replace('"info"', '"no severity of ours"'))
    async with opened(tmp_path, registry) as live:
        decision = await live.decide(INPUT)

    assert decision.required_failure.rule == "severity"
    assert registry.get_sample_value("signalprocessing_policy_fallback_total", {"rule": "severity"}) == 1
    assert registry.get_sample_value("signalprocessing_policy_decision_duration_seconds_count") == 1


async def test_reloads_at_the_same_time_start_one_version(tmp_path: Path):
    registry = CollectorRegistry()
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    async with opened(tmp_path, registry) as live:
        (tmp_path / "policy.rego").write_text(a_policy("v2"))

        reloaded = await asyncio.gather(*(live.reload() for _ in range(5)))

        assert sum(reloaded) <= 1
        assert await versions(live) == {"v2"}
        assert registry.get_sample_value("signalprocessing_policy_reload_total") == 2


async def test_missing_policy_is_rejected_at_start(tmp_path: Path):
    with pytest.raises(PolicyMissing, match=r"there is no policy\.rego"):
        async with opened(tmp_path):
            pass


async def test_invalid_policy_is_rejected_at_start(tmp_path: Path):
    (tmp_path / "policy.rego").write_text(a_policy("v1") + "severity := {")

    with pytest.raises(PolicyError, match=r"policy\.rego:12:14"):
        async with opened(tmp_path):
            pass


async def test_good_policy_after_a_rejected_one_ends_the_alarm(tmp_path: Path):
    registry = CollectorRegistry()
    path = tmp_path / "policy.rego"
    path.write_text(a_policy("v1"))

    def is_good() -> float | None:
        return registry.get_sample_value("signalprocessing_policy_last_reload_successful")

    async with opened(tmp_path, registry) as live:
        with capture_logs() as logs:
            for content in (b"package signalprocessing\nx := }", b"\xff\xfe", b"#" * 3_000_000):
                path.write_bytes(content)
                await live.reload()
                await live.reload()
                assert is_good() == 0
                path.write_text(a_policy("v1"))
                await live.reload()
                await live.reload()
                assert is_good() == 1

        assert await versions(live) == {"v1"}
    kept, restored = "policy rejected, keeping the previous version", "policy files restored to the version in force"
    assert [line["event"] for line in logs] == [kept, restored] * 3


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: b"package signalprocessing\n" + text.encode(errors="surrogatepass"))
)
async def test_no_content_of_a_policy_file_ends_the_policy(content: bytes, tmp_path: Path):
    path = tmp_path / "policy.rego"
    path.write_text(a_policy("v1"))
    async with opened(tmp_path) as live:
        path.write_bytes(content)
        await live.reload()

        assert await versions(live) == {"v1"}


def told(live: LivePolicy) -> list[tuple[ChangeReason, str, bool]]:
    """Every change since the last call: reason, hash, and whether it was rejected."""
    changes = [live.changes.get_nowait()[0] for _ in range(live.changes.qsize())]
    return [(change.reason, change.hash, change.error is not None) for change in changes]


async def test_restart_with_a_rejected_policy_goes_on_with_the_last_good_one(tmp_path: Path):
    folder, archive = tmp_path / "policies", PolicyArchive(tmp_path / "kept")
    folder.mkdir()
    config = ClassifierConfig(policy_dir=folder, hot_reload_interval=1.0)
    (folder / "policy.rego").write_text(a_policy("v1"))
    async with open_live_policy(config, PolicyMetrics(CollectorRegistry()), archive) as live:
        good = live.current.hash
    (folder / "policy.rego").write_text(a_policy("v2") + "severity := {")
    registry = CollectorRegistry()
    with capture_logs() as logs:
        async with open_live_policy(config, PolicyMetrics(registry), archive) as live:
            assert await versions(live) == {"v1"}
            assert registry.get_sample_value("signalprocessing_policy_last_reload_successful") == 0
            assert registry.get_sample_value("signalprocessing_policy_last_known_good") == 1
            assert live.rejection == f"policy_rejected:policy.rego:12:14,in_force:{good[:12]}"
            (loaded, rejected) = told(live)
            assert loaded == (ChangeReason.LAST_KNOWN_GOOD, good, False)
            assert rejected[2]
            (folder / "policy.rego").write_text(a_policy("v3"))
            await asyncio.wait_for(live.changed.wait(), 10)

            assert await versions(live) == {"v3"}
            assert live.rejection is None
            assert registry.get_sample_value("signalprocessing_policy_last_known_good") == 0
            assert registry.get_sample_value("signalprocessing_policy_last_reload_successful") == 1
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "policy rejected at start, the last known good one decides",
        "policy rejected, keeping the previous version",
    ]


async def test_start_without_policy_files_goes_on_with_the_last_good_one(tmp_path: Path):
    archive = PolicyArchive(tmp_path / "kept")
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    config = ClassifierConfig(policy_dir=tmp_path)
    async with open_live_policy(config, PolicyMetrics(CollectorRegistry()), archive):
        (tmp_path / "policy.rego").unlink()

    async with open_live_policy(config, PolicyMetrics(CollectorRegistry()), archive) as live:
        assert await versions(live) == {"v1"}


async def test_start_tells_what_changed_while_nobody_ran(tmp_path: Path):
    archive = PolicyArchive(tmp_path / "kept")
    config = ClassifierConfig(policy_dir=tmp_path)
    for version in ("v1", "v2"):
        (tmp_path / "policy.rego").write_text(a_policy(version))
        async with open_live_policy(config, PolicyMetrics(CollectorRegistry()), archive) as live:
            (change, _) = live.changes.get_nowait()

    assert change.before is not None
    assert dict(change.before.files)["policy.rego"] == a_policy("v1")


async def test_good_then_bad_then_good_again_is_told_once_each(tmp_path: Path):
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    async with opened(tmp_path) as live:
        good = live.current.hash
        for text in (a_policy("v2") + "severity := {", a_policy("v1")):
            (tmp_path / "policy.rego").write_text(text)
            for _ in range(3):
                await live.reload()

        reasons = [(reason, is_rejected) for reason, _, is_rejected in told(live)]
        assert reasons == [(ChangeReason.START, False), (ChangeReason.CHANGED, True), (ChangeReason.RESTORED, False)]
        assert (live.current.hash, live.rejection) == (good, None)


async def test_archive_that_cannot_be_written_stops_nothing(tmp_path: Path):
    (tmp_path / "kept").write_text("not a directory")
    (tmp_path / "policy.rego").write_text(a_policy("v1"))
    config = ClassifierConfig(policy_dir=tmp_path)
    async with open_live_policy(config, PolicyMetrics(CollectorRegistry()), PolicyArchive(tmp_path / "kept")) as live:
        assert await versions(live) == {"v1"}
