"""The messages between the controller and the process that evaluates a policy.

Frames on standard input and output: a length of four bytes, then JSON. The controller sends a `Setup`, to which the
process replies with a `LoadResult`, and then input documents, to each of which it replies with an `Evaluation`, in the
same order. Both sides import this module, so it imports next to nothing.
"""

import struct
from typing import Any

import msgspec

_HEADER = struct.Struct(">I")


class OpaServer(msgspec.Struct, kw_only=True, frozen=True):
    """An OPA that evaluates in place of the engine in this package."""

    url: str
    timeout: float
    """Seconds for one request."""
    token_file: str = ""
    ca_file: str = ""


class Setup(msgspec.Struct, kw_only=True):
    """What the process is to evaluate, and within which limits."""

    engine: str
    sources: list[tuple[str, str]]
    entry: str
    rules: list[str]
    denied_builtins: dict[str, int]
    load_timeout: float
    evaluation_timeout: float
    max_memory: int
    parent_pid: int
    explains: bool = False
    """Whether the process also tells what each definition of the policy says; for explanations."""
    opa: OpaServer | None = None
    policy_hash: str = ""
    waits_for_opa: bool = False
    """Whether the policy is loaded although OPA is not there."""


class RuleError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a rule, or the whole policy, could not be evaluated."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0


class LoadResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whether the engine accepted the policy."""

    error: RuleError | None = None
    is_opa_unavailable: bool = False
    """The error is that OPA did not answer."""
    outline: Any = None
    """The definitions of the policy, a list of `explanation.outline.Definition`, where they were asked for."""


class Evaluation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Per rule a list that is empty when the rule is undefined; a rule that failed is in `errors` instead."""

    results: dict[str, Any] = {}
    errors: dict[str, RuleError] = {}


NAMING = b"!"
"""What begins a frame whose rules are evaluated one by one, each named by a `Progress` before."""

PROGRESS = b'{"progress"'


class Progress(msgspec.Struct, kw_only=True):
    """The rule that is evaluated next."""

    progress: str


def encode_frame(payload: bytes) -> bytes:
    return _HEADER.pack(len(payload)) + payload


class FrameDecoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the frames that are complete now."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= _HEADER.size:
            payload = start + _HEADER.size
            end = payload + _HEADER.unpack_from(buffer, start)[0]
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[payload:end]))
            start = end
        del buffer[:start]
        return frames
