"""Every version of the policy is told of, its text is kept, and a decision names one that can be shown."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx2
import msgspec

from integration.signalprocessing.test_failures import a_policy
from kubernaut.api.policies import PolicyPayload
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.policy import sources
from support.eventually import eventually
from support.signals import a_signal


async def changes(store):
    """Reason or error, and hash, of every change in the ledger, oldest first."""
    found = []
    for event_type in ("signalprocessing.policy.loaded", "signalprocessing.policy.rejected"):
        found += (await store.client.query({"event_type": event_type})).data
    payloads = [
        msgspec.json.decode(event.event_data, type=PolicyPayload) for event in sorted(found, key=lambda e: e.sequence)
    ]
    return [("rejected" if each.error else each.reason, each.policy_hash, each.change) for each in payloads]


async def show(store, policy_hash, *arguments):
    command = [
        Path(sys.executable).with_name("kubernaut"),
        "policy",
        "show",
        policy_hash,
        "--url",
        store.url,
        *arguments,
    ]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


async def test_life_of_a_policy_is_in_the_ledger_in_events_and_in_readiness(
    cluster, store, open_controller, kubernetes_events, tmp_path
):
    folder = tmp_path / "policies"
    folder.mkdir()
    file = folder / "policy.rego"
    good, better, broken = a_policy("v1"), a_policy("v2"), a_policy("v3") + "severity := {"
    file.write_text(good)
    async with open_controller(policy_dir=folder) as service:
        file.write_text(broken)
        await service.policy.reload()
        async with httpx2.AsyncClient() as http:
            ready = (await http.get(f"{service.health.url}/readyz")).json()
        file.write_text(better)
        await service.policy.reload()
        decided = await cluster.completed(a_signal(at=""))
    hashes = [sources.from_text(text).hash for text in (good, broken, better)]
    assert ready["degraded"]["policy"] == f"policy_rejected:policy.rego:12:14,in_force:{hashes[0][:12]}"

    file.write_text(broken)
    async with open_controller(policy_dir=folder) as service:
        again = await cluster.completed(a_signal(at=""))

        assert again.status.signal_classification.policy_hash == hashes[2]
    assert decided.status.signal_classification.policy_hash == hashes[2]
    assert await changes(store) == [
        ("start", hashes[0], ""),
        ("rejected", hashes[1], "policy.rego +4 -3"),
        ("changed", hashes[2], "policy.rego +3 -3"),
        ("last-known-good", hashes[2], ""),
        ("rejected", hashes[1], "policy.rego +4 -3"),
    ]
    told = await eventually(lambda: _at_least(kubernetes_events, Key(cluster.home, "signalprocessing-policy"), 4))
    assert {event["reason"] for event in told} == {"PolicyLoaded", "PolicyRejected"}
    assert any("policy.rego:12:14" in event["message"] and hashes[0][:12] in event["message"] for event in told)

    for policy_hash, text in zip(hashes, (good, broken, better), strict=True):
        done = await show(store, policy_hash[:10])
        assert (done.returncode, done.stdout) == (0, text), done.stderr
    done = await show(store, hashes[2], "--archive", tmp_path / "spool-policies")
    assert done.stdout == better
    done = await show(store, "abcd" * 16)
    assert (done.returncode, "no policy with a hash of" in done.stderr) == (1, True)


async def _at_least(read, key, count):
    found = await read(key)
    return found if len(found) >= count else None
