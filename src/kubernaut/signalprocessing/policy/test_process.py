"""The process in which the tests of a policy run; it writes one line of JSON for whatever has ended.

A test that takes too much processor time ends the process, and whoever started it goes on behind that test.
"""

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy import sandbox
from kubernaut.signalprocessing.policy.engines import ENTRY, Regorus, rule_error
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.evaluation import evaluate
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError
from kubernaut.signalprocessing.policy.rewrite import Edit, apply
from kubernaut.signalprocessing.policy.syntax import Rule, Syntax, parse, syntax_of

TEST_TIMEOUT = 5.0  # processor seconds of one test, as OPA has it
_NAME = re.compile(r"(?:todo_)?test_")
_LOAD_TIMEOUT = 10.0  # processor seconds


class TestRequest(msgspec.Struct, kw_only=True):
    """What is to be tested."""

    files: list[tuple[str, str]]
    entry: str
    rules: list[str]
    documents: list[str] = []
    """Input documents for which the whole policy is evaluated, after the tests that are written in Rego."""
    run: str = ""
    """A regular expression that the path of a test must contain."""
    timeout: float = TEST_TIMEOUT
    start: int = 0
    """Tests and documents before this one are left out."""


class RegoTest(msgspec.Struct, kw_only=True):
    """One test that is written in Rego."""

    file: str
    line: int
    last_line: int
    path: str
    is_skipped: bool = False


class TestedRule(msgspec.Struct, kw_only=True):
    """A rule of the policy, for its coverage."""

    file: str
    name: str
    first_line: int
    last_line: int


class Plan(msgspec.Struct, kw_only=True, tag="plan"):
    tests: list[RegoTest]
    rules: list[TestedRule]


class Ended(msgspec.Struct, kw_only=True, tag="ended"):
    """The end of one test or document."""

    number: int
    outcome: str = ""
    """`pass`, `fail`, `error` or `skip`; empty for a document."""
    message: str = ""
    seconds: float = 0.0
    evaluation: Evaluation | None = None
    covered: dict[str, list[int]] = {}
    known: dict[str, list[int]] = {}


class LoadFailed(msgspec.Struct, kw_only=True, tag="failed"):
    error: RuleError


Message = Plan | Ended | LoadFailed


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=TestRequest)
    output = os.dup(1)
    os.dup2(2, 1)  # whatever an engine prints must not end up between the lines
    for message in _messages(request):
        os.write(output, msgspec.json.encode(message) + b"\n")


def _messages(request: TestRequest) -> Iterator[Message]:
    signal.setitimer(signal.ITIMER_PROF, _LOAD_TIMEOUT)
    try:
        engine, plan = _load(request)
    except BaseException as error:  # noqa: BLE001 - pyo3's panics are no Exceptions
        yield LoadFailed(error=rule_error(error))
        return
    signal.setitimer(signal.ITIMER_PROF, 0)
    yield plan
    for number in range(request.start, len(plan.tests) + len(request.documents)):
        signal.setitimer(signal.ITIMER_PROF, request.timeout)
        started = time.perf_counter()
        if number < len(plan.tests):
            ended = _run(engine, plan.tests[number], number)
        else:
            encoded = evaluate(engine, request.rules, request.documents[number - len(plan.tests)])
            ended = Ended(number=number, evaluation=msgspec.json.decode(encoded, type=Evaluation))
        seconds = time.perf_counter() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
        lines = engine.take_coverage()
        if ended.outcome == "fail" and not ended.message:
            ended.message = _where(plan.tests[number], lines)
        yield msgspec.structs.replace(
            ended,
            seconds=seconds,
            covered={file: sorted(covered) for file, (covered, _) in lines.items()},
            known={file: sorted(known) for file, (_, known) in lines.items()},
        )


