"""Child processes that never outlive their parent.

`open_process` starts a command, waits until it is ready, and stops it when the block ends. Three promises hold:
inside the block the child is ready; when it is not, `ProcessFailed` says why and shows the end of its log;
after the block the child has ended, by its stop signal, or by SIGKILL if that takes too long;
the child ends soon after this process, however this process ends.

The third promise is the kernel's: on Linux a child requests a signal on its parent's death (PR_SET_PDEATHSIG).
It does so after it has dropped root, because a change of user clears the request, and then checks that the parent
is still alive, because the parent may have died before the request. The kernel means the parent *thread*: open
processes from a thread that lives at least as long as they do.
Other systems have no such request; there a watcher process of a few lines reads a pipe whose other end only the
parent holds, and sends the signal at its end of file.
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

from kubernaut.embedded.errors import ProcessFailed

_PR_SET_PDEATHSIG = 1
_MAX_LOG_BYTES = 16 * 1024 * 1024  # a longer log becomes `name.log.1` at the next start
_MAX_TAIL_BYTES = 64 * 1024  # of the log that are ever read back

log = structlog.get_logger("embedded")


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """What to start, and how to tell that it is ready."""

    name: str
    command: Sequence[str | Path]
    log: Path
    """Standard output and standard error go here, appended."""
    ready: Callable[["Process"], Awaitable[bool]]
    """The readiness probe, called until it returns True; it may raise to give up at once."""
    ready_timeout: float = 30.0
    """Seconds."""
    env: Mapping[str, str] | None = None
    """The child's whole environment; this process's own when None."""
    extra_env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to `env`."""
    cwd: Path | None = None
    user: int | None = None
    """Run as this user and the group of the same number; needs root."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0
    """Seconds between the stop signal and SIGKILL."""
    parent_death_signal: signal.Signals = signal.SIGKILL
    """Sent to the child when its parent has died."""
    before_restart: Callable[[], Awaitable[None]] | None = None
    """What must be done before the command can be started again, such as removing a file of its last run."""


class Process:
    """A running child."""

    def __init__(self, spec: ProcessSpec) -> None:
        """Start it. Raises `ProcessFailed`."""
        self.name = spec.name
        self.log = spec.log
        self._spec = spec
        self._popen, self._log_start, self._watcher = _start(spec)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._exit_code() is None

    async def wait(self) -> int:
        """Wait for the process to exit, and return its exit code, negative for a signal."""
        while (code := self._exit_code()) is None:
            await _wait_for_exit(self.pid)
        return code

    async def raise_on_exit(self) -> NoReturn:
        """Wait for the process to exit, then raise `ProcessFailed`: for a caller that needs it running."""
        await self.wait()
        raise self.exit_error("exited unexpectedly")

    def log_tail(self) -> str:
        """What this run of the process has written to its log, at most the last 64 KiB."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _MAX_TAIL_BYTES))
            return file.read().decode(errors="replace")

    def exit_error(self, description: str) -> ProcessFailed:
        """An error that names the process, its exit code or signal, and the last lines of its log."""
        code, state = self._exit_code(), self.exit_description()
        lines = [f"  {line}" for line in self.log_tail().splitlines()[-15:]] or ["  (empty)"]
        message = "\n".join([f"{self.name} {description} ({state}); last lines of {self.log}:", *lines])
        return ProcessFailed(message, exit_code=code)

    def exit_description(self) -> str:
        """How it has ended, such as "exit code 1" or "killed by SIGKILL"."""
        code = self._exit_code()
        return "still running" if code is None else _exit_text(code)

    async def restart(self) -> None:
        """Start the command again after it has exited, and wait until it is ready.

        Raises `ProcessFailed` when it exits early or is not ready in time.
        """
        if self.is_running:
            raise RuntimeError(f"{self.name} is running")
        if self._spec.before_restart is not None:
            await self._spec.before_restart()
        self._popen, self._log_start, self._watcher = _start(self._spec)
        try:
            await _until_ready(self, self._spec)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the process; when this returns, or is cancelled, it has ended."""
        if self.is_running:
            self._popen.send_signal(self._spec.stop_signal)
        try:
            async with asyncio.timeout(self._spec.stop_timeout):
                await self.wait()
        except TimeoutError:
            log.warning("stop timed out, killing process", process=self.name, stop_timeout=self._spec.stop_timeout)
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
    """Start a child and wait until it is ready; stop it when the block ends.

    Raises `ProcessFailed` when it exits early or is not ready in time.
    """
    process = Process(spec)
    try:
        await _until_ready(process, spec)
        yield process
    finally:
        await process.stop()


def _start(spec: ProcessSpec) -> tuple[subprocess.Popen[bytes], int, subprocess.Popen[bytes] | None]:
    """The child, where its log begins, and its watcher. Raises `ProcessFailed`."""
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    if spec.log.exists() and spec.log.stat().st_size > _MAX_LOG_BYTES:
        spec.log.replace(spec.log.with_name(spec.log.name + ".1"))
    with spec.log.open("ab") as output:
        log_start = output.seek(0, os.SEEK_END)
        try:
            # preexec_fn only makes two system calls: it needs no lock that a thread of this process might hold.
            popen = subprocess.Popen(
                [os.fspath(part) for part in spec.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**(os.environ if spec.env is None else spec.env), **spec.extra_env},
                cwd=spec.cwd,
                user=spec.user,
                group=spec.user,
                extra_groups=None if spec.user is None else [],
                start_new_session=True,  # Ctrl-C reaches the parent only, which stops its children in order
                preexec_fn=_request_parent_death_signal(spec.parent_death_signal),
            )
        except OSError as error:
            raise ProcessFailed(f"cannot start {spec.name}: {error}") from error
    watcher = None if _has_parent_death_signal() else _watch(popen.pid, spec.parent_death_signal)
    return popen, log_start, watcher


async def _until_ready(process: Process, spec: ProcessSpec) -> None:
    interval = 0.005  # seconds
    try:
        async with asyncio.timeout(spec.ready_timeout):
            while not await spec.ready(process):
                if not process.is_running:
                    raise process.exit_error("exited before it was ready")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval):
                        await process.wait()
                # A slow start should not be slowed further by probes.
                interval = min(interval * 1.2, 0.1)
    except TimeoutError:
        raise process.exit_error(f"was not ready after {spec.ready_timeout:g} s") from None


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


async def _wait_for_exit(pid: int) -> None:
    """Return when the process has exited, or after a moment where the kernel has no pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        await asyncio.sleep(0.02)
        return
    loop, exited = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _has_parent_death_signal() -> bool:
    return sys.platform == "linux"


def _request_parent_death_signal(parent_death_signal: signal.Signals) -> Callable[[], None] | None:
    if not _has_parent_death_signal():
        return None
    parent = os.getpid()

    def request() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(parent_death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return request


# Loaded before any fork: the child must not load anything.
_libc = ctypes.PyDLL(None, use_errno=True)

_WATCHER = """
import os, sys
pid, number = int(sys.argv[1]), int(sys.argv[2])
if not sys.stdin.buffer.read(1):
    os.kill(pid, number)
"""


def _watch(pid: int, parent_death_signal: signal.Signals) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCHER, str(pid), str(int(parent_death_signal))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
