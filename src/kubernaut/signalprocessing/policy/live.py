"""The policy in force, and how a new version takes its place.

A version is one immutable thing: its text, its hash, and a process of its own that holds it compiled. A new version is
read, checked, compiled and asked about a table of representative signals in its own process before one assignment puts
it in force; the old process answers what it was asked and ends. So no decision ever sees two versions, and a version
that is no good never decides anything.
"""

import asyncio
from asyncio import TaskGroup
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import watchfiles

from kubernaut.signalprocessing.config import ClassifierConfig
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy import decision, smoke
from kubernaut.signalprocessing.policy.decision import Decision
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.facts import Facts, document
from kubernaut.signalprocessing.policy.process import Limits, PolicyProcess, prepared
from kubernaut.signalprocessing.policy.sources import Sources, read

log = structlog.get_logger("policy")


class Policy:
    """One version of the policy, ready to decide."""

    def __init__(self, sources: Sources, process: PolicyProcess) -> None:
        self.sources = sources
        self.process = process

    @property
    def hash(self) -> str:
        return self.sources.hash

    async def decide(self, facts: Facts) -> Decision:
        """The decision about one signal; what the policy fails to answer is replaced and stands in its `failures`."""
        form = self.sources.form
        try:
            reply = await self.process.ask(document(facts, form))
        except PolicyError as error:
            return decision.without_policy(str(error), facts, self.hash)
        return decision.decide(reply, facts, self.hash, form)


@asynccontextmanager
async def open_policy(sources: Sources, limits: Limits | None = None, engine: str = "regorus") -> AsyncIterator[Policy]:
    """One version of a policy, checked. Raises PolicyError with file, line and column when it is no good."""
    policy = await _started(sources, limits or Limits(), engine)
    try:
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(policy.process.keep_running(), name="policy-process")
            try:
                yield policy
            finally:
                keeper.cancel()
    finally:
        await policy.process.aclose()


async def _started(sources: Sources, limits: Limits, engine: str = "regorus") -> Policy:
    process = prepared([*sources.files], sources.entry, [*sources.rules], limits, engine)
    await process.start()
    watching = asyncio.create_task(process.give_up_when_it_ends(), name="policy-check")
    try:
        await smoke.check(process, sources)
    except BaseException:
        await process.aclose()
        raise
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    return Policy(sources, process)


class LivePolicy:
    """The policy in force; made by `open_live_policy`."""

    def __init__(self, config: ClassifierConfig, metrics: PolicyMetrics, first: Policy, tasks: TaskGroup) -> None:
        self.current = first
        """The version that decides now. Take it once per signal."""
        self.changed = asyncio.Event()
        """Set whenever another version has come into force; for whoever waits for it."""
        self._config = config
        self._metrics = metrics
        self._tasks = tasks
        self._refused = ""
        self._keeper = self._keep(first)
        metrics.loaded(first.hash)
        log.info("policy is in force", hash=first.hash, form=first.sources.form)

    async def reload(self) -> bool:
        """Read the files and put a new version in force; True when there is one.

        A version that is no good is reported once, and the previous one stays.
        """
        refused = ""
        try:
            sources = await asyncio.to_thread(read, self._config.policy_dir, self._config.rego_config_map_key)
            if sources.hash in (self.current.hash, self._refused):
                return False
            refused = sources.hash
            policy = await _started(sources, self._config.limits())
        except PolicyError as error:
            self._refused = refused
            self._metrics.refused()
            log.error("policy was refused, keeping the previous one", error=str(error), in_force=self.current.hash)
            return False
        await self._swap(policy)
        return True

    async def follow(self) -> None:
        """Reload whenever the directory changes, for ever; a look from time to time catches what no event told."""
        directory = self._config.policy_dir
        while directory is not None:
            try:
                async for _ in changes_in(directory, every=self._config.hot_reload_interval):
                    await self.reload()
            except OSError as error:  # the directory itself is being replaced
                log.warning("policy directory cannot be watched", error=str(error))
            await asyncio.sleep(1.0)

    async def aclose(self) -> None:
        self._keeper.cancel()
        await self.current.process.aclose()

    async def _swap(self, policy: Policy) -> None:
        old, keeper = self.current, self._keeper
        self.current, self._keeper, self._refused = policy, self._keep(policy), ""
        self._metrics.loaded(policy.hash)
        self.changed.set()
        log.info("policy is in force", hash=policy.hash, form=policy.sources.form)
        await old.process.retire()
        keeper.cancel()
        await old.process.aclose()

    def _keep(self, policy: Policy) -> asyncio.Task[None]:
        return self._tasks.create_task(policy.process.keep_running(), name="policy-process")


async def changes_in(directory: Path, *, every: float) -> AsyncIterator[None]:
    """Yields after the directory has been quiet for a moment following a change, and at least every so many seconds."""
    # The directory, never a file: a mounted ConfigMap changes by swapping the link `..data`.
    async for _ in watchfiles.awatch(
        directory,
        watch_filter=None,
        debounce=1600,
        step=200,
        rust_timeout=round(every * 1000),
        yield_on_timeout=True,
        recursive=False,
    ):
        yield None


@asynccontextmanager
async def open_live_policy(config: ClassifierConfig, metrics: PolicyMetrics) -> AsyncIterator[LivePolicy]:
    """The configured policy, followed while the block runs. Raises PolicyError when the first version is no good."""
    sources = await asyncio.to_thread(read, config.policy_dir, config.rego_config_map_key)
    first = await _started(sources, config.limits())
    async with asyncio.TaskGroup() as tasks:
        live = LivePolicy(config, metrics, first, tasks)
        follower = tasks.create_task(live.follow(), name="policy-follow")
        try:
            yield live
        finally:
            follower.cancel()
            await live.aclose()
