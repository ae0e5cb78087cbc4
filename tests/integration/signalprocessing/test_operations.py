"""What an operator does with a running controller."""

import asyncio
import json
import re
import signal as signals
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from support.eventually import eventually
from support.signals import a_signal

KUBERNAUT = Path(sys.executable).with_name("kubernaut")
METRICS = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


@asynccontextmanager
async def a_controller(cluster, store, directory: Path, **logging: object) -> AsyncIterator[tuple]:
    """The command as a user runs it, with the file of its log and a function that changes its configuration."""
    (directory / "policies").mkdir()
    (directory / "policies" / "policy.rego").write_text(a_policy("v1"))
    config, log = directory / "config.yaml", directory / "log"

    def configure(**logging: object) -> None:
        controller = {"metricsAddr": "127.0.0.1:0", "healthProbeAddr": "127.0.0.1:0", "namespace": cluster.home}
        settings = {
            "kubeconfig": str(cluster.kubeconfig),
            "controller": controller | {"portFile": str(directory / "address")},
            "classifier": {"policyDir": str(directory / "policies"), "signalModes": None, "hotReloadInterval": "1h"},
            "datastorage": {"url": store.url, "spoolDir": str(directory / "spool"), "drainTimeout": "1s"},
            "logging": {"format": "json", **logging},
        }
        config.write_text(yaml.safe_dump(settings))

    configure(**logging)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(KUBERNAUT, "controller", "--config", str(config), stdout=output)
    try:
        yield process, log, configure
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def a_policy(name: str) -> str:
    rules = {
        "environment": '{"environment": "Test", "source": "mine"}',
        "severity": '"info"',
        "priority": '{"priority": "P3"}',
        "cluster": f'"{name}"',
    }
    text = "\n\n".join(f"{rule} := {value}" for rule, value in rules.items())
    return f"package signalprocessing\n\nimport rego.v1\n\n{text}\n"


def lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


async def test_sighup_changes_the_log_level_and_never_ends_the_process(cluster, store, tmp_path: Path):
    async with a_controller(cluster, store, tmp_path, level="WARN") as (process, log, configure):
        await eventually((tmp_path / "address").exists, timeout=30)
        assert [line for line in lines(log) if line["level"] == "info"] == []
        configure(level="INFO")
        # The watch would see it in 1.6 s of quiet at the earliest.
        (tmp_path / "policies" / "policy.rego").write_text(a_policy("v2"))
        process.send_signal(signals.SIGHUP)
        await eventually(lambda: "configuration reloaded" in log.read_text())
        (tmp_path / "config.yaml").write_text("controller: {workers: many}")
        process.send_signal(signals.SIGHUP)
        await eventually(lambda: "reload failed, keeping what is in force" in log.read_text())
        (tmp_path / "config.yaml").write_text("]")
        for _ in range(20):
            process.send_signal(signals.SIGHUP)
        configure(level="INFO")
        process.send_signal(signals.SIGHUP)
        await eventually(lambda: log.read_text().count("configuration reloaded") >= 2)
        done = await cluster.completed(a_signal(kind="Namespace", target="default", at=""))

    assert "signal processed" in log.read_text()
    assert done.status.signal_classification.cluster_classification == "v2"


@pytest.mark.requirement("DEFECT-16")
@pytest.mark.requirement("LESSON-02")
async def test_every_metric_of_a_running_controller_is_documented(cluster, controller, store):
    await cluster.completed(a_signal(kind="Namespace", target="default", at=""))
    async with httpx2.AsyncClient() as http:
        text = (await http.get(f"{controller.health.url}/metrics")).text

    exposed = {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")}
    _, _, rest = METRICS.read_text().partition("## Controller\n")
    documented = set(re.findall(r"^\| `(\w+)` ", rest.partition("\n## ")[0], re.MULTILINE))
    of_every_process = {name for name in exposed if name.startswith(("process_", "python_"))}

    assert exposed - of_every_process == documented
