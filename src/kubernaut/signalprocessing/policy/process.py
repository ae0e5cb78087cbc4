"""One policy in one process: started, asked, watched over, and started again when it dies.

Questions are pipelined and answered in order, so a question needs no id and no thread: the oldest unanswered one is the
one being evaluated. When the process dies by its own time limit, or the oldest question outlives the deadline, that
question fails and the others are asked again in a new process. When it dies of anything else, the oldest question gets
a second chance before it is blamed.
"""

import asyncio
import contextlib
import os
import signal
import struct
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import structlog

import kubernaut
from kubernaut.ops.backoff import Backoff
from kubernaut.signalprocessing.policy import sandbox
from kubernaut.signalprocessing.policy.errors import PolicyError, PolicyTimeout, PolicyUnavailable
from kubernaut.signalprocessing.policy.worker import Reply, Setup

log = structlog.get_logger("policy-process")

_WORKER = "kubernaut.signalprocessing.policy.worker"
_reply = msgspec.json.Decoder(Reply)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one policy may use."""

    seconds: float = 0.1
    """Processor seconds for one decision; waiting for a busy machine does not count."""

    load_seconds: float = 5.0
    """Processor seconds for reading the policy."""

    deadline: float = 5.0
    """Wall-clock seconds for one decision, whatever the reason."""

    memory_bytes: int = 1024 * 1024 * 1024
    """Address space of the policy's process."""

    waiting: int = 1024
    """Questions that may wait at one time; more are refused."""


@dataclass(eq=False, kw_only=True)
class _Question:
    frame: bytes
    answer: asyncio.Future[Reply]
    attempts: int = 0


