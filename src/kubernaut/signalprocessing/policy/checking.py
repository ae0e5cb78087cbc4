"""Every fault of a policy that can be found before it decides: in its text, and by evaluating a table of inputs."""

import asyncio
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy import child, contract, decision, input_table
from kubernaut.signalprocessing.policy.candidates import Candidates
from kubernaut.signalprocessing.policy.documents import policy_input_of
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput, encode
from kubernaut.signalprocessing.policy.input_table import ABSENT, Assignment, applied
from kubernaut.signalprocessing.policy.lint import Finding, LintRequest, LintResult, finding_of
from kubernaut.signalprocessing.policy.process import Limits, PolicyProcess, open_process
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError
from kubernaut.signalprocessing.policy.sources import Form, Sources

COMBINATIONS = 2_000
"""Random combinations of values that are evaluated."""

_LINT_TIMEOUT = 60.0  # seconds
_BATCH = 200
_MAX_PER_RULE = 10
"""Faults of evaluation that are reported of one rule."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check found."""

    findings: tuple[Finding, ...]
    evaluated: int = 0
    """Inputs that were evaluated; 0 where the text has faults."""


async def check(sources: Sources, tests: Sequence[tuple[str, str]] = (), *, seed: int = 0) -> CheckResult:
    """Every fault of a policy, and of the text of its tests. Nothing is evaluated as long as the text has faults."""
    entries = sources.entries
    linted = await lint_apart(
        LintRequest(files=[*sources.files, *tests], entries=entries, is_per_dimension=sources.form is not Form.UNIFIED)
    )
    findings = [*linted.findings]
    if any(each.kind in ("syntax", "builtin", "engine", "limit") for each in findings):
        return CheckResult(findings=tuple(findings))
    try:
        async with open_process(sources, Limits()) as process:
            table = _Table(sources, process, linted.candidates)
            await table.evaluate(seed)
            findings += [*table.findings(), *await table.faults()]
            return CheckResult(findings=tuple(findings), evaluated=table.evaluated)
    except PolicyError as error:
        found = RuleError(message=error.message, file=error.file, line=error.line, column=error.column)
        return CheckResult(findings=(*findings, finding_of(found, "engine", sources.files[0][0])))


async def lint_apart(request: LintRequest) -> LintResult:
    """The faults of the text, found in a process of its own that cannot run on for ever."""

    def run() -> LintResult:
        done = child.run("kubernaut.signalprocessing.policy.lint", msgspec.json.encode(request), _LINT_TIMEOUT)
        if done.returncode:
            raise PolicyError(f"the text could not be analysed within its time (exit code {done.returncode})")
        return msgspec.json.decode(done.stdout, type=LintResult)

    try:
        return await asyncio.to_thread(run)
    except subprocess.TimeoutExpired:
        raise PolicyError(f"the text could not be analysed within {_LINT_TIMEOUT:g} s") from None


@dataclass(kw_only=True)
class _Fault:
    rule: str
    error: RuleError
    base: dict[str, Any]
    assignment: Assignment


