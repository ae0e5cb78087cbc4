"""Child processes in a group of their own that never outlive their owner.

A group lives as long as its first process: when that ends, what is left of the group is killed. So start servers in the
foreground. One that goes to a session of its own nevertheless is found by a mark in its environment, by its parents or
by the log that it writes to, where there is /proc, and ends when the process is stopped (see `ProcessTree`).

When the owner ends, however it ends, the *reaper* ends its groups: one small process for each owner, in a session of
its own, which is started with the first child (see `reaper`). Where the reaper is killed as well, the sweeper finds the
lease.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_muster.records.clock import now
from pytest_muster.workspace import reaper
from pytest_muster.workspace.leases import RUN_VARIABLE, Kind, Leases, started
from pytest_muster.workspace.reaper import MARK, OWN_MARK, ProcessTree

_TAIL = 64 * 1024  # bytes of a log that are ever read back


@dataclass(frozen=True, kw_only=True)
class Death:
    """A process ended, and nobody had asked for it."""

    returncode: int
    """Negative for a signal."""
    at: float
    """Seconds since the epoch: when it was noticed."""
    after: float
    """Seconds since the epoch: when it was last known to be alive."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """What to start."""

    argv: Sequence[str | Path]
    log: Path
    """Standard output and error are appended here."""
    env: Mapping[str, str]
    """Added to this process's own environment."""
    cwd: Path | None = None
    user: str | int | None = None
    """Run as this user, which needs root."""
    test: str | None = None


class Process:
    """A child and its group."""

    def __init__(self, spec: ProcessSpec, leases: Leases, run: str) -> None:
        self.argv = tuple(os.fspath(part) for part in spec.argv)
        self.log = spec.log
        self.died: Death | None = None
        self._alive_at = now()
        """Set when it has ended by itself; noticed by `poll`."""
        self.awaited = False
        """Whether somebody has waited for its end, so that it is no news."""
        self._spec = spec
        self._run = run
        self._lease = leases.prepare(Kind.PROCESS, argv=self.argv, log=str(spec.log), test=spec.test)
        self._mark = f"{run}/{self._lease.path.stem}"
        self._own_log = str(spec.log) if spec.log.is_relative_to(leases.directory.parent) else ""
        """The log if it is a file of this run: into another one strangers may write."""
        self._tree = ProcessTree([self._mark])
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._lock = threading.RLock()
        self._sent: set[signal.Signals] = set()
        """The signals that we have sent it while nothing else was ending it."""
        self._released = False

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name

    @property
    def pid(self) -> int:
        """Its process id; 0 before it has begun."""
        return self._popen.pid if self._popen else 0

    @property
    def pgid(self) -> int:
        """The id of its group."""
        return self.pid

    def begin(self) -> None:
        """Start it, leased and watched from its first moment; once. Raises `OSError` if it cannot start.

        Whoever interrupts this must `stop` it.
        """
        with self._lock:
            if self._released:
                return
            self._lease.write(mark=self._mark)
            _REAPER.tell("expect", self._mark, self._own_log)
            try:
                self._popen = self._open()
            except OSError:
                self._release()
                raise
            _REAPER.tell("add", self._mark, self._own_log, self.pid)
            self._lease.write(pid=self.pid, pgid=self.pgid, start=started(self.pid))

    def _open(self) -> subprocess.Popen[bytes]:
        spec = self._spec
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as output:
            self._log_start = output.seek(0, os.SEEK_END)
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.env, RUN_VARIABLE: self._run, MARK: self._mark},
                cwd=spec.cwd,
                user=spec.user,
                group=_group_of(spec.user),
                extra_groups=None if spec.user is None else [],
                start_new_session=True,  # Ctrl-C is for the owner, which stops its children in order
            )

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        with self._lock:
            looked_at = now()
            popen = self._popen
            if popen is None:
                self._alive_at = looked_at
                return None
            if popen.returncode is None and self._end_group_if_over():
                code = popen.wait()
                if not self._look():
                    self._release()
                if not self._asked_for(code):
                    self.died = Death(returncode=code, at=now(), after=self._alive_at)
            if popen.returncode is None:
                self._alive_at = looked_at
            return popen.returncode

    def _asked_for(self, code: int) -> bool:
        """Whether it ended because we wanted it to: not if it got SIGKILL from somebody else before our SIGTERM."""
        return self.is_stopping and (code != -signal.SIGKILL or signal.SIGKILL in self._sent)

    def wait(self, timeout: float) -> int:
        """Wait for its end; raises `TimeoutError`."""
        code = self._await_end(timeout)
        if code is None:
            raise ValueError(f"{self} has not begun")
        self.awaited = True
        return code

    def _await_end(self, timeout: float) -> int | None:
        deadline = time.monotonic() + timeout
        pause = 0.001
        while (code := self.poll()) is None and self._popen is not None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self} still runs after {timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return code

    def await_exit_in_progress(self, timeout: float) -> None:
        """If something else is ending it just now, wait until that is done, so that `died` tells of it."""
        if self.poll() is None and self.pid and _is_exiting(self.pid):
            with contextlib.suppress(TimeoutError):
                self._await_end(timeout)

    @property
    def is_stopping(self) -> bool:
        """Whether we have told it to end."""
        return bool(self._sent)

    def stop(self, grace: float = 5.0) -> int | None:
        """SIGTERM to the group, and SIGKILL after `grace` seconds; when this returns, the group is gone.

        The answer is its exit code, None if it had not begun.
        """
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self._await_end(grace)
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL to the group; when this returns, it is gone. The answer is that of `stop`."""
        self._signal(signal.SIGKILL)
        with self._lock:
            code = self._await_end(10)
            if not self._released:
                for stray in self._look():
                    with contextlib.suppress(OSError):
                        os.kill(stray, signal.SIGKILL)
                self._release()
            return code

    def tail(self, lines: int = 20) -> str:
        """The last lines that this process has written to its log."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(min(self._log_start, size), size - _TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self.poll() is None and self._popen is not None:
                if self._sent or not _is_exiting(self.pid):
                    self._sent.add(number)
                self._look(self.pgid)  # the parents are about to end
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pgid, number)

    def _end_group_if_over(self) -> bool:
        """Whether the first process has ended; then the rest is killed."""
        try:
            if not _has_exited(self.pid):
                return False
        except ChildProcessError:  # somebody else has collected it, so its number may be anybody's by now
            return True
        # Its number stays taken until we collect it: nobody else's group can be hit.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pgid, signal.SIGKILL)
        return True

    def _look(self, *groups: int) -> Iterable[int]:
        """What this process has started and what still lives, with the members of these groups."""
        is_shared = _REAPER.writes(self._own_log, besides=self._mark)
        return self._tree.look(groups, [] if is_shared or not self._own_log else [self._own_log])

    def _release(self) -> None:
        self._lease.release()
        _REAPER.tell("remove", self._mark)
        self._released = True

    def __repr__(self) -> str:
        return f"<process {self.pid}: {' '.join(self.argv)}>"


