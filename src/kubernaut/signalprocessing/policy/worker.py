"""The process in which a policy is evaluated.

It exists because the engine holds the interpreter lock, has no time limit and is tied to one thread: here it can block,
loop and crash without harm, and be killed. It imports next to nothing, so that it starts at once. The processor time of
one evaluation is limited by a timer whose signal ends the process.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from kubernaut.signalprocessing.policy.engines import ENGINES, ENTRY, Engine, rule_error
from kubernaut.signalprocessing.policy.errors import OpaUnavailable
from kubernaut.signalprocessing.policy.evaluation import evaluate, evaluate_each
from kubernaut.signalprocessing.policy.protocol import NAMING, FrameDecoder, LoadResult, Progress, Setup, encode_frame

if TYPE_CHECKING:
    from kubernaut.signalprocessing.explanation.probes import Probing

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_READ_BYTES = 1 << 16


def main() -> None:
    """Serve until standard input ends."""
    # Whatever an engine prints must not end up between the frames.
    output = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    frames = _read_frames(_STDIN)
    setup = msgspec.json.decode(next(frames), type=Setup)
    _exit_with_parent(setup.parent_pid)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if setup.max_memory:
        resource.setrlimit(resource.RLIMIT_AS, (setup.max_memory, setup.max_memory))
    signal.setitimer(signal.ITIMER_PROF, setup.load_timeout)
    try:
        engine = _load(setup)
        probing = _load_probes(setup) if setup.explains else None
    except BaseException as error:  # noqa: BLE001 - pyo3's panics are no Exceptions
        is_unavailable = isinstance(error, OpaUnavailable)
        _write(output, msgspec.json.encode(LoadResult(error=rule_error(error), is_opa_unavailable=is_unavailable)))
        return
    _write(output, msgspec.json.encode(LoadResult(outline=probing.definitions if probing else None)))
    for document in frames:
        signal.setitimer(signal.ITIMER_PROF, setup.evaluation_timeout)
        if probing and document.startswith(b"?"):
            _write(output, probing.evaluate(document[1:].decode()))
        elif document.startswith(NAMING):
            each = evaluate_each(engine, setup.rules, document[1:].decode(), partial(_announce, output))
            _write(output, msgspec.json.encode(each))
        else:
            _write(output, evaluate(engine, setup.rules, document.decode()))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _load(setup: Setup) -> Engine:
    engine = _engine(setup)
    for file, text in setup.sources:
        engine.add_module(file, text)
    engine.add_module(ENTRY, setup.entry)
    return engine


def _load_probes(setup: Setup) -> "Probing":
    # Only explanations need it; a process that decides starts without.
    from kubernaut.signalprocessing.explanation.probes import Probing

    return Probing(setup)


def _engine(setup: Setup) -> Engine:
    if setup.opa is None:
        return ENGINES[setup.engine](setup.denied_builtins)
    # It imports an HTTP client, which few need.
    from kubernaut.signalprocessing.policy.opa_engine import Opa

    return Opa(setup.opa, setup.policy_hash, waits=setup.waits_for_opa)


def _read_frames(descriptor: int) -> Iterator[bytes]:
    decoder = FrameDecoder()
    while chunk := os.read(descriptor, _READ_BYTES):
        yield from decoder.feed(chunk)


def _announce(descriptor: int, rule: str) -> None:
    _write(descriptor, msgspec.json.encode(Progress(progress=rule)))


def _write(descriptor: int, payload: bytes) -> None:
    rest = memoryview(encode_frame(payload))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _exit_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        # A busy evaluation does not notice that standard input ended; the kernel does.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main()
    except BrokenPipeError:
        os._exit(0)
