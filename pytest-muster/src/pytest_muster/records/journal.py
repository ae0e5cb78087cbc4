"""The run record: JSON Lines, one object a line, each with a `type` and `at` (seconds since the epoch).

`record.jsonl` is written by the controller (or the only process), `workers/<worker>.jsonl` by each worker; both hold
lines of the same types and `read` puts them together by time. A line is written whole, so that a record is readable
up to the moment at which its writer was killed. Secrets are masked in every line (see `masking`).

    run       schema, run, argv, rootdir, cwd, revision, dirty, seed, workers, dist, python, pytest, xdist, muster,
              platform, cpus
    worker    worker, slot, event: started | finished | crashed, pid, error, signal and status: how a crashed one ended
    collected count, tests: [node id], serial: [node id], pending: [node id], shared: [name], declared: {name: file}
    resource  name, scope: shared | worker, worker, took, error, tail, pid, ok, suspended: [pid],
              event: starting | ready | failed | stopping | stopped | died | probe | cancelled | skipped,
              text: what people read of an error
    phase     name: collection | shared set-up | tests | shared teardown, start, stop
    started   test, worker, order: a worker begins a test; without a `test` line the run was cut off in it
    test      test, worker, slot, order, outcome, serial, start, stop, reason: why it was skipped, is pending, …
              phases: {setup | call | teardown: {start, took, outcome}},
              error: see below, output: {section: text}, leases: [text]
    attempt   as `test`: it failed, and pytest-rerunfailures ran the test once more
    fixture   name, scope: class | module | package | session, node: to which it belongs, took, worker,
              test: which one set it up
    activity  worker, test, phase, kind, count, source, function, …: what the process did that can be seen from outside
              (see `activity`)
    globals   worker, test, module, names: {global: kind of its value}
    leak      test, worker, kind, description, source: file:line of the project that created it, or null (see `leaks`)
    collection_failure  node, worker, text: what could not be collected, and what pytest showed of it
    end       exit, stop_reason, counts: {outcome: n}, wall

`order` counts the tests of one worker from 0. Outcomes are `Outcome`.
An error is {phase, kind: class name, kinds: [class names along the chain of causes], message, errno: number or null,
timed_out: whether a limit of time was over, address: what it could not reach or open, text: what pytest showed,
frames: [{file, line, function, code}] from the outermost frame of the project to the innermost, none: whether it came
from using None, none_names and empty_names: [names in the failing line that were None, or empty], globals:
{module.name: kind} that the innermost frames referred to}. A test that was running when its worker died has an error
of kind `WorkerCrash`.
A second error of the same test, of its teardown, is under `teardown_error`.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from pytest_muster.records.clock import now
from pytest_muster.records.masking import Mask

SCHEMA = 1
"""The version of the record; it grows when a field changes its meaning or goes."""

Line = dict[str, Any]  # JSON: what a line holds depends on its type


_ENCODER = json.JSONEncoder(default=str, separators=(",", ":"))


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    PENDING = "pending"
    INFRASTRUCTURE = "infrastructure"
    """The environment of the test failed, not what it tests."""


class Journal:
    """Appends lines to one file; from any thread, each line whole, and without the secrets that `mask` knows.

    When a line cannot be written, such as on a full disk, the record ends there: `problem` says why,
    and the tests go on.
    """

    def __init__(self, path: Path) -> None:
        self.mask = Mask()
        self.problem: OSError | None = None
        # Re-entrant: a signal handler may write while the thread that it interrupts does.
        self._lock = threading.RLock()
        self._subscribers: list[Callable[[Line], None]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, type: str, **fields: Any) -> None:
        fields = self.mask.line({"type": type, "at": now(), **fields})
        line = _ENCODER.encode(fields)
        with self._lock:
            if not self._file.closed and self.problem is None:
                try:
                    self._file.write(line + "\n")
                except OSError as error:
                    self.problem = error
        for subscriber in self._subscribers:
            subscriber(fields)

    def subscribe(self, subscriber: Callable[[Line], None]) -> None:
        """Call `subscriber` with every line after it is written, in the thread that wrote it."""
        self._subscribers.append(subscriber)

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # what could not be written is tried again here
            self._file.close()


def lines(path: Path, only: str = "") -> Iterator[Line]:
    """The lines of one file, all or only those of a type; a last one that was cut off is left out."""
    start = f'{{"type":"{only}"' if only else ""
    with path.open(encoding="utf-8") as file:
        for text in file:
            if not text.startswith(start):
                continue
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                return


def read(run: Path) -> list[Line]:
    """Every line of a run directory, by time."""
    files = [run / "record.jsonl", *sorted((run / "workers").glob("*.jsonl"))]
    found = [line for file in files if file.exists() for line in lines(file)]
    return sorted(found, key=lambda line: line["at"])
