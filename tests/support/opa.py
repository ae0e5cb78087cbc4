"""Answers of OPA, and of this project's engine, to the same expressions and policies."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from kubernaut.signalprocessing.policy import sandbox
from kubernaut.signalprocessing.policy.engines import ENTRY, Regorus, rule_error
from kubernaut.signalprocessing.policy.protocol import RuleError
from kubernaut.signalprocessing.policy.syntax import parse, syntax_of

Case = tuple[str, dict[str, Any]]
"""An expression and its input."""

OPA_TIMEOUT = 300.0  # seconds

REFUSED = "refused"
"""In place of an answer: the expression is not accepted."""

INVALID = "invalid"
"""In place of an answer: a number that is none, such as `5.`, which OPA cannot write as JSON."""


def written_cases(path: Path) -> list[Case]:
    """Cases of a text file, one a line: an expression, and its input after `###`."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [
        (expression, json.loads(document or "{}"))
        for expression, _, document in (line.partition(" ### ") for line in lines)
    ]


def ask_opa(opa: str, cases: Sequence[Case]) -> list[Any]:
    """OPA's answer to each: a list with the value, an empty list for undefined, or `refused`."""
    answers: dict[int, Any] = {}
    pending = dict(enumerate(cases))
    while pending:
        found = _evaluate(opa, pending)
        if isinstance(found, set):
            answers |= dict.fromkeys(found, REFUSED)
            pending = {number: case for number, case in pending.items() if number not in found}
            continue
        answers |= found
        break
    return [answers[number] for number in range(len(cases))]


def _evaluate(opa: str, cases: dict[int, Case]) -> Any:
    """Answers by number, or the set of the numbers that are refused."""
    numbers = [*cases]
    lines = ["package cases"]
    for number, (expression, document) in cases.items():
        lines.append(f"c{number} := [x | x := {expression} with input as {json.dumps(document)}]")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.rego"
        path.write_text("\n".join(lines), "utf-8")
        checked = _run(opa, "check", "--format=json", "--max-errors=0", str(path))
        rows = {error["location"]["row"] for error in json.loads(checked.stderr or "{}").get("errors", [])}
        if rows:
            return {numbers[row - 2] for row in rows}
        done = _run(opa, "eval", "--format=json", "--data", str(path), "data.cases")
    if not done.stdout and "invalid number literal" in done.stderr:
        half = len(cases) // 2
        if not half:
            return dict.fromkeys(cases, INVALID)
        halves = [dict([*cases.items()][:half]), dict([*cases.items()][half:])]
        return {number: answer for part in halves for number, answer in _evaluate(opa, part).items()}
    if not done.stdout:
        raise RuntimeError(f"OPA ended with {done.returncode}: {done.stderr[-3000:]}")
    output = json.loads(done.stdout, parse_float=Decimal)
    if "result" not in output:
        raise RuntimeError(done.stdout[:2000])
    values = output["result"][0]["expressions"][0]["value"]
    return {number: values.get(f"c{number}", []) for number in numbers}


def ask_engine(cases: Sequence[Case]) -> list[Any]:
    """This engine's answer to each: as OPA's, or a text that says why the case is refused or its rule fails."""
    return [_ask_engine(*case) for case in cases]


def _ask_engine(expression: str, document: dict[str, Any]) -> Any:
    engine = Regorus({})
    try:
        sandbox.check("case.rego", expression)
        engine.add_module("case.rego", f"package kubernaut_entry\nimport rego.v1\nanswer := [x | x := {expression}]\n")
    except BaseException as error:  # noqa: BLE001 - the engine's panics are no Exceptions
        return f"refused: {rule_error(error).message}"
    (answer,) = engine.evaluate(json.dumps(document, ensure_ascii=False), ["answer"])
    return f"failed: {answer.message}" if isinstance(answer, RuleError) else json.loads(answer, parse_float=Decimal)


def difference(opa: Any, ours: Any) -> str | None:
    """How an answer differs in silence; None when it is equal, or somebody learns of it."""
    if isinstance(ours, str):
        return None
    if isinstance(opa, str):
        return f"OPA has no such answer ({opa})" if ours else None
    return None if same(opa, ours) else "another answer"


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, numbers by their exact value."""
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, (int, float, Decimal)) and isinstance(right, (int, float, Decimal)):
        return Decimal(str(left)) == Decimal(str(right))
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def _run(opa: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([opa, *arguments], capture_output=True, text=True, check=False, timeout=OPA_TIMEOUT)


def builtins_of(opa: str) -> list[dict[str, Any]]:
    """The builtins that OPA documents, with their declarations."""
    found: list[dict[str, Any]] = json.loads(_run(opa, "capabilities", "--current").stdout)["builtins"]
    return found


FAILED = "failed"
"""In place of an answer: a rule that fails, as two values of one rule do."""


def rules_of(policy: Path) -> list[str]:
    """The names of a policy's rules, without its functions."""
    text = policy.read_text("utf-8")
    rules = syntax_of(policy.name, text, parse(policy.name, text)).rules
    functions = {rule.name for rule in rules if rule.is_function}
    return [name for name in dict.fromkeys(rule.name for rule in rules) if name not in functions]


def ask_opa_policy(opa: str, policy: Path, document: dict[str, Any]) -> dict[str, Any]:
    """OPA's answer of each rule for one input: a list with the value, an empty list for undefined, or `failed`."""
    rules = rules_of(policy)
    found = _ask_rules(opa, policy, document, "data.signalprocessing")
    if found is not None:
        return {rule: [found[rule]] if rule in found else [] for rule in rules}
    answers = {rule: _ask_rules(opa, policy, document, f"[x | x := data.signalprocessing.{rule}]") for rule in rules}
    return {rule: FAILED if answer is None else answer for rule, answer in answers.items()}


def _ask_rules(opa: str, policy: Path, document: dict[str, Any], query: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.json"
        path.write_text(json.dumps(document))
        done = _run(opa, "eval", "--format=json", "--data", str(policy), "--input", str(path), query)
    output = json.loads(done.stdout, parse_float=Decimal)
    return output["result"][0]["expressions"][0]["value"] if "result" in output else None


def ask_engine_policy(policy: Path, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """This engine's answers of each rule for each input, as OPA's."""
    text, rules = policy.read_text("utf-8"), rules_of(policy)
    engine = Regorus(sandbox.DENIED_BUILTINS)
    sandbox.check(policy.name, text)
    engine.add_module(policy.name, text)
    asked = [f"{rule} := [x | x := data.signalprocessing.{rule}]" for rule in rules]
    engine.add_module(ENTRY, "\n".join(["package kubernaut_entry", "import rego.v1", *asked, ""]))
    answers = []
    for document in documents:
        results = engine.evaluate(json.dumps(document, ensure_ascii=False), rules)
        answers.append(
            {
                rule: FAILED if isinstance(result, RuleError) else json.loads(result, parse_float=Decimal)
                for rule, result in zip(rules, results, strict=True)
            }
        )
    return answers


def dumped(value: Any) -> str:
    """JSON in one line, every number with all its digits."""
    numbers: list[str] = []

    def keep(number: Any) -> str:
        numbers.append(str(number))
        return f"\0{len(numbers) - 1}\0"

    text = json.dumps(value, default=keep, ensure_ascii=True, sort_keys=True)
    for place, number in enumerate(numbers):
        text = text.replace(f'"\\u0000{place}\\u0000"', number)
    return text