def _load(request: TestRequest) -> tuple[Regorus, Plan]:
    engine = Regorus(sandbox.DENIED_BUILTINS, coverage=True)
    modules: list[Syntax] = []
    for file, text in request.files:
        sandbox.check(file, text)
        modules.append(syntax_of(file, text, parse(file, text)))
    texts, tests = _with_unique_names(modules)
    for module, text in zip(modules, texts, strict=True):
        engine.add_module(module.file, text)
    wanted = re.compile(request.run)
    tests = [test for test in tests if wanted.search(test.path)]
    lines = [f"test_{number} := [x | x := {_reference(test)}]" for number, test in enumerate(tests)]
    engine.add_module(ENTRY, "\n".join([request.entry, "is_compiled := true", *lines, ""]))
    # A policy that does not compile fails here, not in each of its tests.
    (result,) = engine.evaluate("{}", ["is_compiled"])
    if isinstance(result, RuleError):
        raise PolicyError(result.message, file=result.file, line=result.line, column=result.column)
    engine.take_coverage()
    rules = [
        TestedRule(
            file=rule.file,
            name=rule.name,
            first_line=rule.line,
            last_line=rule.line + _lines_of(rule, module.source),
        )
        for module in modules
        if not module.is_test
        for rule in module.rules
        if not _NAME.match(rule.name)
    ]
    return engine, Plan(tests=tests, rules=rules)


def _reference(test: RegoTest) -> str:
    return test.path.replace("#", "__kubernaut_")


def _lines_of(rule: Rule, source: bytes) -> int:
    span = rule.tree["span"]
    return source.count(b"\n", span["start"], span["end"])


def _with_unique_names(modules: list[Syntax]) -> tuple[list[str], list[RegoTest]]:
    """The texts with a name of its own for each test, and the tests; the second `test_a` is `test_a#01` to OPA."""
    seen: Counter[str] = Counter()
    tests: list[RegoTest] = []
    texts = []
    for module in modules:
        edits: list[Edit] = []
        for rule in module.rules:
            if not _NAME.match(rule.name) or rule.is_function or rule.is_default:
                continue
            path = f"data.{module.package}.{rule.name}"
            number = seen[path]
            seen[path] += 1
            if number:
                end = _name_end(rule)
                edits.append(Edit(start=end, end=end, text=f"__kubernaut_{number:02}".encode(), phase=2))
                path = f"{path}#{number:02}"
            skipped = rule.name.startswith("todo_")
            last_line = rule.line + _lines_of(rule, module.source)
            test = RegoTest(file=rule.file, line=rule.line, last_line=last_line, path=path, is_skipped=skipped)
            tests.append(test)
        texts.append(apply(module.source, edits).text)
    return texts, tests


def _name_end(rule: Rule) -> int:
    (head,) = rule.tree["head"].values()
    ((_, named),) = head["refr"].items()
    while "refr" in named:
        ((_, named),) = named["refr"].items()
    start: int = named["span"]["start"]
    return start + len(rule.name.encode())


def _run(engine: Regorus, test: RegoTest, number: int) -> Ended:
    if test.is_skipped:
        return Ended(number=number, outcome="skip")
    (result,) = engine.evaluate("{}", [f"test_{number}"])
    if isinstance(result, RuleError):
        place = f"{result.file}:{result.line}: " if result.line else ""
        return Ended(number=number, outcome="error", message=place + result.message)
    values: list[Any] = msgspec.json.decode(result)
    if values and isinstance(values[0], (dict, list)):
        text = "a test with cases in its head is not supported; give each case a test, or use `every`"
        return Ended(number=number, outcome="error", message=text)
    return Ended(number=number, outcome="pass" if values and values[0] is True else "fail")


def _where(test: RegoTest, lines: dict[str, tuple[set[int], set[int]]]) -> str:
    """The last line of the test that was evaluated: the one that does not hold."""
    covered, known = lines.get(test.file, (set(), set()))
    reached = sorted(line for line in covered & known if test.line <= line <= test.last_line)
    return f"{test.file}:{reached[-1]}: does not hold" if reached else f"{test.file}:{test.line}: does not hold"


if __name__ == "__main__":
    main()
