"""One policy in one process: started, supervised, evaluated, and restarted when it dies.

Requests are pipelined and answered in order, so a request needs no id and no thread: the oldest pending one is the one
being evaluated. When the process dies by its own time limit, or the oldest request exceeds the deadline, that request
fails and the others are sent again to a new process. When it dies of anything else, the oldest request is sent a second
time before it fails.
"""

import asyncio
import contextlib
import math
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import structlog

from kubernaut.ops.backoff import Backoff
from kubernaut.ops.tasks import background, shielded
from kubernaut.signalprocessing.policy import child, sandbox
from kubernaut.signalprocessing.policy.errors import OpaUnavailable, PolicyError, PolicyTimeout, PolicyUnavailable
from kubernaut.signalprocessing.policy.protocol import (
    NAMING,
    PROGRESS,
    Evaluation,
    FrameDecoder,
    LoadResult,
    OpaServer,
    Progress,
    Setup,
    encode_frame,
)
from kubernaut.signalprocessing.policy.sources import Sources

log = structlog.get_logger("policy-process")

NAMING_INTERVAL = 30.0
"""Seconds in which one evaluation that takes too long is done again to name the rule; others fail at once."""

_WORKER = "kubernaut.signalprocessing.policy.worker"
_decode_evaluation = msgspec.json.Decoder(Evaluation).decode
_decode_progress = msgspec.json.Decoder(Progress).decode
_decode_load_result = msgspec.json.Decoder(LoadResult).decode


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one policy may use."""

    evaluation_timeout: float = 0.1
    """Processor seconds of one evaluation; waiting for a busy machine does not count."""

    load_timeout: float = 5.0
    """Processor seconds for loading the policy."""

    deadline: float = 5.0
    """Wall-clock seconds of one evaluation, whatever the reason."""

    max_memory: int = 1024 * 1024 * 1024
    """Bytes of address space of the policy's process."""

    max_pending: int = 1024
    """Requests that may wait at one time; more are rejected."""

    opa: OpaServer | None = None
    """The OPA that evaluates in place of the engine in this package."""

    waits_for_opa: bool = False
    """Whether a policy is loaded, unchecked, although OPA is not there; its rules fail until it is."""


@dataclass(eq=False, kw_only=True)
class _Request:
    document: bytes
    response: asyncio.Future[Evaluation]
    attempts: int = 0

    @property
    def frame(self) -> bytes:
        """After a failure the rules are evaluated one by one, to learn which of them it is."""
        return encode_frame(NAMING + self.document if self.attempts else self.document)


@asynccontextmanager
async def open_process(
    sources: Sources, limits: Limits, engine: str = "regorus", *, explains: bool = False
) -> AsyncIterator["PolicyProcess"]:
    """A process that has loaded the policy, restarted whenever it ends while the block runs.

    Raises PolicyError when the sandbox or the engine rejects the policy.
    """
    for file, text in sources.files:
        if limits.opa is None:  # OPA has a parser of its own, and says by its capabilities what policies may use
            sandbox.check(file, text)
    setup = Setup(
        engine=engine,
        sources=[*sources.files],
        entry=sources.entry,
        rules=[*sources.rules],
        denied_builtins=sandbox.DENIED_BUILTINS,
        load_timeout=limits.load_timeout,
        evaluation_timeout=limits.evaluation_timeout,
        # rego-cpp's allocator reserves more address space than any limit would allow.
        max_memory=0 if engine == "regopy" else limits.max_memory,
        parent_pid=os.getpid(),
        explains=explains,
        opa=limits.opa,
        policy_hash=sources.hash,
        waits_for_opa=limits.waits_for_opa,
    )
    process = PolicyProcess(setup, limits)
    try:
        await process._start()  # noqa: SLF001 - only this context manager may start, supervise and close it
        async with background(process._supervise(), name="policy-process"):  # noqa: SLF001
            yield process
    finally:
        await process._aclose()  # noqa: SLF001


