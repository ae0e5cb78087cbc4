"""The Rego engines, behind one interface; used in the policy process only."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from kubernaut.signalprocessing.policy import heads, negation, recursion
from kubernaut.signalprocessing.policy.analysis import Module, analyse, needs_exact
from kubernaut.signalprocessing.policy.builtins import numbers, table
from kubernaut.signalprocessing.policy.builtins.encodings import json_text
from kubernaut.signalprocessing.policy.builtins.results import WRITTEN_AS_FRACTIONS, Undefined, unmarked
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.ordering import Mixtures
from kubernaut.signalprocessing.policy.protocol import RuleError
from kubernaut.signalprocessing.policy.rewrite import (
    ARITHMETIC,
    HELPERS,
    Rewritten,
    helper_module,
    rewritten,
)
from kubernaut.signalprocessing.policy.syntax import MAX_FILE_BYTES, column_of, parse

ENTRY = "kubernaut_entry.rego"
"""The name of the module that is ours."""


class Engine(Protocol):
    """What we need of a Rego engine."""

    def add_module(self, file: str, text: str) -> None: ...

    def evaluate(self, document: str, rules: list[str]) -> Iterator[bytes | RuleError]:
        """The JSON value of each rule of `kubernaut_entry` for one input document, or why there is none."""
        ...


class Regorus:
    """gordon-to-regorus: the one in use, in two forms of the policy: a fast one and an exact one."""

    def __init__(self, denied_builtins: dict[str, int], *, coverage: bool = False) -> None:
        self._denied = denied_builtins
        self._modules: list[Module] = []
        self._mixtures = Mixtures()
        self._rewritten: dict[str, tuple[tuple[Rewritten, ...], ...]] = {}
        """How each file came to its two forms, step by step."""
        self._fast = _regorus(denied_builtins)
        self._exact = _regorus(denied_builtins)
        tried = _Tried(denied_builtins)
        for name, (count, function) in table.OURS.items():
            for engine in (self._fast, self._exact):
                engine.add_extension(name, count, _as_list(function))
        for name, (count, function) in table.OURS_BEYOND_ASCII.items():
            self._exact.add_extension(name, count, _as_list(function))
        for name, count in table.TRIED.items():
            self._exact.add_extension(name, count, tried.function(name, count))
        for name, count in table.TRIED_ALWAYS.items():
            for engine in (self._fast, self._exact):
                engine.add_extension(name, count, tried.function(name, count))
        for name, function in _ARITHMETIC.items():
            for engine in (self._fast, self._exact):
                engine.add_extension(f"kubernaut.{name}", 2, _as_list(function))
        for engine in (self._fast, self._exact):
            engine.add_extension("kubernaut.ordered", 2, _as_list(self._mixtures.ordered))
            for name in ("ascending", "maximum", "minimum", "nearest", "refuse"):
                engine.add_extension(f"kubernaut.{name}", 1, _as_list(getattr(numbers, name)))
            engine.add_extension("kubernaut.compare", 2, _as_list(numbers.compare))
            engine.add_extension("kubernaut.text_length", 1, _as_list(len))
            engine.add_extension("kubernaut.json_text", 1, _as_list(json_text))
            engine.add_policy(f"{HELPERS}.rego", helper_module())
            engine.set_enable_coverage(coverage)

    def take_coverage(self) -> dict[str, tuple[set[int], set[int]]]:
        """Lines that were evaluated and lines that could have been, by file, since the last call."""
        lines: dict[str, tuple[set[int], set[int]]] = {}
        for engine in (self._fast, self._exact):
            for each in msgspec.json.decode(engine.get_coverage_report_as_json())["files"]:
                covered, known = lines.setdefault(each["path"], (set(), set()))
                covered.update(each["covered"])
                known.update(each["covered"], each["not_covered"])
            engine.clear_coverage_data()
        return lines

    def add_module(self, file: str, text: str) -> None:
        tree = parsed(file, text)
        recursion.check(file, text.encode(), tree)
        steps: list[Rewritten] = []
        try:
            for rewrite in (heads.hoisted, negation.hoisted):
                steps.append(rewrite(file, text.encode(), tree))
                if steps[-1].edits:
                    text = steps[-1].text
                    tree = parse(file, text, max_columns=MAX_FILE_BYTES)
            module = analyse(file, text, tree, is_ours=file == ENTRY)
            fast, exact = rewritten(module, exact=False), rewritten(module, exact=True)
        except PolicyError as error:
            line, column = _written(steps, error.line, error.column)
            raise PolicyError(error.message, file=file, line=line, column=column) from error
        declarations = heads.declarations(module.source, tree)
        for engine, form in ((self._fast, fast), (self._exact, exact)):
            engine.add_policy(file, form.text)
            if declarations:
                engine.add_policy(f"{HELPERS}/{file}", declarations)
        self._rewritten[file] = ((*steps, fast), (*steps, exact))
        self._modules.append(module)

    def evaluate(self, document: str, rules: list[str]) -> Iterator[bytes | RuleError]:
        use_fast = document.isascii() and not needs_exact(self._modules)
        for rule in rules:
            result: bytes | RuleError | None = None
            if use_fast:
                result = self._ask(self._fast, document, rule, 0)
            if result is None or isinstance(result, RuleError):
                result = self._ask(self._exact, document, rule, 1)
            yield result

    def _ask(self, engine: Any, document: str, rule: str, form: int) -> bytes | RuleError:
        self._mixtures.clear()
        WRITTEN_AS_FRACTIONS.clear()
        try:
            engine.set_input_json(document)
            return unmarked(engine.eval_rule_as_json(f"data.kubernaut_entry.{rule}").encode())
        # pyo3's panics are no Exceptions, and a policy that panics the engine is only a bad policy.
        except BaseException as error:  # noqa: BLE001
            found = rule_error(error)
            if found.line and found.file in self._rewritten:
                steps = self._rewritten[found.file][form]
                found.column = column_of(steps[-1].text, found.line, found.column)
                found.line, found.column = _written(steps, found.line, found.column)
            return found
        finally:
            engine.take_prints()


def parsed(file: str, text: str) -> dict[str, Any]:
    """The syntax tree of a policy as it is written. Raises PolicyError with the place of the fault."""
    try:
        return parse(file, text)
    except BaseException as error:  # pyo3's panics are no Exceptions
        found = rule_error(error)
        column = column_of(text, found.line, found.column) if found.line else 0
        raise PolicyError(found.message, file=found.file or file, line=found.line, column=column) from error


def _written(steps: Sequence[Rewritten], line: int, column: int) -> tuple[int, int]:
    """The place in the file as its author wrote it."""
    for step in reversed(steps):
        line, column = step.place(line, column)
    return line, column


def _regorus(denied_builtins: dict[str, int]) -> Any:
    import regorus  # type: ignore[import-untyped]  # no stubs; imported here because only one engine is loaded

    engine = regorus.Engine()
    engine.set_policy_length_config(max_col=MAX_FILE_BYTES, max_file_bytes=MAX_FILE_BYTES, max_lines=50_000)
    engine.set_gather_prints(True)
    for name, argument_count in denied_builtins.items():
        engine.add_extension(name, argument_count, _denied(name))
    return engine


def _as_list(function: Callable[..., Any]) -> Callable[..., list[Any]]:
    """The function as an extension: an empty list where it is undefined."""

    def call(*operands: Any) -> list[Any]:
        try:
            return [function(*operands)]
        except Undefined:
            return []

    return call


_ARITHMETIC = {name: getattr(numbers, name) for name in ARITHMETIC.values()}


_TAKES_SETS = frozenset({"object.remove", "object.filter", "urlquery.encode_object"})
"""Of those that are tried apart; a set is an array there, which is the same to them."""


def _time_and_zone(operand: Any) -> Any:
    """A time with or without a zone; OPA takes an array of one, and looks at a layout without using it."""
    match operand:
        case [moment]:
            return [moment, "UTC"]
        case [moment, zone, layout, *_]:
            return [moment, zone] if isinstance(layout, str) else None
    return operand


class _Tried:
    """Builtins of the engine by themselves, so that one that fails takes nothing with it."""

    def __init__(self, denied_builtins: dict[str, int]) -> None:
        self._denied = denied_builtins
        self._engines: dict[str, Any] = {}

    def function(self, name: str, count: int) -> Callable[..., list[Any]]:
        def call(*operands: Any) -> list[Any]:
            if name not in _TAKES_SETS and any(isinstance(operand, (set, frozenset)) for operand in operands):
                return []
            if name in table.TRIED_ALWAYS:
                operands = (_time_and_zone(operands[0]),)
            engine = self._engine(name, count)
            engine.set_input_json(msgspec.json.encode(operands).decode())
            try:
                found = msgspec.json.decode(engine.eval_rule_as_json("data.tried.result"))
            except BaseException:  # noqa: BLE001 - a panic of the engine is no Exception
                return []
            return found if isinstance(found, list) else []

        return call

    def _engine(self, name: str, count: int) -> Any:
        if name not in self._engines:
            engine = self._engines[name] = _regorus(self._denied)
            operands = ", ".join(f"input[{place}]" for place in range(count))
            engine.add_policy("tried.rego", f"package tried\n\nresult := [{name}({operands})]\n")
        return self._engines[name]


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
_EXTENSION_ERROR = re.compile(r"extension '([\w.]+)' raises Python error: \w+: ")
_REGOPY_ERROR = re.compile(r"errormsg \d+:(?P<message>[^)]+)\)")
_MAX_MESSAGE_CHARS = 500


def rule_error(error: BaseException) -> RuleError:
    """The engine's error, with file, line and column when it tells them."""
    if isinstance(error, PolicyError):
        return RuleError(message=error.message, file=error.file, line=error.line, column=error.column)
    text = str(error).split("Stack backtrace:")[0].strip()
    text = _EXTENSION_ERROR.sub(r"\1: ", text)
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
