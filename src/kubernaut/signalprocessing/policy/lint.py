"""What can be said of a policy without evaluating it: every fault with its place and a hint.

Run as a process of its own, because the engine's parser has no time limit: sources on standard input, findings on
standard output.
"""

import difflib
import itertools
import resource
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from kubernaut.signalprocessing.policy import contract, sandbox
from kubernaut.signalprocessing.policy.builtins import table
from kubernaut.signalprocessing.policy.candidates import Candidates, candidates_of
from kubernaut.signalprocessing.policy.engines import ENTRY, Regorus, parsed, rule_error
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.protocol import RuleError
from kubernaut.signalprocessing.policy.rewrite import all_differences
from kubernaut.signalprocessing.policy.syntax import Rule, Syntax, place_of, references, syntax_of

MAX_CPU = 20  # seconds


class Finding(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One fault of a policy."""

    file: str
    line: int = 0
    column: int = 0
    kind: str
    message: str
    hint: str = ""
    input: dict[str, Any] | None = None
    """An input document that shows the fault."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.kind}: {self.message}"


class LintRequest(msgspec.Struct, kw_only=True):
    """What is to be linted."""

    files: list[tuple[str, str]]
    entries: list[str]
    """Paths of the rules that are asked for, such as `data.signalprocessing.severity`."""
    is_per_dimension: bool = False


class LintResult(msgspec.Struct, kw_only=True):
    """The faults, and the values with which the policy compares each input."""

    findings: list[Finding] = []
    candidates: list[Candidates] = []


def lint(request: LintRequest) -> LintResult:
    """Every fault that the text shows."""
    findings: list[Finding] = []
    modules: list[Syntax] = []
    for file, text in request.files:
        try:
            sandbox.check(file, text)
            tree = parsed(file, text)
        except BaseException as error:  # noqa: BLE001 - pyo3's panics are no Exceptions
            found = rule_error(error)
            findings.append(finding_of(found, "syntax" if "not available" not in found.message else "builtin", file))
            continue
        modules.append(syntax_of(file, text, tree))
        findings += [_difference(each, modules[-1]) for each in all_differences(file, text, tree)]
    fields = contract.PER_DIMENSION_FIELDS if request.is_per_dimension else contract.INPUT_FIELDS
    if len(modules) == len(request.files):
        findings += _unused(modules, request.entries)
    for module in modules:
        if not module.is_test:
            findings += _unknown_inputs(module, fields)
        findings += _unreachable(module)
    if not findings:
        findings += _evaluation_faults(request, modules)
    return LintResult(
        findings=findings,
        candidates=candidates_of([module for module in modules if not module.is_test]),
    )


def _evaluation_faults(request: LintRequest, modules: list[Syntax]) -> Iterator[Finding]:
    """What the engine says of each rule only when it evaluates it: unsafe variables, recursion."""
    engine = Regorus(sandbox.DENIED_BUILTINS)
    for file, text in request.files:
        try:
            engine.add_module(file, text)
        except PolicyError as error:
            yield finding_of(rule_error(error), "engine", file)
            return
    paths = sorted({f"data.{each.package}.{rule.name}" for each in modules for rule in each.rules if _has_value(rule)})
    lines = [f"r{number} := [x | x := {path}]" for number, path in enumerate(paths)]
    engine.add_module(ENTRY, "\n".join(["package kubernaut_entry", "import rego.v1", *lines, ""]))
    seen: list[RuleError] = []
    for result in engine.evaluate("{}", [f"r{number}" for number in range(len(paths))]):
        if isinstance(result, RuleError) and result not in seen:
            seen.append(result)
            yield finding_of(result, "engine")


def _has_value(rule: Rule) -> bool:
    return not rule.is_function and not rule.name.startswith(("test_", "todo_test_"))


def finding_of(error: RuleError, kind: str, file: str = "") -> Finding:
    """A fault that the engine reports."""
    return Finding(
        file=error.file or file,
        line=error.line,
        column=error.column,
        kind=kind,
        message=error.message,
        hint=_syntax_hint(error.message),
    )


def _syntax_hint(message: str) -> str:
    hints = {
        "`if` keyword is required": "write `rule := value if { … }`; OPA 1.0 wants `if` before a body",
        "`contains` keyword is required": "write `rule contains value if { … }`",
        "unsafe": "give it a value with `:=` or `some`, or correct its name",
        "brackets nest": "name the inner part as a rule of its own",
        "recursion": "a rule must not depend on itself; take one of the references out",
        "larger than": "split it, or keep tables short",
        "conflicts with": "join the rules with `else`, or make their conditions exclude each other",
    }
    return next((hint for part, hint in hints.items() if part in message), "")


def _difference(error: PolicyError, module: Syntax) -> Finding:
    found = RuleError(message=error.message, file=error.file, line=error.line, column=error.column)
    name = error.message.split(" ")[0]
    hint = ""
    if "there is no such function" in error.message:
        known = [*table.sources(), *(rule.name for rule in module.rules if rule.is_function)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "define it, or see docs/reference/rego-builtins.md"
    elif "is not available" in error.message:
        hint = "docs/reference/rego-builtins.md lists what is available; or use classifier.engine opa"
    return msgspec.structs.replace(finding_of(found, "builtin" if name in table.sources() else "engine"), hint=hint)


def _unknown_inputs(module: Syntax, fields: dict[str, object]) -> Iterator[Finding]:
    for rule in module.rules:
        for path, node in references(rule.tree):
            if path[0] != "input" or len(path) < 2:
                continue
            if unknown := contract.unknown_field(path[1:], fields):
                part, known = unknown
                near = difflib.get_close_matches(part, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
                yield _at(module, node["span"]["start"], "input", f"the input never has the field {part}", hint)


def _at(module: Syntax, offset: int, kind: str, message: str, hint: str = "") -> Finding:
    line, column = place_of(module.source, offset)
    return Finding(file=module.file, line=line, column=column, kind=kind, message=message, hint=hint)


def _unused(modules: list[Syntax], entries: list[str]) -> Iterator[Finding]:
    """Rules that no entry point reads, and references to rules that are nowhere."""
    by_path: dict[str, list[Rule]] = defaultdict(list)
    owners: dict[int, Syntax] = {}
    for module in modules:
        for rule in module.rules:
            by_path[f"data.{module.package}.{rule.name}"].append(rule)
            owners[id(rule)] = module
    tests = [path for path, rules in by_path.items() if owners[id(rules[0])].is_test]
    pending, used = [*tests, *(_existing(by_path, entries))], set[str]()
    while pending:
        path = pending.pop()
        if path in used:
            continue
        used.add(path)
        for rule in by_path[path]:
            for read in _read_paths(rule, owners[id(rule)]):
                pending += _existing(by_path, [read])
    for path, rules in by_path.items():
        if path not in used:
            rule = rules[0]
            yield Finding(
                file=rule.file,
                line=rule.line,
                column=rule.column,
                kind="unused",
                message=f"no rule that is asked for reads {rule.name}",
                hint=_unused_hint(rule.name, owners[id(rule)].package, entries),
            )


def _unused_hint(name: str, package: str, entries: list[str]) -> str:
    """The rule or the package that may have been meant, and what is asked for."""
    packages = {entry.removeprefix("data.").rpartition(".")[0] for entry in entries}
    names = [entry.rpartition(".")[2] for entry in entries]
    written, known = (
        (name, names) if package in packages else (f"package {package}", [f"package {p}" for p in packages])
    )
    near = difflib.get_close_matches(written, sorted(known), n=1)
    meant = f"did you mean {near[0]}? " if near and near[0] != written else ""
    return f"{meant}asked for are {', '.join(entries)}"


def _existing(by_path: dict[str, list[Rule]], paths: Iterable[str]) -> list[str]:
    """The rules that these paths read: the rule itself, one below which they read, or all below them."""
    return [
        known
        for path in paths
        for known in by_path
        if known == path or path.startswith(f"{known}.") or known.startswith(f"{path}.")
    ]


def _read_paths(rule: Rule, module: Syntax) -> Iterator[str]:
    imported = dict(zip(module.aliases, module.imports, strict=True))
    for path, _ in references(rule.tree):
        constant = [part for part in path[: path.index(None) if None in path else len(path)] if part is not None]
        first, *rest = constant
        if first == "data":
            yield ".".join(constant)
        elif first in imported:
            yield ".".join([imported[first], *rest])
        else:
            yield ".".join(["data", module.package, *constant])


def _unreachable(module: Syntax) -> Iterator[Finding]:
    """Rules and branches that decide nothing, because one before them has no condition."""
    by_name: dict[str, list[Rule]] = defaultdict(list)
    for rule in module.rules:
        by_name[rule.name].append(rule)
        for before, body in itertools.pairwise(rule.tree.get("bodies", [])):
            if body["is_else"] and _is_always_true(before):
                text = "this `else` is never reached: the branch before it always holds"
                yield _at(module, body["span"]["start"], "unreachable", text, "give that one a condition")
    for rules in by_name.values():
        always = next((rule for rule in rules if _is_constant(rule)), None)
        for rule in rules if always else ():
            if rule is not always:
                text = f"{rule.name} has a value without a condition in line {always.line if always else 0}"
                hint = "give that one a condition, or make it the `default`"
                yield _at(module, rule.tree["span"]["start"], "unreachable", text, hint)


def _is_constant(rule: Rule) -> bool:
    """A complete rule whose value depends on nothing."""
    head = rule.tree.get("head", {}).get("Compr")
    if rule.is_default or head is None or rule.tree["bodies"] or head["refr"].keys() != {"Var"}:
        return False
    return not any(path[0] != rule.name for path, _ in references(head))


def _is_always_true(body: dict[str, Any]) -> bool:
    statements = body["query"]["stmts"]
    literals = [each["literal"].get("Expr", {}).get("expr", {}) for each in statements]
    return all("True" in literal or literal.get("Bool", {}).get("value") is True for literal in literals)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU, MAX_CPU))
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=LintRequest)
    sys.stdout.buffer.write(msgspec.json.encode(lint(request)))


if __name__ == "__main__":
    main()
