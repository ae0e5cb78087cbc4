"""Rules that are added to a policy to learn what each of its definitions says.

A definition such as `priority := "P0" if { a; b }` gets a probe of its own, `kubernaut_probe_3 := "P0" if { a; b }`,
and one for each beginning of its body, `kubernaut_probe_3_1 := true if { a }`, so that the first statement that does
not hold is known. The policy's own rules stay as they are, so the probes see the same values. Used in the policy
process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from kubernaut.signalprocessing.explanation.outline import Definition, outline
from kubernaut.signalprocessing.policy.engines import ENTRY, Engine, Regorus
from kubernaut.signalprocessing.policy.evaluation import environment_is_open
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError, Setup
from kubernaut.signalprocessing.policy.syntax import parse

MARK = b"?"
"""What begins a frame that asks for the probes of a document."""

MAX_DEFINITIONS = 1000
MAX_STATEMENTS = 40
"""Statements of one body that get probes."""

_PREFIX = "kubernaut_probe"
_ENVIRONMENT = " with data.signalprocessing.environment as input.fallbackEnvironment"
_READ_ENVIRONMENT = frozenset({"signalprocessing.priority", "signalprocessing.business"})
"""Packages of the per-dimension form that get the environment as an input."""


class Probing:
    """An engine with the probes of a policy."""

    def __init__(self, setup: Setup) -> None:
        self.definitions = [
            definition for file, text in setup.sources for definition in outline(file, text, parse(file, text))
        ]
        # The beginning of a body may use what a later statement binds; the engine then rejects all there is.
        for with_statements in (True, False):
            self._probes = dict(_probes(setup, self.definitions, with_statements=with_statements))
            try:
                self._engine = _load(setup, self._probes)
            except Exception:
                if not with_statements:
                    raise
                continue
            if not any(isinstance(result, RuleError) for result in self._engine.evaluate("{}", list(self._probes)[:1])):
                return

    def evaluate(self, document: str) -> bytes:
        """An `Evaluation` as JSON whose results are the values of the probes by their names."""
        (environment,) = self._engine.evaluate(document, ["environment"])
        is_open = isinstance(environment, RuleError) or environment_is_open(environment, document)
        suffix = "_with_fallback" if is_open else ""
        names = [*self._probes]
        results: dict[str, Any] = {}
        errors: dict[str, RuleError] = {}
        for name, value in zip(
            names, self._engine.evaluate(document, [f"{each}{suffix}" for each in names]), strict=True
        ):
            if isinstance(value, RuleError):
                errors[name] = value
            else:
                results[name] = msgspec.json.decode(value)
        return msgspec.json.encode(Evaluation(results=results, errors=errors))


def name_of(number: int, statement: int | None = None) -> str:
    """The probe of a definition, or of its body up to a statement, which is counted from 1."""
    return f"{_PREFIX}_{number}" if statement is None else f"{_PREFIX}_{number}_{statement}"


def _probes(
    setup: Setup, definitions: list[Definition], *, with_statements: bool
) -> Iterator[tuple[str, tuple[Definition, str]]]:
    """Each probe's name with its definition and its text."""
    sources = {file: text.encode() for file, text in setup.sources}
    for number, definition in enumerate(definitions[:MAX_DEFINITIONS]):
        if definition.is_function:
            continue
        source = sources[definition.file]
        head = source[slice(*definition.head)].decode()
        body = f"if {source[slice(*definition.query)].decode()}" if definition.query else ""
        yield name_of(number), (definition, f"{name_of(number)}{head}{body}")
        if not with_statements or not definition.query:
            continue
        starts = [statement.start for statement in definition.statements[:MAX_STATEMENTS]]
        for count, end in enumerate(starts[1:], start=1):
            beginning = source[starts[0] : end].decode().rstrip().rstrip(";")
            yield name_of(number, count), (definition, f"{name_of(number, count)} := true if {{\n{beginning}\n}}")
        if len(starts) == len(definition.statements):
            yield name_of(number, len(starts)), (definition, f"{name_of(number, len(starts))} := true {body}")


def _load(setup: Setup, probes: Mapping[str, tuple[Definition, str]]) -> Engine:
    engine = Regorus(setup.denied_builtins)
    for file, text in setup.sources:
        own = "\n".join(probe for definition, probe in probes.values() if definition.file == file)
        engine.add_module(file, f"{text}\n{own}\n")
    entries = "\n".join(_entry(name, definition) for name, (definition, _) in probes.items())
    engine.add_module(ENTRY, f"{setup.entry}\n{entries}\n")
    return engine


def _entry(name: str, definition: Definition) -> str:
    reference = f"data.{definition.package}.{name}"
    own, fallback = "", _ENVIRONMENT
    if definition.package in _READ_ENVIRONMENT:
        own, fallback = (
            f" with input.environment as {which}" for which in ("_own_environment", "_fallback_environment")
        )
    elif definition.package != "signalprocessing":
        fallback = ""
    return f"{name} := [x | x := {reference}{own}]\n{name}_with_fallback := [x | x := {reference}{fallback}]"
