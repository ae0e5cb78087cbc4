"""Running the tests of a policy: those in Rego and those in tables, with the lines of the policy that they reach."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from kubernaut.signalprocessing.policy import case_table, child, decision
from kubernaut.signalprocessing.policy.case_table import Case
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import encode
from kubernaut.signalprocessing.policy.outcome import outcome
from kubernaut.signalprocessing.policy.protocol import Evaluation
from kubernaut.signalprocessing.policy.sources import Sources
from kubernaut.signalprocessing.policy.test_process import (
    TEST_TIMEOUT,
    Ended,
    LoadFailed,
    Message,
    Plan,
    TestedRule,
    TestRequest,
)

_PROCESS_TIMEOUT = 600.0  # seconds
_decode = msgspec.json.Decoder(Message).decode


class TestResult(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One test that ended."""

    file: str
    name: str
    outcome: str
    """`pass`, `fail`, `error` or `skip`."""
    message: str = ""
    seconds: float = 0.0


class RuleCoverage(msgspec.Struct, kw_only=True, frozen=True):
    """How much of a rule the tests reached."""

    file: str
    line: int
    name: str
    percent: float


class Coverage(msgspec.Struct, kw_only=True, frozen=True):
    """Lines of the policy, never of its tests."""

    percent: float
    uncovered: dict[str, list[int]]
    """Lines that can be evaluated and were not, by file."""
    rules: list[RuleCoverage]


class TestReport(msgspec.Struct, kw_only=True, frozen=True):
    tests: list[TestResult]
    coverage: Coverage


@dataclass(kw_only=True)
class _Collected:
    plan: Plan | None = None
    ended: dict[int, Ended] = field(default_factory=dict)
    killed: dict[int, str] = field(default_factory=dict)
    covered: dict[str, set[int]] = field(default_factory=dict)
    known: dict[str, set[int]] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        if isinstance(message, LoadFailed):
            error = message.error
            raise PolicyError(error.message, file=error.file, line=error.line, column=error.column)
        if isinstance(message, Plan):
            self.plan = message
            return
        self.ended[message.number] = message
        for lines, found in ((self.covered, message.covered), (self.known, message.known)):
            for file, numbers in found.items():
                lines.setdefault(file, set()).update(numbers)


async def run(
    sources: Sources,
    tests: Sequence[tuple[str, str]],
    cases: Sequence[Case],
    pattern: str = "",
    timeout: float = TEST_TIMEOUT,
) -> TestReport:
    """The results of all tests whose path contains the pattern. Raises PolicyError when a file does not compile."""
    request = TestRequest(
        files=[*sources.files, *tests],
        entry=sources.entry,
        rules=[*sources.rules],
        documents=[_document(case, sources) for case in cases],
        run=pattern,
        timeout=timeout,
    )
    return await asyncio.to_thread(_run, request, sources, cases)


def _run(request: TestRequest, sources: Sources, cases: Sequence[Case]) -> TestReport:
    collected = _Collected()
    while True:
        returncode = _run_once(request, collected)
        plan = collected.plan
        if plan is None:
            raise PolicyError(f"the policy could not be loaded within its time (exit code {returncode})")
        total = len(plan.tests) + len(cases)
        pending = [number for number in range(total) if number not in collected.ended | collected.killed]
        if not pending:
            break
        is_timeout = returncode == -signal.SIGPROF
        text = (
            f"took more than {request.timeout:g} s of processor time"
            if is_timeout
            else f"ended the process: {returncode}"
        )
        collected.killed[pending[0]] = text
        request.start = pending[0] + 1
    results = [_rego_result(number, collected, plan) for number in range(len(plan.tests))]
    for number, case in enumerate(cases, len(plan.tests)):
        results.append(_case_result(case, collected.ended.get(number), collected.killed.get(number, ""), sources))
    return TestReport(tests=results, coverage=_coverage(collected, plan.rules, {file for file, _ in sources.files}))


def _run_once(request: TestRequest, collected: _Collected) -> int:
    try:
        done = child.run(
            "kubernaut.signalprocessing.policy.test_process", msgspec.json.encode(request), _PROCESS_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise PolicyError(f"the tests took more than {_PROCESS_TIMEOUT:g} s") from None
    for line in done.stdout.splitlines():
        collected.add(_decode(line))
    return done.returncode


def _document(case: Case, sources: Sources) -> str:
    encoded = encode(case.policy_input, sources.form)
    if case.document is None:
        return encoded.decode()
    return msgspec.json.encode({**msgspec.json.decode(encoded), **case.document}).decode()


def _rego_result(number: int, collected: _Collected, plan: Plan) -> TestResult:
    test = plan.tests[number]
    ended = collected.ended.get(number)
    if ended is None:
        return TestResult(file=test.file, name=test.path, outcome="error", message=collected.killed[number])
    return TestResult(
        file=test.file, name=test.path, outcome=ended.outcome, message=ended.message, seconds=ended.seconds
    )


def _case_result(case: Case, ended: Ended | None, killed: str, sources: Sources) -> TestResult:
    if ended is None:
        return TestResult(file=case.file, name=case.name, outcome="error", message=killed)
    decided = decision.decide(ended.evaluation or Evaluation(), case.policy_input, sources.hash, sources.form)
    wrong = case_table.mismatches(case.expect, outcome(decided))
    return TestResult(
        file=case.file,
        name=case.name,
        outcome="fail" if wrong else "pass",
        message="; ".join(wrong),
        seconds=ended.seconds,
    )


def _coverage(collected: _Collected, rules: Sequence[TestedRule], files: set[str]) -> Coverage:
    covered = {file: collected.covered.get(file, set()) for file in files}
    known = {file: collected.known.get(file, set()) | covered[file] for file in files}
    return Coverage(
        percent=_percent(sum(map(len, covered.values())), sum(map(len, known.values()))),
        uncovered={file: sorted(known[file] - covered[file]) for file in sorted(files) if known[file] - covered[file]},
        rules=[_rule_coverage(rule, covered[rule.file], known[rule.file]) for rule in rules if rule.file in files],
    )


def _rule_coverage(rule: TestedRule, covered: set[int], known: set[int]) -> RuleCoverage:
    lines = {line for line in known if rule.first_line <= line <= rule.last_line}
    percent = _percent(len(lines & covered), len(lines))
    return RuleCoverage(file=rule.file, line=rule.first_line, name=rule.name, percent=percent)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 100.0
