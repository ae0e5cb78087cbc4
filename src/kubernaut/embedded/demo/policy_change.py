"""The second act of the demo: a rule is changed in the file that the running controller watches."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from kubernaut.embedded.errors import EmbeddedError

RULE = "a warning in Staging"
_ROW = '"Staging": {"critical": "P1", "high": "P2", "warning": "P2",'
_BEFORE, _AFTER = "P2", "P1"


@dataclass(frozen=True, kw_only=True)
class PolicyChange:
    """One changed rule, and when the controller decided by it."""

    rule: str
    before: str
    after: str
    old_hash: str
    new_hash: str
    took: float
    """Seconds from the write to the file until the new policy was in force."""


@asynccontextmanager
async def changed_rule(policy: Path, controller_url: str) -> AsyncIterator[PolicyChange]:
    """While this is open, a warning in Staging is more urgent for the controller; then the old file is put back.

    Raises EmbeddedError when the policy is not the built-in one any more; the caller bounds the time.
    """
    text = await asyncio.to_thread(policy.read_text)
    if text.count(_ROW) != 1:
        raise EmbeddedError(f"{policy} is not the built-in policy: remove it, or give the demo another --data-dir")
    old = await policy_in_force(controller_url)
    started = time.monotonic()
    changed = text.replace(_ROW, _ROW.replace(f'"warning": "{_BEFORE}"', f'"warning": "{_AFTER}"'))
    await asyncio.to_thread(_replace, policy, changed)
    try:
        new = old
        while new == old:
            # The controller's metrics notify nobody.
            await asyncio.sleep(0.05)
            new = await policy_in_force(controller_url)
        took = time.monotonic() - started
        yield PolicyChange(rule=RULE, before=_BEFORE, after=_AFTER, old_hash=old, new_hash=new, took=took)
    finally:
        await asyncio.to_thread(_replace, policy, text)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text)
    draft.replace(path)


async def policy_in_force(controller_url: str) -> str:
    """The hash of the policy that decides now, by the controller's metrics."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        response = await http.get(f"{controller_url}/metrics")
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            if sample.name == "signalprocessing_policy_info" and sample.value:
                return sample.labels["hash"]
    raise EmbeddedError(f"{controller_url}/metrics: no policy in force")