class PolicyProcess:
    """A policy that evaluates input documents; made by `open_process`."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self._setup = setup
        self._limits = limits
        self._pending: deque[_Request] = deque()
        self._oldest_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._worker: _Worker | None = None
        self._is_closing = False
        self._idle = asyncio.Event()
        self.outline: Any = None
        """The definitions of the policy, where the process explains."""
        self._rule = ""
        """The rule that is being evaluated, where that is known."""
        self._slow_rule = ""
        """The rule that last took too long."""
        self._named_at = -math.inf
        self.restarts = 0
        """How often the process had to be started again."""

    @property
    def pid(self) -> int:
        """The process that evaluates now; 0 while it is being restarted."""
        return self._worker.pid if self._worker else 0

    async def evaluate(self, document: bytes) -> Evaluation:
        """The results of all rules for one input document.

        Raises PolicyTimeout or PolicyUnavailable; a rule that fails is part of the evaluation.
        """
        if self._is_closing:
            raise PolicyUnavailable("the policy was replaced by a newer version")
        if len(self._pending) >= self._limits.max_pending:
            raise PolicyUnavailable(f"too many pending evaluations (limit {self._limits.max_pending})")
        response: asyncio.Future[Evaluation] = asyncio.get_running_loop().create_future()
        request = _Request(document=document, response=response)
        if not self._pending:
            self._restart_deadline()
        self._pending.append(request)
        if self._worker:
            self._worker.write(request.frame)
        return await response

    async def drain(self) -> None:
        """Answer the pending requests, and accept no more."""
        self._is_closing = True
        while self._pending:
            self._idle.clear()
            await self._idle.wait()

    async def _start(self) -> None:
        """Start the process and have it load the policy. Raises PolicyError when the engine rejects it."""
        loop = asyncio.get_running_loop()
        worker = _Worker(self._on_evaluation)
        try:
            # An event loop that is interrupted here may leave the process running and its transport open.
            await shielded(
                loop.subprocess_exec(
                    lambda: worker,
                    *(sys.executable, "-S", "-m", _WORKER),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=child.environment(),
                    start_new_session=True,
                )
            )
            worker.write(encode_frame(msgspec.json.encode(self._setup)))
            async with asyncio.timeout(self._limits.load_timeout * 4):
                loaded = await worker.loaded
            if error := loaded.error:
                kind = OpaUnavailable if loaded.is_opa_unavailable else PolicyError
                raise kind(error.message, file=error.file, line=error.line, column=error.column)
        except BaseException as error:
            await worker.aclose()
            if isinstance(error, TimeoutError):
                raise PolicyTimeout("loading the policy timed out") from None
            raise
        self._worker = worker
        self.outline = loaded.outline
        self._restart_deadline()
        for request in self._pending:
            worker.write(request.frame)

    async def _supervise(self) -> None:
        """Start the process again whenever it ends, until cancelled."""
        backoff = Backoff(initial_delay=0.05, max_delay=10.0)
        failures = 0
        while True:
            if self._worker:
                await self._worker.ended.wait()
                self._fail_oldest(self._worker)
                self._worker = None
            try:
                await self._start()
                self.restarts += 1
                failures = 0
            except (PolicyError, OSError) as error:
                failures += 1
                log.warning("policy process start failed", error=str(error), attempt=failures)
                self._fail_all(PolicyUnavailable(f"the policy process could not be started: {error}"))
                await asyncio.sleep(backoff.delay(failures))

    async def _aclose(self) -> None:
        """Kill the process; pending requests fail with PolicyUnavailable."""
        self._is_closing = True
        if self._timer:
            self._timer.cancel()
        self._fail_all(PolicyUnavailable("the policy process was closed"))
        if self._worker:
            await self._worker.aclose()

    def _on_evaluation(self, payload: bytes) -> None:
        if payload.startswith(PROGRESS):
            self._rule = _decode_progress(payload).progress
            return
        self._rule = ""
        request = self._pending.popleft()
        self._oldest_since = asyncio.get_running_loop().time()
        if not self._pending:
            self._idle.set()
        if request.response.done():  # its caller may have been cancelled
            return
        try:
            request.response.set_result(_decode_evaluation(payload))
        except (ValueError, RecursionError) as error:
            request.response.set_exception(PolicyUnavailable(f"the policy's answer cannot be read: {error}"))

    def _restart_deadline(self) -> None:
        loop = asyncio.get_running_loop()
        self._oldest_since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._limits.deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._pending:
            return
        loop = asyncio.get_running_loop()
        due = self._oldest_since + self._limits.deadline
        if loop.time() < due or self._worker is None:
            self._timer = loop.call_at(max(due, loop.time() + 0.01), self._check_deadline)
            return
        self._worker.exceeded_deadline = True
        self._worker.kill()
        self._timer = loop.call_later(self._limits.deadline, self._check_deadline)

    def _fail_oldest(self, worker: "_Worker") -> None:
        """Fail the request that was being evaluated when the process ended, unless it deserves a second attempt."""
        if self._is_closing or not self._pending:
            return
        oldest = self._pending[0]
        oldest.attempts += 1
        is_slow = worker.returncode == -signal.SIGPROF
        now = asyncio.get_running_loop().time()
        # A second attempt names the rule; policies that are slow for many signals get none for a while.
        if oldest.attempts == 1 and not worker.exceeded_deadline and not (is_slow and self._was_named(now)):
            return
        rule, self._rule = self._rule, ""
        if is_slow and rule:
            self._slow_rule, self._named_at = rule, now
        error = self._error_of(worker, rule)
        self._pending.popleft()
        if not self._pending:
            self._idle.set()
        if not oldest.response.done():
            oldest.response.set_exception(error)

    def _was_named(self, now: float) -> bool:
        return bool(self._slow_rule) and now - self._named_at < NAMING_INTERVAL

    def _error_of(self, worker: "_Worker", rule: str) -> PolicyError:
        """Why an evaluation failed, with the rule where that is known, and its file."""
        files = [file for file, _ in self._setup.sources]
        named = [file for file in files if file.removesuffix(".rego").removeprefix("custom") == rule]
        file = files[0] if len(files) == 1 else next(iter(named), "")
        where = f", in rule {rule}" if rule else ""
        if worker.exceeded_deadline or worker.returncode == -signal.SIGPROF:
            if not rule and self._slow_rule:
                where = f"; the last one that did was in rule {self._slow_rule}"
            text = f"evaluation took more than {self._limits.evaluation_timeout:g} s{where}"
            return PolicyTimeout(text, file=file, rule=rule)
        text = f"the policy process ended twice during one evaluation (exit code {worker.returncode}){where}"
        return PolicyUnavailable(text, file=file, rule=rule)

    def _fail_all(self, error: PolicyError) -> None:
        while self._pending:
            response = self._pending.popleft().response
            if not response.done():
                response.set_exception(error)
        self._idle.set()


class _Worker(asyncio.SubprocessProtocol):
    """The controller's end of one worker process: frames in, frames out, and its exit."""

    def __init__(self, on_evaluation: Callable[[bytes], None]) -> None:
        self._on_evaluation = on_evaluation
        self._decoder = FrameDecoder()
        self._transport: asyncio.SubprocessTransport | None = None
        self.loaded: asyncio.Future[LoadResult] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.exceeded_deadline = False
        self.returncode: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)  # the loop hands a subprocess nothing else

    @property
    def pid(self) -> int:
        return (self._transport.get_pid() if self._transport else None) or 0

    def write(self, frame: bytes) -> None:
        # The pipe for input can be written to; uvloop's transports do not declare it by their type.
        stdin = cast("asyncio.WriteTransport | None", self._transport and self._transport.get_pipe_transport(0))
        if stdin is not None and not stdin.is_closing():
            stdin.write(frame)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        for payload in self._decoder.feed(data):
            if self.loaded.done():
                self._on_evaluation(payload)
            else:
                self.loaded.set_result(_decode_load_result(payload))

    def process_exited(self) -> None:
        self.returncode = self._transport.get_returncode() if self._transport else None
        if not self.loaded.done():
            error = (
                PolicyTimeout("loading the policy took too much processor time")
                if self.returncode == -signal.SIGPROF
                else PolicyUnavailable(f"the policy process ended at startup (exit code {self.returncode})")
            )
            self.loaded.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        # Only now has everything been read that the process wrote.
        if self._transport:
            self._transport.close()
        self.ended.set()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._transport:
                self._transport.kill()

    async def aclose(self) -> None:
        """Kill the process and wait until it has ended; nothing to do when the event loop never started it."""
        if self._transport and not self.ended.is_set():
            self.kill()
            await shielded(self.ended.wait())
        if self.loaded.done() and not self.loaded.cancelled():
            self.loaded.exception()  # retrieved, so that nobody warns about it
