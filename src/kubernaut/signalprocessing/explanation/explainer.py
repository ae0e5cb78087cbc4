"""Explaining decisions of one policy from their recorded facts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from kubernaut.api.facts import DecisionFacts
from kubernaut.signalprocessing import facts as recorded
from kubernaut.signalprocessing.explanation import changes, provenance
from kubernaut.signalprocessing.explanation.changes import Candidate
from kubernaut.signalprocessing.explanation.outline import Definition
from kubernaut.signalprocessing.explanation.probes import MARK
from kubernaut.signalprocessing.explanation.result import Answer, Change, Explanation, Input
from kubernaut.signalprocessing.explanation.trace import Trace, rules_of
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.decision import Decision
from kubernaut.signalprocessing.policy.environment import is_decided
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import encode
from kubernaut.signalprocessing.policy.process import Limits, PolicyProcess, open_process
from kubernaut.signalprocessing.policy.protocol import Evaluation
from kubernaut.signalprocessing.policy.sources import Sources

MAX_CHANGES = 8
"""Changes that an explanation names."""

_ANSWERS = ("environment", "severity", "priority")
_LIMITS = Limits(evaluation_timeout=5.0, load_timeout=20.0, deadline=60.0)


class Explainer:
    """Explains decisions; made by `open_explainer`."""

    def __init__(self, sources: Sources, process: PolicyProcess) -> None:
        self._sources = sources
        self._process = process
        self._definitions = msgspec.convert(process.outline, list[Definition])
        self._rules = rules_of(sources)

    async def explain(self, facts: DecisionFacts, recorded_answers: dict[str, str] | None = None) -> Explanation:
        """Why these facts gave these answers. Raises PolicyError when the policy does not answer."""
        given = recorded.policy_input(facts)
        document = encode(given, self._sources.form)
        (decided, evaluation), probes = await asyncio.gather(
            self._decide(facts), self._process.evaluate(MARK + document)
        )
        is_open = _is_open(evaluation)
        trace = Trace(self._definitions, probes)
        answers = [self._answer(name, decided, trace, is_open=is_open) for name in self._rules]
        inputs = self._inputs(facts, trace, is_open=is_open)
        found, tried = await self._changes(facts, decided, trace)
        return Explanation(
            signal="",
            namespace="",
            correlation_id="",
            policy_hash=self._sources.hash,
            answers=answers,
            inputs=inputs,
            changes=found,
            tried=tried,
            differs=_differences(decided, recorded_answers or {}),
            notes=[f"the record left out {path}, which was too large" for path in facts.omitted],
        )

    async def _decide(self, facts: DecisionFacts) -> tuple[Decision, Evaluation | None]:
        given = recorded.policy_input(facts)
        try:
            evaluation = await self._process.evaluate(encode(given, self._sources.form))
        except PolicyError as error:
            return decision.fallback_decision(error, given, self._sources.hash), None
        return decision.decide(evaluation, given, self._sources.hash, self._sources.form), evaluation

    def _answer(self, name: str, decided: Decision, trace: Trace, *, is_open: bool) -> Answer:
        error = next((failure.message for failure in decided.failures if failure.rule == name), "")
        deciding, others = trace.definitions(self._rules[name])
        value, source = _value(name, decided)
        if error or (name == "environment" and is_open):
            given = [msgspec.structs.replace(each, decided=False) for each in deciding]
            deciding, others = [], [*given, *others]
        return Answer(
            name=name,
            value=value,
            source=source,
            rule=deciding[0] if deciding else None,
            others=[*deciding[1:], *others],
            error=error,
        )

    def _inputs(self, facts: DecisionFacts, trace: Trace, *, is_open: bool) -> list[Input]:
        plain = msgspec.to_builtins(facts)
        found: dict[tuple[str, ...], Input] = {}
        for name, rule in self._rules.items():
            paths = trace.inputs(rule)
            if is_open and (name == "environment" or ("signalprocessing", "environment") in trace.rules(rule)):
                paths = [*paths, ("fallbackEnvironment",)]
            for path in paths:
                fact = provenance.fact_of(path)
                if fact is None:
                    continue
                known = found.get(path)
                found[path] = Input(
                    path=provenance.shown(path),
                    value=provenance.value_of(plain, fact),
                    origin=provenance.origin_of(facts, fact),
                    answers=[*(known.answers if known else []), name],
                )
        return list(found.values())

    async def _changes(self, facts: DecisionFacts, decided: Decision, trace: Trace) -> tuple[list[Change], int]:
        """Single changes that give another priority, the smallest first."""
        rule = self._rules["priority"]
        read = [*trace.inputs(rule), *trace.inputs(self._rules["environment"]), ("fallbackEnvironment",)]
        paths = [fact for path in read if (fact := provenance.fact_of(path))]
        tried = changes.candidates(facts, paths, trace.constants(rule))
        others = [other for other, _ in await asyncio.gather(*(self._decide(each.facts) for each in tried))]
        # What the policy says of a value that it does not know: a value that gets the same answer is none of its own.
        unknown = {each.fact: other for each, other in zip(tried, others, strict=True) if each.value == changes.UNKNOWN}
        found: dict[tuple[Any, ...], tuple[tuple[int, ...], Change]] = {}
        for candidate, other in zip(tried, others, strict=True):
            is_removed = candidate.value is None
            is_any = not is_removed and _same(other, unknown.get(candidate.fact))
            key = (candidate.fact, other.priority, is_any, is_removed)
            if other.priority == decided.priority or key in found:
                continue
            rank = (int(is_any), abs(int(decided.priority[1:]) - int(other.priority[1:])), int(is_removed))
            found[key] = (rank, _change(facts, candidate, decided, other, is_any=is_any))
        ranked = sorted(found.values(), key=lambda item: item[0])
        return [change for _, change in ranked[:MAX_CHANGES]], len(tried)


@asynccontextmanager
async def open_explainer(sources: Sources) -> AsyncIterator[Explainer]:
    """An explainer of one policy. Raises PolicyError when the engine rejects it."""
    async with open_process(sources, _LIMITS, explains=True) as process:
        yield Explainer(sources, process)


def _is_open(evaluation: Evaluation | None) -> bool:
    """Whether the policy left the environment open, so that the fallback holds."""
    values = evaluation.results.get("environment") if evaluation else None
    found = values[0] if values else None
    if not isinstance(found, dict):
        return True
    return not is_decided(str(found.get("environment")), str(found.get("source") or ""))


def _value(name: str, decided: Decision) -> tuple[Any, str]:
    match name:
        case "environment":
            return decided.environment, decided.environment_source
        case "severity":
            return decided.severity, decided.severity_source
        case "priority":
            return decided.priority, decided.priority_source
        case "labels":
            return decided.custom_labels, "rego-policy"
        case "cluster":
            return decided.cluster or None, "rego-policy" if decided.cluster else ""
        case _:
            return msgspec.to_builtins(decided.business), "rego-policy"


def _differences(decided: Decision, answers: dict[str, str]) -> list[str]:
    now = {name: str(_value(name, decided)[0]) for name in _ANSWERS}
    return [
        f"{name} is {answers[name]} in the record, and {now[name]} when it is decided again"
        for name in _ANSWERS
        if name in answers and answers[name].lower() != now[name].lower()
    ]


def _same(one: Decision, other: Decision | None) -> bool:
    return other is not None and all(_value(name, one)[0] == _value(name, other)[0] for name in _ANSWERS)


def _change(facts: DecisionFacts, candidate: Candidate, decided: Decision, other: Decision, *, is_any: bool) -> Change:
    before = {name: _value(name, decided)[0] for name in _ANSWERS}
    after = {name: _value(name, other)[0] for name in _ANSWERS}
    return Change(
        fact=list(candidate.fact),
        value=changes.ANY if is_any else candidate.value,
        description=changes.describe(facts, candidate.fact, changes.ANY if is_any else candidate.value),
        answers={name: after[name] for name in _ANSWERS if after[name] != before[name]},
    )
