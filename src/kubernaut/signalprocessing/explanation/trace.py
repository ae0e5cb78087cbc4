"""Which definitions of a policy decided, which did not and why, and what was read on the way; pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kubernaut.signalprocessing.explanation.outline import Definition, Reads
from kubernaut.signalprocessing.explanation.probes import name_of
from kubernaut.signalprocessing.explanation.result import DefinitionResult, FailedStatement
from kubernaut.signalprocessing.policy.protocol import Evaluation
from kubernaut.signalprocessing.policy.sources import Form, Sources

InputPath = tuple[str, ...]


def rules_of(sources: Sources) -> dict[str, tuple[str, str]]:
    """Package and rule of each answer."""
    if sources.form is Form.UNIFIED:
        return {name: ("signalprocessing", name) for name in ("environment", *sources.rules)}
    labels = "customlabels" if "customlabels" in sources.entry else "labels"
    return {
        "environment": ("signalprocessing.environment", "result"),
        "severity": ("signalprocessing.severity", "determine_severity"),
        "priority": ("signalprocessing.priority", "result"),
        "labels": (f"signalprocessing.{labels}", "labels"),
        "business": ("signalprocessing.business", "result"),
    }


class Trace:
    """One evaluation of one document, definition by definition."""

    def __init__(self, definitions: Sequence[Definition], probes: Evaluation) -> None:
        self._definitions = definitions
        self._probes = probes
        self._by_rule: dict[tuple[str, str], list[int]] = {}
        for number, definition in enumerate(definitions):
            self._by_rule.setdefault((definition.package, definition.rule), []).append(number)

    def definitions(self, rule: tuple[str, str]) -> tuple[list[DefinitionResult], list[DefinitionResult]]:
        """The definitions that decided, and the others."""
        numbers = self._by_rule.get(rule, [])
        deciding = self._deciding(rule)
        decided = [self._result(number, True) for number in numbers if number in deciding]
        return decided, [self._result(number, False) for number in numbers if number not in deciding]

    def inputs(self, rule: tuple[str, str]) -> list[InputPath]:
        """The paths below `input` that were read, in the order of reading, those of other rules included."""
        return list(dict.fromkeys(path for reads in self._reads([rule]) for path in reads.inputs))

    def rules(self, rule: tuple[str, str]) -> set[tuple[str, str]]:
        """The rules whose values the rule used, itself included."""
        return {rule} | {used for reads in self._reads([rule]) for used in reads.rules}

    def constants(self, rule: tuple[str, str]) -> list[str]:
        """The texts and numbers of all that the rule may read, those first that were compared."""
        near = [constant for reads in self._reads([rule]) for constant in reads.constants]
        far = [constant for reads in self._all_reads(rule) for constant in reads.constants]
        return list(dict.fromkeys([*near, *far]))

    def _value(self, number: int) -> list[Any] | None:
        """A list with the value of a definition, empty where it is undefined; None where it failed."""
        found = self._probes.results.get(name_of(number))
        if found is None:
            return None
        is_empty = self._definitions[number].is_partial and found in ([{}], [[]])
        return [] if is_empty else list(found)

    def _deciding(self, rule: tuple[str, str]) -> set[int]:
        chosen: set[int] = set()
        decided_chains: set[tuple[str, int]] = set()
        for number in self._by_rule.get(rule, []):
            definition = self._definitions[number]
            chain = (definition.file, definition.chain)
            if definition.is_default or definition.is_function or chain in decided_chains or not self._value(number):
                continue
            decided_chains.add(chain)
            chosen.add(number)
        if chosen:
            return chosen
        return {number for number in self._by_rule.get(rule, []) if self._definitions[number].is_default}

    def _result(self, number: int, decided: bool) -> DefinitionResult:
        definition = self._definitions[number]
        value = self._value(number)
        error = self._probes.errors.get(name_of(number))
        failed = None if value or error else self._failed(number)
        return DefinitionResult(
            file=definition.file,
            line=definition.line,
            text=definition.text,
            decided=decided,
            value=value[0] if value else None,
            failed=failed,
            error=error.message if error else "",
            is_default=definition.is_default,
        )

    def _failed(self, number: int) -> FailedStatement | None:
        for count, statement in enumerate(self._definitions[number].statements, start=1):
            if self._probes.results.get(name_of(number, count)) == []:
                return FailedStatement(line=statement.line, text=statement.text)
        return None

    def _reads(self, rules: Iterable[tuple[str, str]]) -> Iterator[Reads]:
        """What was read to evaluate rules: all of a definition that holds, of others up to where they failed."""
        pending, seen = list(rules), set[tuple[str, str]]()
        while pending:
            rule = pending.pop(0)
            if rule in seen:
                continue
            seen.add(rule)
            for number in self._by_rule.get(rule, []):
                for reads in self._evaluated(number, rule):
                    yield reads
                    pending += reads.rules

    def _evaluated(self, number: int, rule: tuple[str, str]) -> Iterator[Reads]:
        definition = self._definitions[number]
        deciding = self._deciding(rule)
        if definition.is_default:
            return
        chain = [each for each in deciding if self._is_same_chain(each, number)]
        if chain and number > chain[0]:
            return  # an earlier branch of `else` decided
        failed = None if definition.is_function or self._value(number) else self._failed(number)
        for statement in definition.statements:
            yield statement.reads
            if failed and statement.line == failed.line and statement.text == failed.text:
                return
        yield definition.reads

    def _is_same_chain(self, one: int, other: int) -> bool:
        left, right = self._definitions[one], self._definitions[other]
        return (left.file, left.chain) == (right.file, right.chain)

    def _all_reads(self, rule: tuple[str, str]) -> Iterator[Reads]:
        pending, seen = [rule], set[tuple[str, str]]()
        while pending:
            rule = pending.pop(0)
            if rule in seen:
                continue
            seen.add(rule)
            for number in self._by_rule.get(rule, []):
                definition = self._definitions[number]
                for reads in (definition.reads, *(statement.reads for statement in definition.statements)):
                    yield reads
                    pending += reads.rules
