"""The policy in force, and how a new version takes its place.

A version is one immutable thing: its text, its hash, and a process of its own that holds it compiled. A new version is
read, checked, compiled and evaluated for a table of representative signals in its own process before one assignment
puts it in force; the old process answers its pending requests and ends. So no decision ever sees two versions, and a
version that was rejected never decides anything.

The process of each version is opened and closed by one task, so that it ends whatever is cancelled, and when.
"""

import asyncio
import time
from asyncio import TaskGroup
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from kubernaut.ops.backoff import Backoff
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.config import ClassifierConfig, PolicyEngine
from kubernaut.signalprocessing.directory_watch import watch_directory
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy import decision, smoke
from kubernaut.signalprocessing.policy.archive import PolicyArchive
from kubernaut.signalprocessing.policy.changes import ChangeReason, PolicyChange
from kubernaut.signalprocessing.policy.decision import Decision
from kubernaut.signalprocessing.policy.errors import OpaUnavailable, PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput, encode
from kubernaut.signalprocessing.policy.process import Limits, PolicyProcess, open_process
from kubernaut.signalprocessing.policy.protocol import OpaServer
from kubernaut.signalprocessing.policy.sources import Sources, read

log = structlog.get_logger("policy")

WATCH_RETRY_INTERVAL = 1.0  # seconds
OPA_RETRY_INTERVAL = 0.5  # seconds, growing, while OPA is not there
MAX_OPA_RETRY_INTERVAL = 10.0  # seconds


class PolicyVersion:
    """One version of the policy, ready to decide."""

    def __init__(self, sources: Sources, process: PolicyProcess) -> None:
        self.sources = sources
        self.process = process

    @property
    def hash(self) -> str:
        return self.sources.hash

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """The decision about one signal; a rule that failed is replaced by its fallback and listed in `failures`."""
        return await self.decide_document(encode(policy_input, self.sources.form), policy_input)

    async def decide_document(self, document: bytes, policy_input: PolicyInput) -> Decision:
        """The same, for an input document that is at hand already."""
        try:
            evaluation = await self.process.evaluate(document)
        except PolicyError as error:
            return decision.fallback_decision(error, policy_input, self.hash)
        return decision.decide(evaluation, policy_input, self.hash, self.sources.form)


@asynccontextmanager
async def open_policy(
    sources: Sources, limits: Limits | None = None, engine: str = "regorus"
) -> AsyncIterator[PolicyVersion]:
    """One version of a policy, checked. Raises PolicyError with file, line and column when it is rejected."""
    async with open_process(sources, limits or Limits(), engine) as process:
        if not (limits and limits.waits_for_opa):
            await smoke.check(process, sources)
        yield PolicyVersion(sources, process)


@dataclass(frozen=True, kw_only=True)
class _Start:
    """A version to be started, and where its starter waits for it."""

    sources: Sources
    started: asyncio.Future["_Running"]
    waits_for_opa: bool


@dataclass(frozen=True, kw_only=True)
class _Running:
    version: PolicyVersion
    replaced: asyncio.Event