class PolicyProcess:
    """A policy that answers questions; `start` it, `keep_running` it in a task, and close it."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self._setup = setup
        self._limits = limits
        self._waiting: deque[_Question] = deque()
        self._oldest_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pipes: _Pipes | None = None
        self._is_closing = False
        self._idle = asyncio.Event()
        self.restarts = 0
        """How often the process had to be started again."""

    @property
    def pid(self) -> int:
        """The process that answers now; 0 between two."""
        return self._pipes.pid if self._pipes else 0

    async def ask(self, document: bytes) -> Reply:
        """The policy's answers for one input document.

        Raises PolicyTimeout or PolicyUnavailable; a rule that fails is part of the reply.
        """
        if self._is_closing:
            raise PolicyUnavailable("the policy was replaced while it was asked")
        if len(self._waiting) >= self._limits.waiting:
            raise PolicyUnavailable(f"{self._limits.waiting} questions are waiting already")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        question = _Question(frame=struct.pack(">I", len(document)) + document, answer=answer)
        if not self._waiting:
            self._watch_from_now()
        self._waiting.append(question)
        if self._pipes:
            self._pipes.write(question.frame)
        return await answer

    async def retire(self) -> None:
        """Answer what was asked, and take no more."""
        self._is_closing = True
        while self._waiting:
            self._idle.clear()
            await self._idle.wait()

    async def start(self) -> None:
        """Start the process and give it the policy. Raises PolicyError when the engine refuses it."""
        # Only what an import needs is handed over: no secret of ours belongs into that process.
        path = [str(Path(kubernaut.__file__).parents[1]), *(entry for entry in sys.path if entry)]
        loop = asyncio.get_running_loop()
        _, pipes = await loop.subprocess_exec(
            lambda: _Pipes(self._answered),
            *(sys.executable, "-S", "-m", _WORKER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            pipes.send(msgspec.json.encode(self._setup))
            async with asyncio.timeout(self._limits.load_seconds * 4):
                reply = await pipes.loaded
        except TimeoutError:
            await pipes.aclose()
            raise PolicyTimeout("the policy could not be read in time") from None
        except BaseException:
            await pipes.aclose()
            raise
        if fault := reply.faults.get(""):
            await pipes.aclose()
            raise PolicyError(fault.message, file=fault.file, line=fault.line, column=fault.column)
        self._pipes = pipes
        self._watch_from_now()
        for question in self._waiting:
            pipes.write(question.frame)

    async def keep_running(self) -> None:
        """Start the process again whenever it ends, until cancelled."""
        backoff = Backoff(initial_delay=0.05, max_delay=10.0)
        failures = 0
        while True:
            if self._pipes:
                await self._pipes.ended.wait()
                self._blame(self._pipes)
                self._pipes = None
            try:
                await self.start()
                self.restarts += 1
                failures = 0
            except (PolicyError, OSError) as error:
                failures += 1
                log.warning("policy process did not start", error=str(error), attempt=failures)
                self._fail_all(PolicyUnavailable(f"the policy's process does not start: {error}"))
                await asyncio.sleep(backoff.delay(failures))

    async def give_up_when_it_ends(self) -> None:
        """In place of `keep_running`: when the process ends, whoever still waits is told."""
        if self._pipes:
            await self._pipes.ended.wait()
            self._blame(self._pipes)
            self._fail_all(PolicyUnavailable(f"the policy's process ended ({self._pipes.returncode})"))

    async def aclose(self) -> None:
        """End the process; whoever still waits gets PolicyUnavailable."""
        self._is_closing = True
        if self._timer:
            self._timer.cancel()
        if self._pipes:
            await self._pipes.aclose()
        self._fail_all(PolicyUnavailable("the policy's process was closed"))

    def _answered(self, frame: bytes) -> None:
        question = self._waiting.popleft()
        self._oldest_since = asyncio.get_running_loop().time()
        if not self._waiting:
            self._idle.set()
        if not question.answer.done():  # whoever asked may have been cancelled
            question.answer.set_result(_reply.decode(frame))

    def _watch_from_now(self) -> None:
        loop = asyncio.get_running_loop()
        self._oldest_since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._limits.deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        due = self._oldest_since + self._limits.deadline
        if loop.time() < due or self._pipes is None:
            self._timer = loop.call_at(max(due, loop.time() + 0.01), self._check_deadline)
            return
        self._pipes.overran = True
        self._pipes.kill()
        self._timer = loop.call_later(self._limits.deadline, self._check_deadline)

    def _blame(self, pipes: "_Pipes") -> None:
        """The oldest question is the one that was being evaluated when the process ended."""
        if self._is_closing or not self._waiting:
            return
        oldest = self._waiting[0]
        oldest.attempts += 1
        if pipes.overran or pipes.returncode == -signal.SIGPROF:
            error: PolicyError = PolicyTimeout(f"evaluation took more than {self._limits.seconds:g} s")
        elif oldest.attempts > 1:
            error = PolicyUnavailable(f"the policy's process ended twice over one question ({pipes.returncode})")
        else:
            return
        self._waiting.popleft()
        if not self._waiting:
            self._idle.set()
        if not oldest.answer.done():
            oldest.answer.set_exception(error)

    def _fail_all(self, error: PolicyError) -> None:
        while self._waiting:
            answer = self._waiting.popleft().answer
            if not answer.done():
                answer.set_exception(error)
        self._idle.set()


class _Pipes(asyncio.SubprocessProtocol):
    """One life of the process: frames in, frames out, and its end."""

    def __init__(self, answered: Callable[[bytes], None]) -> None:
        self._answered = answered
        self._buffer = bytearray()
        self.loaded: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.overran = False
        self.returncode: int | None = None
        self.transport: asyncio.SubprocessTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)  # the loop hands a subprocess nothing else

    @property
    def pid(self) -> int:
        return self.transport.get_pid() or 0

    def send(self, payload: bytes) -> None:
        self.write(struct.pack(">I", len(payload)) + payload)

    def write(self, frame: bytes) -> None:
        # The pipe for input can be written to; uvloop's transports just do not say so by their type.
        stdin = cast("asyncio.WriteTransport | None", self.transport.get_pipe_transport(0))
        if stdin is not None and not stdin.is_closing():
            stdin.write(frame)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            end = start + 4 + struct.unpack_from(">I", buffer, start)[0]
            if len(buffer) < end:
                break
            frame = bytes(buffer[start + 4 : end])
            start = end
            if self.loaded.done():
                self._answered(frame)
            else:
                self.loaded.set_result(_reply.decode(frame))
        del buffer[:start]

    def process_exited(self) -> None:
        self.returncode = self.transport.get_returncode()
        if not self.loaded.done():
            slow = self.returncode == -signal.SIGPROF
            error = (
                PolicyTimeout("reading the policy took too long")
                if slow
                else PolicyUnavailable(f"the policy's process ended at once ({self.returncode})")
            )
            self.loaded.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        # Only now has everything been read that the process still said.
        self.transport.close()
        self.ended.set()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.transport.kill()

    async def aclose(self) -> None:
        if not self.ended.is_set():
            self.kill()
            await self.ended.wait()
        if self.loaded.done() and not self.loaded.cancelled():
            self.loaded.exception()  # retrieved, so that nobody warns about it


def prepared(
    sources: list[tuple[str, str]], entry: str, rules: list[str], limits: Limits, engine: str = "regorus"
) -> PolicyProcess:
    """A process that is not started yet; whoever starts it keeps it running and closes it. Raises PolicyError."""
    for file, text in sources:
        sandbox.check(file, text)
    setup = Setup(
        engine=engine,
        sources=sources,
        entry=entry,
        rules=rules,
        denied=sandbox.DENIED,
        load_seconds=limits.load_seconds,
        seconds=limits.seconds,
        # rego-cpp's allocator reserves more address space than any limit would allow.
        memory_bytes=0 if engine == "regopy" else limits.memory_bytes,
        parent=os.getpid(),
    )
    return PolicyProcess(setup, limits)
