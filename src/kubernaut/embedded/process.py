"""Child processes that never outlive their parent.

`open_process` starts a command, waits until it is ready, and stops it when the block ends. Three promises hold:
the child is ready inside the block, or a `ProcessDied` has said why not and shown the end of its log;
the child is gone after the block, by the signal it likes best, and by SIGKILL if that takes too long;
the child is gone soon after this process, however this process ends.

The third promise is the kernel's: on Linux a child asks for a signal on its parent's death (PR_SET_PDEATHSIG).
It asks after it has given up root, because a change of user takes the request back, and it then looks whether the
parent is still there, because the parent may have died before the request. The kernel means the parent *thread*:
open processes from a thread that lives as long as they shall.
Where there is no such request, a watcher process of a few lines waits for the end of a pipe that only the parent
holds, and sends the signal.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import structlog

from kubernaut.embedded.errors import ProcessDied

_PR_SET_PDEATHSIG = 1
_LOG_LIMIT = 16 * 1024 * 1024  # bytes; a longer log becomes `name.log.1` at the next start
_TAIL = 64 * 1024  # bytes of the log that are ever read back

log = structlog.get_logger("embedded")


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """What to start, and how to know that it works."""

    name: str
    command: Sequence[str | Path]
    log: Path
    """Standard output and standard error go here, appended."""
    ready: Callable[["Process"], Awaitable[bool]]
    """Asked until it says yes; it may raise to give up at once."""
    ready_within: float = 30.0
    """Seconds."""
    env: Mapping[str, str] | None = None
    """The child's whole environment; this process's own when None."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of that."""
    cwd: Path | None = None
    user: int | None = None
    """Run as this user and the group of the same number; needs root."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within: float = 10.0
    """Seconds between the stop signal and SIGKILL."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the child gets when its parent is gone."""


class Process:
    """A running child."""

    def __init__(self, spec: ProcessSpec, popen: subprocess.Popen[bytes], log_start: int) -> None:
        self.name = spec.name
        self.log = spec.log
        self._spec = spec
        self._popen = popen
        self._log_start = log_start
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._exit_code() is None

    async def ended(self) -> int:
        """Wait for the end of the process; the answer is its exit code, negative for a signal."""
        while (code := self._exit_code()) is None:
            await _end_of(self.pid)
        return code

    async def died(self) -> NoReturn:
        """Wait for the end of the process, then raise `ProcessDied`: for whoever needs it alive."""
        await self.ended()
        raise self.obituary("ended while it was needed")

    def output(self) -> str:
        """What this run of the process has written to its log, at most the last 64 KiB."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL))
            return file.read().decode(errors="replace")

    def obituary(self, what: str) -> ProcessDied:
        """An error that names the process, says how it ended and shows the end of its log."""
        code = self._exit_code()
        how = "still running" if code is None else _manner(code)
        said = self.output()
        lines = [f"  {line}" for line in said.splitlines()[-15:]] or ["  (empty)"]
        message = "\n".join([f"{self.name} {what} ({how}); its log {self.log} ends with", *lines])
        return ProcessDied(message, said)

    async def stop(self) -> None:
        """End the process; when this returns, or is cancelled, it is gone."""
        if self.is_running:
            self._popen.send_signal(self._spec.stop_signal)
        try:
            async with asyncio.timeout(self._spec.stop_within):
                await self.ended()
        except TimeoutError:
            log.warning("process had to be killed", process=self.name, waited=self._spec.stop_within)
        finally:
            if self.is_running:
                self._kill_group()
            self._release_watcher()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(timeout=10)

    def _exit_code(self) -> int | None:
        code = self._popen.poll()
        if code is not None:
            self._release_watcher()
        return code

    def _release_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.communicate(b".", timeout=10)


@asynccontextmanager
async def open_process(spec: ProcessSpec) -> AsyncIterator[Process]:
    """Start a child and wait until it is ready; stop it at the end.

    Raises `ProcessDied` when it ends early or is not ready in time.
    """
    process = _start(spec)
    try:
        await _until_ready(process, spec)
        yield process
    finally:
        await process.stop()


def _start(spec: ProcessSpec) -> Process:
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    if spec.log.exists() and spec.log.stat().st_size > _LOG_LIMIT:
        spec.log.replace(spec.log.with_name(spec.log.name + ".1"))
    with spec.log.open("ab") as output:
        log_start = output.seek(0, os.SEEK_END)
        try:
            # preexec_fn only makes two system calls, so that threads of this process cannot have locked anything
            # it needs.
            popen = subprocess.Popen(
                [os.fspath(part) for part in spec.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**(os.environ if spec.env is None else spec.env), **spec.settings},
                cwd=spec.cwd,
                user=spec.user,
                group=spec.user,
                extra_groups=None if spec.user is None else [],
                start_new_session=True,  # Ctrl-C is for the parent, which stops its children in order
                preexec_fn=_kernel_tie(spec.orphan_signal),
            )
        except OSError as error:
            raise ProcessDied(f"{spec.name} cannot be started: {error}") from error
    process = Process(spec, popen, log_start)
    if not _kernel_ties():
        process._watcher = _watch(process.pid, spec.orphan_signal)  # noqa: SLF001
    return process


async def _until_ready(process: Process, spec: ProcessSpec) -> None:
    pause = 0.005
    try:
        async with asyncio.timeout(spec.ready_within):
            while not await spec.ready(process):
                if not process.is_running:
                    raise process.obituary("ended before it was ready")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await process.ended()
                # Whoever takes long should not be kept busy with questions.
                pause = min(pause * 1.2, 0.1)
    except TimeoutError:
        raise process.obituary(f"was not ready within {spec.ready_within:g} s") from None


def _manner(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


async def _end_of(pid: int) -> None:
    """Return when the process has ended, or a little earlier where the kernel cannot tell."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        await asyncio.sleep(0.02)
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _kernel_ties() -> bool:
    return sys.platform == "linux"


def _kernel_tie(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    if not _kernel_ties():
        return None
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


# Loaded before any fork: the child must not import or load anything.
_libc = ctypes.PyDLL(None, use_errno=True)

_WATCHER = """
import os, sys
pid, number = int(sys.argv[1]), int(sys.argv[2])
if not sys.stdin.buffer.read(1):
    os.kill(pid, number)
"""


def _watch(pid: int, orphan_signal: signal.Signals) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCHER, str(pid), str(int(orphan_signal))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
