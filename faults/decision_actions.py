"""How each fault of the controller is made."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

from faults.api_proxy import ApiProxy
from faults.decision_histories import DecisionAction, DecisionFault
from faults.decision_load import DecisionLoad, retry
from faults.decision_policies import BROKEN, policy_text
from faults.decision_stack import DecisionStack, pause
from kubernaut.kube.client import ListOptions
from kubernaut.kube.errors import KubeError
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.kinds import SIGNAL
from support.processes import descendants
from support.supervised_stack import HOME

SWAP_INTERVAL = 0.005  # seconds
EDITED_SIGNALS, DELETED_SIGNALS = 8, 5
START_TIMEOUT = 30.0  # seconds

_ODD = [
    {"phase": "Pending"},
    {"phase": "Classifying"},
    {"phase": "Categorizing"},
    {"phase": "Completed"},
    {"phase": "Enriching", "completionTime": None},
    {"startTime": "0001-01-01T00:00:00Z"},
    {"startTime": "9999-12-31T23:59:59Z"},
    {"phase": "Enriching", "failureInfo": {"consecutiveFailures": 9, "lastFailureTime": "9999-01-01T00:00:00Z"}},
    {"conditions": []},
    {"observedGeneration": 99, "phase": "Classifying", "kubernetesContext": None},
]


async def perform(stack: DecisionStack, load: DecisionLoad, action: DecisionAction) -> None:
    """Do it, and undo it after its duration."""
    match action.fault:
        case DecisionFault.KILL | DecisionFault.TERMINATE | DecisionFault.STOP | DecisionFault.KILL_POLICY:
            await _hit_process(stack, action)
        case DecisionFault.CONFLICT:
            await _conflict(stack, action.duration)
        case DecisionFault.SWAP_POLICY:
            await _swap(stack, action.duration)
        case DecisionFault.DELETE_NAMESPACE:
            await load.replace_namespace(action.target, action.duration)
        case DecisionFault.CLOCK_JUMP:
            name = action.target if action.target in stack.clocks else await stack.leader()
            stack.clocks[name].set(action.offset)
            await asyncio.sleep(action.duration)
            stack.clocks[name].set(0)
        case DecisionFault.EDIT_STATUS:
            await _edit(stack, load)
        case DecisionFault.DELETE_SIGNALS:
            await _delete(stack, load)
        case _:
            await _hit_requests(stack.proxy, action)


async def _hit_requests(proxy: ApiProxy, action: DecisionAction) -> None:
    match action.fault:
        case DecisionFault.EXPIRE:
            proxy.expire_watches()
        case DecisionFault.CUT_WATCHES:
            proxy.cut_watches()
        case DecisionFault.SILENCE:
            proxy.is_silent = True
            await asyncio.sleep(action.duration)
            proxy.is_silent = False
            # The controller gives such a watch up after 75 seconds of silence; so long no history lasts.
            proxy.cut_watches()
        case DecisionFault.FORBID:
            proxy.forbidden.add(action.target)
            await asyncio.sleep(action.duration)
            proxy.forbidden.discard(action.target)
        case _:
            code = 429 if action.fault is DecisionFault.THROTTLE else 500
            proxy.statuses.append(code)
            await asyncio.sleep(action.duration)
            proxy.statuses.remove(code)


async def _hit_process(stack: DecisionStack, action: DecisionAction) -> None:
    component = await stack.component(action.target)
    async with asyncio.timeout(START_TIMEOUT):
        await component.is_up.wait()
    match action.fault:
        case DecisionFault.KILL:
            component.kill()
        case DecisionFault.TERMINATE:
            component.is_up.clear()
            os.kill(component.pid, signal.SIGTERM)
        case DecisionFault.STOP:
            await pause(component, action.duration)
        case _:
            for pid in descendants(component.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


async def _conflict(stack: DecisionStack, duration: float) -> None:
    """Answers that say so, and another writer that writes all the time."""
    stack.proxy.has_conflicts = True
    ends_at = asyncio.get_running_loop().time() + duration
    number = 0
    while (now := asyncio.get_running_loop().time()) < ends_at:
        with suppress(KubeError):
            for found in (await stack.parts.client.list(SIGNAL, ListOptions(namespace=HOME))).items:
                if found.status.completion_time is None and now < ends_at:
                    number += 1
                    body = {"metadata": {"annotations": {"writer": str(number)}}}
                    await stack.parts.client.patch(SIGNAL, Key(HOME, found.metadata.name), body)
        await asyncio.sleep(0.02)
    stack.proxy.has_conflicts = False


async def _swap(stack: DecisionStack, duration: float) -> None:
    """A new version each time, now and then a broken one, none at all, or the same again."""
    file = stack.parts.policy / "policy.rego"
    ends_at = asyncio.get_running_loop().time() + duration
    while asyncio.get_running_loop().time() < ends_at:
        version = f"v{len(stack.policies)}"
        match stack.rng.choice(["write", "write", "replace", "replace", "break", "remove"]):
            case "write":
                stack.policies.append(version)
                file.write_text(policy_text(version))
            case "replace":
                stack.policies.append(version)
                fresh = stack.parts.policy / ".fresh"
                fresh.write_text(policy_text(version))
                fresh.replace(file)
            case "break":
                file.write_text(BROKEN)
            case _:
                file.unlink(missing_ok=True)
        await asyncio.sleep(SWAP_INTERVAL)
    file.write_text(policy_text(stack.policies[-1]))


async def _edit(stack: DecisionStack, load: DecisionLoad) -> None:
    """Nonsense in the status of some signals, as somebody with `kubectl edit` may leave it."""
    for raised in stack.rng.sample(load.raised, min(EDITED_SIGNALS, len(load.raised))):
        name = raised.metadata.name
        load.edited.add(raised.spec.remediation_request_ref.name)
        change: dict[str, Any] = {"status": stack.rng.choice(_ODD)}
        key = Key(HOME, name)
        await retry(lambda key=key, change=change: stack.parts.client.patch(SIGNAL, key, change, subresource="status"))


async def _delete(stack: DecisionStack, load: DecisionLoad) -> None:
    """Some signals, whatever state they are in; they have the finalizer."""
    alive = [each for each in load.raised if each.metadata.name not in load.deleted]
    for raised in stack.rng.sample(alive, min(DELETED_SIGNALS, len(alive))):
        name = raised.metadata.name
        load.deleted.add(name)
        await retry(lambda name=name: stack.parts.client.delete(SIGNAL, Key(HOME, name)))