class _Table:
    """The inputs that were evaluated, and what was wrong with the results."""

    def __init__(self, sources: Sources, process: PolicyProcess, candidates: Sequence[Candidates]) -> None:
        self._sources = sources
        self._process = process
        self._candidates = candidates
        self._defined: set[str] = set()
        self._faults: dict[tuple[str, int, str], _Fault] = {}
        self.evaluated = 0

    async def evaluate(self, seed: int) -> None:
        bases = input_table.documents()
        rows: list[tuple[dict[str, Any], Assignment]] = [(base, {}) for base in bases]
        for number, each in enumerate(input_table.assignments(self._candidates, COMBINATIONS, seed)):
            rows.append((bases[number % len(bases)], each))
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            results = await asyncio.gather(*(self._errors(applied(base, each)) for base, each in batch))
            self.evaluated += len(batch)
            for (base, assignment), errors in zip(batch, results, strict=True):
                for rule, error in errors.items():
                    # A rule that reads one that fails fails at the same place; the first one is reported.
                    key = ("" if error.line else rule, error.line, _kind_of(error.message))
                    self._faults.setdefault(key, _Fault(rule=rule, error=error, base=base, assignment=assignment))

    def findings(self) -> list[Finding]:
        """Required rules that were undefined for every input."""
        file = self._sources.files[0][0]
        missing = [rule for rule in decision.required_rules(self._sources.form) if rule not in self._defined]
        return [
            Finding(
                file=file,
                kind="missing",
                message=f"the required rule {rule} is undefined for every input",
                hint=f"add {contract.RULE_HINTS[rule]}",
            )
            for rule in missing
        ]

    async def faults(self) -> list[Finding]:
        """The others, each with the least input that shows it."""
        counts: dict[str, int] = {}
        found = []
        for fault in self._faults.values():
            counts[fault.rule] = counts.get(fault.rule, 0) + 1
            is_missing = fault.rule not in self._defined and not fault.error.line and "undefined" in fault.error.message
            if counts[fault.rule] > _MAX_PER_RULE or is_missing:
                continue
            found.append(await self._finding(fault))
        return found

    async def _finding(self, fault: _Fault) -> Finding:
        wanted = (fault.error.line, _kind_of(fault.error.message))
        assignment = dict(fault.assignment)
        for path in [*assignment]:
            fewer = {key: value for key, value in assignment.items() if key != path}
            errors = await self._errors(applied(fault.base, fewer))
            error = errors.get(fault.rule)
            if error and (error.line, _kind_of(error.message)) == wanted:
                assignment = fewer
        document = applied(fault.base, assignment)
        kind = "conflict" if "conflicts with" in fault.error.message else "evaluation"
        if not fault.error.line:
            kind = "undefined" if "undefined" in fault.error.message else "result"
        finding = finding_of(fault.error, kind, self._sources.files[0][0])
        shown = self._shown(assignment, fault.base)
        hint = f"{finding.hint}; " if finding.hint else ""
        if kind == "undefined":
            hint = f"add {contract.RULE_HINTS.get(fault.rule, 'a default')}; "
        return msgspec.structs.replace(
            finding,
            message=f"{fault.rule}: {fault.error.message}",
            hint=f"{hint}happens with {shown}",
            input=document,
        )

    def _shown(self, assignment: Assignment, base: dict[str, Any]) -> str:
        """The values that the policy reads of an input; only the changed ones where some were changed."""
        values = dict(assignment)
        if not values:
            for path in map(input_table.place_of, (each.path for each in self._candidates)):
                part: Any = base
                for name in path:
                    part = part.get(name, ABSENT) if isinstance(part, dict) else ABSENT
                values[path] = part
        return " and ".join(_comparison(path, value) for path, value in values.items()) or "every input"

    async def _errors(self, document: dict[str, Any]) -> dict[str, RuleError]:
        """What is wrong with the results for one input, by rule."""
        policy_input = policy_input_of(document)
        encoded = encode(policy_input, self._sources.form)
        try:
            evaluation = await self._process.evaluate(encoded)
        except PolicyError:
            # A busy machine makes an evaluation exceed its time once, a policy that never ends each time.
            try:
                evaluation = await self._process.evaluate(encoded)
            except PolicyError as error:
                return {"policy": RuleError(message=error.message)}
        self._defined |= {rule for rule, values in evaluation.results.items() if values}
        errors = dict(evaluation.errors)
        for rule, message in _broken(evaluation, policy_input, self._sources):
            errors.setdefault(rule, RuleError(message=message))
        return errors


def _broken(evaluation: Evaluation, policy_input: PolicyInput, sources: Sources) -> Iterable[tuple[str, str]]:
    """Results that break the contract, and required ones that are undefined."""
    for failure in decision.decide(evaluation, policy_input, sources.hash, sources.form).failures:
        is_undefined = failure.rule in decision.REQUIRED_RULES and not evaluation.results.get(failure.rule)
        yield failure.rule, "undefined for some inputs" if is_undefined else failure.message


def _kind_of(message: str) -> str:
    """The message without the values in it, so that one fault is reported once."""
    return message.split('"')[0].split(":")[0]


def _comparison(path: Sequence[str], value: Any) -> str:
    name = "input" + "".join(f".{part}" if part.isidentifier() else f'["{part}"]' for part in path)
    return f"no {name}" if value is ABSENT else f"{name} = {msgspec.json.encode(value).decode()}"
