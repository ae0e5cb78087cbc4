"""A shadow policy: it decides beside the policy in force, its decisions are compared with those and thrown away.

It never touches a decision: the decision in force is returned first, the input then waits in a bounded queue for a
process of lower priority, and inputs for which there is no room are counted and left out. Whatever the shadow does, the
policy in force goes on.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kubernaut.api.meta import Time
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.config import ClassifierConfig
from kubernaut.signalprocessing.directory_watch import watch_directory
from kubernaut.signalprocessing.metrics import ShadowMetrics
from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.decision import Decision
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.live import LivePolicy, PolicyVersion, limits_of, open_policy
from kubernaut.signalprocessing.policy.outcome import changes, outcome

log = structlog.get_logger("policy-shadow")

MAX_QUEUED = 1_000
"""Decisions that may wait for the shadow; more are left out."""

MAX_LISTED = 500
"""Disagreements that are kept for the list, the newest ones."""

_LOG_INTERVAL = 1.0  # seconds between two log lines of disagreements
_RETRY_INTERVAL = 1.0  # seconds
_PRIORITY = 10
"""Niceness of the shadow's process."""

_LOGGED = ("environment", "severity", "priority")


class Disagreement(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """One signal that the shadow decided otherwise."""

    at: Time
    alert: str
    target: str
    parts: dict[str, tuple[Any, Any]]
    """What was decided and what the shadow would decide, by part."""
    rule: str
    shadow_rule: str
    policy_hash: str
    shadow_hash: str


class ShadowReport(msgspec.Struct, kw_only=True, rename="camel"):
    """What the shadow has done since the controller started, or since its policy changed."""

    policy_hash: str = ""
    """Empty while no shadow policy is loaded."""
    error: str = ""
    """Why the newest shadow policy was rejected."""
    same: int = 0
    different: int = 0
    failed: int = 0
    """Signals for which a rule of the shadow failed."""
    skipped: int = 0
    """Signals that were left out because too many waited."""
    parts: dict[str, int] = {}
    disagreements: list[Disagreement] = []
    withheld: int = 0
    """Disagreements that are not listed because whoever asks is not on this machine."""


class ShadowedPolicy:
    """The policy in force with a shadow beside it; made by `open_shadow`."""

    def __init__(self, live: LivePolicy, config: ClassifierConfig, path: Path, metrics: ShadowMetrics) -> None:
        self._live = live
        self._config = config
        self._path = path
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[PolicyInput, Decision] | None] = asyncio.Queue()
        self._report = ShadowReport()
        self._listed: deque[Disagreement] = deque(maxlen=MAX_LISTED)
        self._parts: Counter[str] = Counter()
        self._is_check_pending = False
        """Whether the queue holds a None, which asks to look at the files."""
        self._last_logged = 0.0
        self._suppressed = 0

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """The decision of the policy in force; the shadow gets to see it later."""
        decided = await self._live.decide(policy_input)
        if self._queue.qsize() < MAX_QUEUED:
            self._queue.put_nowait((policy_input, decided))
        else:
            self._report.skipped += 1
            self._metrics.compared("skipped")
        return decided

    def report(self) -> ShadowReport:
        """What the shadow has done, with the newest disagreements first."""
        return msgspec.structs.replace(self._report, parts=dict(self._parts), disagreements=[*reversed(self._listed)])

    async def run(self) -> None:
        """Load the shadow, compare, and load it again whenever it changes; until cancelled."""
        async with background(self._watch(), name="policy-shadow-watch"):
            while True:
                try:
                    read = await asyncio.to_thread(_read, self._path)
                    async with open_policy(read, limits_of(self._config)) as version:
                        self._loaded(version)
                        await self._compare(version)
                except Exception as error:  # noqa: BLE001 - whatever the shadow does, the policy in force goes on
                    self._rejected(error)
                    await self._discard_until_changed()

    async def _watch(self) -> None:
        """Say when the files change."""
        folder = self._path if self._path.is_dir() else self._path.parent
        while True:
            with contextlib.suppress(OSError):
                async for _ in watch_directory(folder, interval=self._config.hot_reload_interval):
                    if not self._is_check_pending:
                        self._is_check_pending = True
                        self._queue.put_nowait(None)
            await asyncio.sleep(_RETRY_INTERVAL)

    async def _compare(self, version: PolicyVersion) -> None:
        """Compare until the files hold another policy."""
        while True:
            item = await self._queue.get()
            if item is None:
                self._is_check_pending = False
                if await self._has_changed(version.hash):
                    return
                continue
            policy_input, decided = item
            shadow = await version.decide(policy_input)
            self._observe(policy_input, decided, shadow)

    async def _discard_until_changed(self) -> None:
        while await self._queue.get() is not None:
            self._report.skipped += 1
            self._metrics.compared("skipped")
        self._is_check_pending = False

    async def _has_changed(self, policy_hash: str) -> bool:
        try:
            return (await asyncio.to_thread(_read, self._path)).hash != policy_hash
        except Exception:  # noqa: BLE001 - the next attempt to load it says what is wrong
            return True

    def _loaded(self, version: PolicyVersion) -> None:
        self._report = ShadowReport(policy_hash=version.hash, skipped=self._report.skipped)
        self._listed.clear()
        self._parts.clear()
        self._metrics.loaded(version.hash)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, version.process.pid, _PRIORITY)
        log.info("shadow policy loaded", hash=version.hash, path=str(self._path))

    def _rejected(self, error: Exception) -> None:
        is_known = self._report.error == str(error)
        self._report.error = str(error)
        self._report.policy_hash = ""
        self._metrics.loaded("")
        if is_known:
            return
        if self._path.exists():
            log.warning("shadow policy rejected, nothing is compared", error=str(error), path=str(self._path))
        else:
            log.info("no shadow policy yet", path=str(self._path))

    def _observe(self, policy_input: PolicyInput, decided: Decision, shadow: Decision) -> None:
        if shadow.required_failure:
            self._report.failed += 1
            self._metrics.compared("failed")
        live, other = outcome(decided), outcome(shadow)
        parts = changes(live, other)
        if not parts:
            if not shadow.required_failure:
                self._report.same += 1
                self._metrics.compared("same")
            return
        self._report.different += 1
        self._parts.update(parts.keys())
        self._metrics.compared("different")
        self._metrics.disagreed(parts)
        target = policy_input.signal.target_resource
        found = Disagreement(
            at=datetime.now(UTC),
            alert=policy_input.signal.name,
            target="/".join(part for part in (target.namespace, target.kind, target.name) if part),
            parts=parts,
            rule=decided.policy_name,
            shadow_rule=shadow.policy_name,
            policy_hash=decided.policy_hash,
            shadow_hash=shadow.policy_hash,
        )
        self._listed.append(found)
        self._log(found)

    def _log(self, found: Disagreement) -> None:
        """One line a second at most; the list has the others."""
        now = time.monotonic()
        if now - self._last_logged < _LOG_INTERVAL:
            self._suppressed += 1
            return
        values = {part: f"{found.parts[part][0]} -> {found.parts[part][1]}" for part in _LOGGED if part in found.parts}
        log.info(
            "shadow policy disagrees",
            alert=found.alert,
            target=found.target,
            parts=sorted(found.parts),
            suppressed=self._suppressed,
            **values,
        )
        self._last_logged, self._suppressed = now, 0


@asynccontextmanager
async def open_shadow(
    live: LivePolicy, config: ClassifierConfig, metrics: ShadowMetrics
) -> AsyncIterator[ShadowedPolicy | None]:
    """The policy in force with the configured shadow beside it while the block runs; None without one."""
    if config.shadow is None:
        yield None
        return
    shadowed = ShadowedPolicy(live, config, config.shadow, metrics)
    async with background(shadowed.run(), name="policy-shadow"):
        yield shadowed


def _read(path: Path) -> sources.Sources:
    return sources.read(path) if path.is_dir() else sources.from_text(sources.read_file(path), path.name)