class _Versions:
    """The tasks of the versions whose processes run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._starts: asyncio.Queue[_Start] = asyncio.Queue()

    async def start(self, sources: Sources, *, waits_for_opa: bool = False) -> _Running:
        """A version that runs until it is marked as replaced. Raises PolicyError or OSError.

        With `waits_for_opa` it is not checked, and its rules fail until OPA is there.
        """
        started: asyncio.Future[_Running] = asyncio.get_running_loop().create_future()
        self._starts.put_nowait(_Start(sources=sources, started=started, waits_for_opa=waits_for_opa))
        return await started

    async def run(self) -> None:
        """Run every version that is started, until cancelled; then every process has ended."""
        try:
            async with TaskGroup() as tasks:
                while True:
                    start = await self._starts.get()
                    tasks.create_task(self._run_version(start), name="policy-version")
        finally:
            while not self._starts.empty():
                self._starts.get_nowait().started.cancel()

    async def _run_version(self, start: _Start) -> None:
        try:
            limits = replace(self._limits, waits_for_opa=start.waits_for_opa)
            async with open_policy(start.sources, limits) as version:
                if start.started.cancelled():
                    return
                running = _Running(version=version, replaced=asyncio.Event())
                start.started.set_result(running)
                await running.replaced.wait()
                await version.process.drain()
        except Exception as error:  # whatever a policy does to its check, the others go on
            if start.started.done():
                raise
            known = isinstance(error, (PolicyError, OSError))
            start.started.set_exception(error if known else PolicyError(f"the check of the policy failed: {error!r}"))
        finally:
            start.started.cancel()  # does nothing when it has a result


@dataclass(frozen=True, kw_only=True)
class _First:
    """The version that decides from the start; a kept one where the files were rejected with an error."""

    running: _Running
    before: Sources | None = None
    """The version that decided last before the start, where it was another."""
    rejected: Sources | None = None
    error: PolicyError | None = None
    unchecked: OpaUnavailable | None = None
    """Why the version could not be checked."""


class LivePolicy:
    """The policy in force; made by `open_live_policy`."""

    def __init__(
        self,
        config: ClassifierConfig,
        metrics: PolicyMetrics,
        versions: _Versions,
        first: _First,
        archive: PolicyArchive | None,
    ) -> None:
        self.changes: asyncio.Queue[tuple[PolicyChange, datetime]] = asyncio.Queue()
        """Each version that was accepted or rejected, and when; for whoever tells of them."""
        self.changed = asyncio.Event()
        """Set whenever another version has come into force; for whoever waits for it."""
        self._config = config
        self._metrics = metrics
        self._versions = versions
        self._running = first.running
        self._archive = archive
        self._rejected = ""
        """What was rejected since the version in force was loaded: its hash, or why it could not be read."""
        self._rejection: PolicyError | None = None
        self._unchecked = first.unchecked
        self.loaded_at = datetime.now(UTC)
        """When the version in force came into force."""
        self._reloading = asyncio.Lock()
        if first.unchecked:
            log.warning(
                "OPA unavailable, signals get the fallback until it answers",
                error=str(first.unchecked),
                hash=self.current.hash,
            )
        elif first.error is None:
            self._report_loaded(ChangeReason.START, first.before)
        else:
            self._report_loaded(ChangeReason.LAST_KNOWN_GOOD, None)
            self._reject(first.rejected.hash if first.rejected else str(first.error), first.error, first.rejected)

    @property
    def current(self) -> PolicyVersion:
        """The version that decides now. Take it once per signal."""
        return self._running.version

    @property
    def rejection(self) -> str | None:
        """Where the newest version is wrong and which one decides in its place; None where the newest one decides."""
        if self._unchecked:
            return f"opa_unavailable,policy_unchecked:{self.current.hash[:12]}"
        if self._rejection is None:
            return None
        error = self._rejection
        place = f"{error.file}:{error.line}:{error.column}" if error.line else error.file or "files"
        return f"policy_rejected:{place},in_force:{self.current.hash[:12]}"

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """The decision about one signal by the version in force, observed in the metrics."""
        start = time.perf_counter()
        decided = await self.current.decide(policy_input)
        self._metrics.decided(time.perf_counter() - start)
        for failure in decided.failures:
            self._metrics.fell_back(failure.rule)
        return decided

    async def reload(self) -> bool:
        """Read the files and put a new version in force; True when there is one.

        A version that is rejected is reported once, and the previous one stays in force.
        """
        async with self._reloading:
            try:
                sources = await asyncio.to_thread(read, self._config.policy_dir, self._config.rego_config_map_key)
            except PolicyError as error:
                self._reject(str(error), error)
                return False
            is_in_force = sources.hash == self.current.hash and sources.hash != self._rejected
            if is_in_force and not self._unchecked:
                self._report_restored()
                return False
            if sources.hash == self._rejected:
                return False
            try:
                new = await self._versions.start(sources)
            except OpaUnavailable as error:
                # Not by the hash of the version, which is tried again at the next interval.
                if not self._unchecked:
                    self._reject(f"{sources.hash}: {error}", error, sources)
                return False
            except PolicyError as error:
                self._unchecked = None
                self._reject(sources.hash, error, sources)
                return False
            was_unchecked, self._unchecked = self._unchecked, None
            old, self._running, self._rejected, self._rejection = self._running, new, "", None
            old.replaced.set()
            if was_unchecked:
                self._report_loaded(ChangeReason.START, None)
            else:
                self._report_loaded(ChangeReason.CHANGED, old.version.sources)
            await self.keep()
            self.changed.set()
            return True

    async def follow(self) -> None:
        """Reload whenever the directory changes, and at an interval in case no change was reported, until cancelled."""
        directory, reported = self._config.policy_dir, ""
        while directory is not None:
            try:
                async for _ in watch_directory(directory, interval=self._config.hot_reload_interval):
                    await self.reload()
            except OSError as error:  # the directory itself is being replaced
                if str(error) != reported:
                    log.warning("policy directory watch failed, reading it at an interval", error=str(error))
                reported = str(error)
            await asyncio.sleep(WATCH_RETRY_INTERVAL)
            await self.reload()

    async def check_once_opa_answers(self) -> None:
        """Check the version that was started without OPA, as soon as OPA is there."""
        backoff, attempts = Backoff(initial_delay=OPA_RETRY_INTERVAL, max_delay=MAX_OPA_RETRY_INTERVAL), 0
        while self._unchecked:
            attempts += 1
            await asyncio.sleep(backoff.delay(attempts))
            await self.reload()

    async def keep(self) -> None:
        """Keep the version in force for the next start."""
        if self._archive is None or self._unchecked:
            return
        try:
            await asyncio.to_thread(self._archive.keep, self.current.sources)
        except OSError as error:
            log.error("accepted policy could not be kept for the next start", error=str(error))

    def _reject(self, rejected: str, error: PolicyError, sources: Sources | None = None) -> None:
        """Report a rejected version, once as long as it stays the newest."""
        if self._rejected == rejected:
            return
        self._rejected, self._rejection = rejected, error
        self._metrics.rejected()
        log.error(
            "policy rejected, keeping the previous version",
            error=str(error),
            hash=sources.hash if sources else None,
            in_force=self.current.hash,
        )
        self._tell(ChangeReason.CHANGED, sources, self.current.sources, error)

    def _report_restored(self) -> None:
        """The files hold the version in force again, after one that was rejected."""
        if self._rejected:
            self._rejected, self._rejection = "", None
            self._metrics.restored()
            log.info("policy files restored to the version in force", hash=self.current.hash)
            self._tell(ChangeReason.RESTORED, self.current.sources, self.current.sources)

    def _report_loaded(self, reason: ChangeReason, before: Sources | None) -> None:
        self.loaded_at = datetime.now(UTC)
        is_kept = reason is ChangeReason.LAST_KNOWN_GOOD
        self._metrics.loaded(self.current.hash, is_kept=is_kept)
        if is_kept:
            log.error("policy rejected at start, the last known good one decides", hash=self.current.hash)
        else:
            log.info("policy loaded", hash=self.current.hash, form=self.current.sources.form)
        self._tell(reason, self.current.sources, before)

    def _tell(
        self, reason: ChangeReason, sources: Sources | None, before: Sources | None, error: PolicyError | None = None
    ) -> None:
        change = PolicyChange(reason=reason, sources=sources, before=before, error=error)
        self.changes.put_nowait((change, datetime.now(UTC)))


@asynccontextmanager
async def open_live_policy(
    config: ClassifierConfig, metrics: PolicyMetrics, archive: PolicyArchive | None = None
) -> AsyncIterator[LivePolicy]:
    """The configured policy, reloaded while the block runs.

    Where it is rejected at the start, the version that the archive has as the last good one decides until the files
    are mended. Raises PolicyError where there is none.
    """
    versions = _Versions(limits_of(config))
    async with background(versions.run(), name="policy-versions"):
        live = LivePolicy(config, metrics, versions, await _start(config, versions, archive), archive)
        await live.keep()
        async with (
            background(live.follow(), name="policy-reload"),
            background(live.check_once_opa_answers(), name="policy-check"),
        ):
            yield live


async def _start(config: ClassifierConfig, versions: _Versions, archive: PolicyArchive | None) -> _First:
    sources: Sources | None = None
    kept = await asyncio.to_thread(archive.last_known_good) if archive else None
    try:
        sources = await asyncio.to_thread(read, config.policy_dir, config.rego_config_map_key)
        before = kept if kept and kept.hash != sources.hash else None
        return _First(running=await versions.start(sources), before=before)
    except OpaUnavailable as error:
        if sources is None:
            raise
        # As when it goes away later: the rules fall back until it answers.
        return _First(running=await versions.start(sources, waits_for_opa=True), unchecked=error)
    except PolicyError as error:
        if kept is None or (sources is not None and kept.hash == sources.hash):
            raise
        try:
            return _First(running=await versions.start(kept), rejected=sources, error=error)
        except PolicyError as other:
            log.error("last known good policy rejected", hash=kept.hash, error=str(other))
            raise error from other


def limits_of(config: ClassifierConfig) -> Limits:
    return Limits(
        evaluation_timeout=config.evaluation_timeout,
        deadline=config.deadline,
        max_memory=config.max_memory,
        opa=_opa(config) if config.engine is PolicyEngine.OPA else None,
    )


def _opa(config: ClassifierConfig) -> OpaServer:
    server = config.opa
    token, ca = (str(path) if path else "" for path in (server.token_file, server.ca_file))
    return OpaServer(url=server.url, timeout=server.timeout, token_file=token, ca_file=ca)
