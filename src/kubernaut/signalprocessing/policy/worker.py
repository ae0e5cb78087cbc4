"""The process in which a policy is evaluated.

It exists because the engine holds the interpreter lock, has no time limit and is tied to one thread: here it can block,
loop and crash without harm, and be killed. It imports next to nothing, so that it starts at once.

Frames on standard input and output: a length of four bytes, then JSON. The first frame is a `Setup`, each later one an
input document. The answers come in the same order; each is a `Reply`. The processor time of one evaluation is limited
by a timer whose signal ends the process.
"""

import ctypes
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec


class Setup(msgspec.Struct, kw_only=True):
    """What the process is to evaluate, and within which limits."""

    engine: str
    sources: list[tuple[str, str]]
    entry: str
    rules: list[str]
    denied: dict[str, int]
    load_seconds: float
    seconds: float
    memory_bytes: int
    parent: int


class Fault(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a rule, or the whole policy, gave no answer."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0


class Reply(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Per rule a list that is empty when the rule is undefined; a rule that failed is in `faults` instead."""

    answers: dict[str, Any] = {}
    faults: dict[str, Fault] = {}


class Engine(Protocol):
    """What we need of a Rego engine."""

    def add(self, file: str, text: str) -> None: ...

    def ask(self, document: str, rules: list[str]) -> Iterator[bytes | Fault]:
        """The JSON value of each rule of `kubernaut_entry` for one input document, or why there is none."""
        ...


class Regorus:
    """gordon-to-regorus: the one in use."""

    def __init__(self, denied: dict[str, int]) -> None:
        import regorus  # type: ignore[import-untyped]  # it has no stubs

        self._engine = regorus.Engine()
        self._engine.set_policy_length_config(max_col=10_000, max_file_bytes=2 * 1024 * 1024, max_lines=50_000)
        self._engine.set_gather_prints(True)
        for name, arguments in denied.items():
            self._engine.add_extension(name, arguments, _deny(name))

    def add(self, file: str, text: str) -> None:
        self._engine.add_policy(file, text)

    def ask(self, document: str, rules: list[str]) -> Iterator[bytes | Fault]:
        self._engine.set_input_json(document)
        for rule in rules:
            try:
                yield self._engine.eval_rule_as_json(f"data.kubernaut_entry.{rule}").encode()
            # pyo3's panics are no Exceptions, and a policy that panics the engine is only a bad policy.
            except BaseException as error:  # noqa: BLE001
                yield fault_of(error)
        self._engine.take_prints()


class Regopy:
    """rego-cpp: the fallback, slower and less exact in its messages, with an institution behind it."""

    def __init__(self, denied: dict[str, int]) -> None:
        import regopy  # type: ignore[import-untyped]  # it has no stubs

        self._engine = regopy.Interpreter()

    def add(self, file: str, text: str) -> None:
        # It has no `with data.… as …`; under it, rules see the environment that the policy's own rule says.
        self._engine.add_module(file, re.sub(r" with data\.signalprocessing\.environment as [\w.]+", "", text))

    def ask(self, document: str, rules: list[str]) -> Iterator[bytes | Fault]:
        self._engine.set_input(msgspec.json.decode(document))
        for rule in rules:
            try:
                output = self._engine.query(f"data.kubernaut_entry.{rule}")
                value = msgspec.json.decode(str(output))["expressions"][0]
                yield msgspec.json.encode(value)
            except Exception as error:  # noqa: BLE001 - its failures have no common type
                yield fault_of(error)


ENGINES: dict[str, Callable[[dict[str, int]], Engine]] = {"regorus": Regorus, "regopy": Regopy}

_PLACE = re.compile(r"--> (?P<file>[^\n:]+):(?P<line>\d+):(?P<column>\d+).*?error: (?P<message>[^\n]+)", re.DOTALL)
_REGOPY_ERROR = re.compile(r"errormsg \d+:(?P<message>[^)]+)\)")


def fault_of(error: BaseException) -> Fault:
    """The engine's error, with its place in the policy when it tells one."""
    text = str(error).split("Stack backtrace:")[0].strip()
    if found := _PLACE.search(text):
        return Fault(
            message=found["message"].strip(), file=found["file"], line=int(found["line"]), column=int(found["column"])
        )
    if found := _REGOPY_ERROR.search(text):
        return Fault(message=found["message"].strip())
    return Fault(message=(text.splitlines() or [type(error).__name__])[0][:500])


def _deny(name: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise RuntimeError(f"{name} is not available to policies")

    return refuse


def main() -> None:
    """Serve until standard input ends."""
    # Whatever an engine prints must not end up between the frames.
    output = os.dup(1)
    os.dup2(2, 1)
    frames = _frames(0)
    setup = msgspec.json.decode(next(frames), type=Setup)
    _die_with(setup.parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if setup.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (setup.memory_bytes, setup.memory_bytes))
    engine, reply = _build(setup)
    _send(output, msgspec.json.encode(reply))
    if engine is not None:
        _serve(engine, setup, frames, output)


def _build(setup: Setup) -> tuple[Engine | None, Reply]:
    signal.setitimer(signal.ITIMER_PROF, setup.load_seconds)
    try:
        engine = ENGINES[setup.engine](setup.denied)
        for file, text in setup.sources:
            engine.add(file, text)
        engine.add("kubernaut_entry.rego", setup.entry)
    except BaseException as error:  # noqa: BLE001 - pyo3's panics are no Exceptions
        return None, Reply(faults={"": fault_of(error)})
    return engine, Reply()


def _serve(engine: Engine, setup: Setup, frames: Iterator[bytes], output: int) -> None:
    for document in frames:
        signal.setitimer(signal.ITIMER_PROF, setup.seconds)
        _send(output, _reply_to(engine, setup.rules, document.decode()))
        signal.setitimer(signal.ITIMER_PROF, 0)


class _Environment(msgspec.Struct, frozen=True):
    environment: str = ""
    source: str = ""


class _Fallback(msgspec.Struct, rename="camel"):
    fallback_environment: _Environment = _Environment()


class _Settled(msgspec.Struct):
    environment: list[_Environment] = []


_settled = msgspec.json.Decoder(_Settled)
_fallback = msgspec.json.Decoder(_Fallback)


def _reply_to(engine: Engine, rules: list[str], document: str) -> bytes:
    (answers,) = engine.ask(document, ["own"])
    if not isinstance(answers, Fault) and not _is_settled(answers, document):
        (answers,) = engine.ask(document, ["given"])
    if not isinstance(answers, Fault) and answers.startswith(b"{"):
        return b'{"answers":' + answers + b"}"
    return msgspec.json.encode(_one_by_one(engine, rules, document))


def _is_settled(answers: bytes, document: str) -> bool:
    """Whether the policy decided the environment, or leaves it open exactly as the fallback would."""
    try:
        own = _settled.decode(answers).environment
    except msgspec.DecodeError:
        return False
    if own and is_decision(own[0].environment, own[0].source):
        return True
    fallback = _fallback.decode(document).fallback_environment.environment
    return bool(own) and own[0].environment == fallback


def is_decision(environment: str, source: str) -> bool:
    """Whether this is an environment of ours, and not just the policy's way of saying that it does not know."""
    name = environment.lower()
    return name in {"production", "staging", "development", "test"} or (
        name == "unknown" and source not in {"", "default"}
    )


def _one_by_one(engine: Engine, rules: list[str], document: str) -> Reply:
    """One failing rule takes all answers with it; asked one by one, the others still count."""
    (environment,) = engine.ask(document, ["own_environment"])
    is_settled = not isinstance(environment, Fault) and _is_settled(b'{"environment":' + environment + b"}", document)
    prefix = "own_" if is_settled else "given_"
    answers: dict[str, Any] = {}
    faults: dict[str, Fault] = {}
    results = [environment, *engine.ask(document, [prefix + rule for rule in rules])]
    for rule, answer in zip(["environment", *rules], results, strict=True):
        if isinstance(answer, Fault):
            faults[rule] = answer
        else:
            answers[rule] = msgspec.json.decode(answer)
    return Reply(answers=answers, faults=faults)


def _frames(descriptor: int) -> Iterator[bytes]:
    buffer = bytearray()
    while True:
        while len(buffer) < 4 or len(buffer) < 4 + struct.unpack_from(">I", buffer)[0]:
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                return
            buffer += chunk
        end = 4 + struct.unpack_from(">I", buffer)[0]
        frame = bytes(buffer[4:end])
        del buffer[:end]
        yield frame


def _send(descriptor: int, frame: bytes) -> None:
    rest = memoryview(struct.pack(">I", len(frame)) + frame)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        # A busy evaluation does not notice that standard input ended; the kernel does.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main()
    except BrokenPipeError:
        os._exit(0)
