"""The Rego engines, behind one interface; used in the policy process only."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from kubernaut.signalprocessing.policy.protocol import RuleError


class Engine(Protocol):
    """What we need of a Rego engine."""

    def add_module(self, file: str, text: str) -> None: ...

    def evaluate(self, document: str, rules: list[str]) -> Iterator[bytes | RuleError]:
        """The JSON value of each rule of `kubernaut_entry` for one input document, or why there is none."""
        ...


class Regorus:
    """gordon-to-regorus: the one in use."""

    def __init__(self, denied_builtins: dict[str, int]) -> None:
        import regorus  # type: ignore[import-untyped]  # no stubs; imported here because only one engine is loaded

        self._engine = regorus.Engine()
        self._engine.set_policy_length_config(max_col=10_000, max_file_bytes=2 * 1024 * 1024, max_lines=50_000)
        self._engine.set_gather_prints(True)
        for name, argument_count in denied_builtins.items():
            self._engine.add_extension(name, argument_count, _denied(name))

    def add_module(self, file: str, text: str) -> None:
        self._engine.add_policy(file, text)

    def evaluate(self, document: str, rules: list[str]) -> Iterator[bytes | RuleError]:
        self._engine.set_input_json(document)
        for rule in rules:
            try:
                yield self._engine.eval_rule_as_json(f"data.kubernaut_entry.{rule}").encode()
            # pyo3's panics are no Exceptions, and a policy that panics the engine is only a bad policy.
            except BaseException as error:  # noqa: BLE001
                yield rule_error(error)
        self._engine.take_prints()


class Regopy:
    """rego-cpp: the fallback, slower and less exact in its messages, with an institution behind it."""

    def __init__(self, denied_builtins: dict[str, int]) -> None:
        import regopy  # type: ignore[import-untyped]  # no stubs; imported here because only one engine is loaded

        self._engine = regopy.Interpreter()

    def add_module(self, file: str, text: str) -> None:
        # It has no `with data.… as …`; under it, rules see the environment that the policy's own rule says.
        self._engine.add_module(file, re.sub(r" with data\.signalprocessing\.environment as [\w.]+", "", text))

    def evaluate(self, document: str, rules: list[str]) -> Iterator[bytes | RuleError]:
        self._engine.set_input(msgspec.json.decode(document))
        for rule in rules:
            try:
                output = self._engine.query(f"data.kubernaut_entry.{rule}")
                value = msgspec.json.decode(str(output))["expressions"][0]
                yield msgspec.json.encode(value)
            except Exception as error:  # noqa: BLE001 - its failures have no common type
                yield rule_error(error)


ENGINES: dict[str, Callable[[dict[str, int]], Engine]] = {"regorus": Regorus, "regopy": Regopy}

# The engines tell the place of an error in their message only. Without a match the message stays as it is.
_REGORUS_ERROR = re.compile(
    r"--> (?P<file>[^\n:]+):(?P<line>\d+):(?P<column>\d+).*?error: (?P<message>[^\n]+)", re.DOTALL
)
_REGOPY_ERROR = re.compile(r"errormsg \d+:(?P<message>[^)]+)\)")
_MAX_MESSAGE_CHARS = 500


def rule_error(error: BaseException) -> RuleError:
    """The engine's error, with file, line and column when it tells them."""
    text = str(error).split("Stack backtrace:")[0].strip()
    if match := _REGORUS_ERROR.search(text):
        return RuleError(
            message=match["message"].strip(), file=match["file"], line=int(match["line"]), column=int(match["column"])
        )
    if match := _REGOPY_ERROR.search(text):
        return RuleError(message=match["message"].strip())
    return RuleError(message=(text.splitlines() or [type(error).__name__])[0][:_MAX_MESSAGE_CHARS])


def _denied(name: str) -> Callable[..., Any]:
    def deny(*_: Any) -> Any:
        raise RuntimeError(f"{name} is not available to policies")

    return deny