def _has_exited(child: int) -> bool:
    """Leaves it to be collected; raises `ChildProcessError` if there is no such child."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return started(child) is None  # macOS has no `waitid` before Python 3.13


_PF_EXITING = 0x4
"""The flag of a process whose exit has begun, in `/proc/<pid>/stat`; see linux/sched.h."""


def _is_exiting(pid: int) -> bool:
    """Whether the process is on its way out, although it cannot be collected yet; False where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if int(stat.rpartition(")")[2].split()[6]) & _PF_EXITING:
        return True
    # The kernel turns every signal that ends a process into a pending SIGKILL of its threads.
    pending = next((line for line in status.splitlines() if line.startswith("SigPnd:")), "SigPnd: 0")
    return bool(int(pending.split()[1], 16) >> (signal.SIGKILL - 1) & 1)


def _group_of(user: str | int | None) -> int | None:
    if user is None:
        return None
    import pwd  # the module is not there on systems without users

    return (pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)).pw_gid


def reaper_pid() -> int | None:
    """The process id of this process's reaper, if it has one."""
    return _REAPER.pid


class _Reaper:
    """Our end of the pipe. It starts with the first word, and anew when it has been killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._popen: subprocess.Popen[bytes] | None = None
        self._known: dict[str, str] = {}
        self._logs: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    def writes(self, log: str, *, besides: str) -> bool:
        """Whether a process with another mark has this log, too."""
        return any(other == log for mark, other in list(self._logs.items()) if mark != besides)

    def tell(self, verb: str, mark: str, log: str = "", pid: int = 0) -> None:
        line = f"{verb} {mark} {os.fsencode(log).hex() or '-'} {pid}\n"
        with self._lock:
            if verb == "remove":
                self._known.pop(mark, None)
                self._logs.pop(mark, None)
            else:
                self._known[mark] = line
                self._logs[mark] = log
            if self._popen is not None:
                try:
                    self._send(line)
                except BrokenPipeError:
                    self._disconnect()
                else:
                    return
            if self._known:
                self._start()
                self._send("".join(self._known.values()))

    def _start(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, MARK: OWN_MARK},
            start_new_session=True,
        )

    def _send(self, line: str) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.write(line.encode())

    def _disconnect(self) -> None:
        if self._popen is not None:
            with contextlib.suppress(OSError):
                self._popen.communicate(timeout=5)
            self._popen = None

    def close(self) -> None:
        """Let it end what is left and go."""
        with self._lock, contextlib.suppress(subprocess.TimeoutExpired):
            self._known.clear()
            self._logs.clear()
            self._disconnect()

    def forked(self) -> None:
        """In a child that Python has forked: the reaper and its pipe are the parent's."""
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
            self._popen.returncode = 0  # not our child: nothing to wait for, nothing to warn of
        self.__init__()  # type: ignore[misc]  # a lock that another thread holds is held for ever here


_REAPER = _Reaper()
os.register_at_fork(after_in_child=_REAPER.forked)
atexit.register(_REAPER.close)
