"""Words that a project knows to speak for a cause: additional evidence, never a cause by themselves.

`muster_patterns.toml` beside pytest's configuration, or `[[tool.muster.patterns]]` in `pyproject.toml`:

    [[patterns]]                                   # in pyproject.toml: [[tool.muster.patterns]]
    name = "pool-exhausted"
    cause = "infrastructure gone"                  # one of the causes of `muster triage`
    text = "remaining connection slots"            # a regular expression, searched in errors, output and logs
    kind = "OperationalError"                      # and/or: one for a class of the error
    title = "the database has no connection left"
    remedy = "Raise max_connections, or let each worker hold fewer connections."
    matches = ["FATAL: remaining connection slots are reserved"]      # examples that prove the pattern,
    spares = ["connection refused"]                                   # and what it must leave alone

An example is a text; with a `kind`, it is `Kind: text`. `muster triage --check-patterns` proves every example.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_muster.triage.findings import Cause, Evidence, Finding
from pytest_muster.triage.run_view import Failure, RunView

FILE = "muster_patterns.toml"
MAX_LINE_LENGTH = 200  # characters of the line that matched
WORDS_ALONE = 0.6
"""How sure a cause is that only a pattern speaks for."""

_FIELDS = {"name", "cause", "text", "kind", "title", "remedy", "matches", "spares"}


class PatternProblem(Exception):
    """A file of patterns that cannot be used; the text says where and why."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    name: str
    cause: Cause
    title: str
    remedy: str = ""
    text: re.Pattern[str] | None = None
    kind: re.Pattern[str] | None = None
    matches: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    may_claim: bool = True
    """Whether it names the cause of failures that nothing else explains, rather than only supports those who do."""

    def line(self, kinds: Sequence[str], text: str) -> str | None:
        """The line that matches, or the class if the pattern asks for that only; None if it does not match."""
        if self.kind is not None:
            named = next((kind for kind in kinds if self.kind.search(kind)), None)
            if named is None or self.text is None:
                return named
        if self.text is None:
            return None
        found = self.text.search(text)
        if found is None:
            return None
        start = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", found.end())
        return text[start : end if end >= 0 else len(text)].strip()[:MAX_LINE_LENGTH]


def load(root: Path) -> tuple[Pattern, ...]:
    """The patterns of a project; none if it has no file. Raises `PatternProblem`."""
    own = root / FILE
    if own.exists():
        return tuple(_pattern(value, FILE) for value in _table(own).get("patterns", ()))
    project = root / "pyproject.toml"
    if project.exists():
        values = _table(project).get("tool", {}).get("muster", {}).get("patterns", ())
        return tuple(_pattern(value, "pyproject.toml") for value in values)
    return ()


def faults(patterns: Sequence[Pattern]) -> Iterator[str]:
    """Examples that a pattern should match and does not, or should spare and does not; and patterns without any."""
    for pattern in patterns:
        if not pattern.matches:
            yield f"{pattern.name}: give at least one example in `matches`"
        for example in pattern.matches:
            if _tried(pattern, example) is None:
                yield f"{pattern.name}: does not match {example!r}"
        for example in pattern.spares:
            if _tried(pattern, example) is not None:
                yield f"{pattern.name}: matches {example!r}, which it should spare"


def strengthen(claims: Sequence[Finding], view: RunView, patterns: Sequence[Pattern]) -> list[Finding]:
    """The claims with what patterns say for them; and weak claims for failures that only a pattern knows."""
    by_test = {failure.test: failure for failure in view.failures}
    found: dict[str, list[tuple[Pattern, str]]] = {}
    for test, failure in by_test.items():
        for pattern in patterns:
            line = pattern.line((failure.error.kind, *failure.error.kinds), _words(view, failure))
            if line:
                found.setdefault(test, []).append((pattern, line))
    claims = [_strengthened(claim, found) for claim in claims]
    spoken = {(claim.cause, test) for claim in claims for test in claim.tests}
    for pattern in patterns:
        lines = {
            test: line
            for test, hits in found.items()
            for hit, line in hits
            if hit is pattern and pattern.may_claim and (pattern.cause, test) not in spoken
        }
        if lines:
            _explain(claims, pattern, lines, found, by_test)
    return claims


def _explain(
    claims: list[Finding],
    pattern: Pattern,
    lines: Mapping[str, str],
    found: Mapping[str, list[tuple[Pattern, str]]],
    by_test: Mapping[str, Failure],
) -> None:
    """Add tests that only a pattern knows to the claim that it supports for failures of their looks; claim the rest."""
    left = dict(lines)
    for number, claim in enumerate(claims):
        if claim.cause is not pattern.cause or claim.confidence < WORDS_ALONE:
            continue
        looks = {
            by_test[test].class_and_place
            for test in claim.tests
            if any(hit is pattern for hit, _ in found.get(test, ()))
        }
        alike = {test: line for test, line in left.items() if by_test[test].class_and_place in looks}
        if alike:
            text = f"{len(alike)} more failed in the same way, such as: {next(iter(alike.values()))}"
            evidence = (*claim.evidence, Evidence(text=text, test=next(iter(alike))))
            claims[number] = replace(claim, tests=(*claim.tests, *alike), evidence=evidence)
            left = {test: line for test, line in left.items() if test not in alike}
    if left:
        claims.append(_of_words(pattern, left, by_test))


def _strengthened(claim: Finding, found: Mapping[str, list[tuple[Pattern, str]]]) -> Finding:
    for test in claim.tests:
        for pattern, line in found.get(test, ()):
            if pattern.cause is claim.cause:
                evidence = Evidence(text=f"{pattern.title} (pattern {pattern.name}): {line}", test=test)
                sure = claim.confidence + 0.3 * (1 - claim.confidence)
                remedy = pattern.remedy or claim.remedy
                return replace(claim, confidence=sure, evidence=(*claim.evidence, evidence), remedy=remedy)
    return claim


def _of_words(pattern: Pattern, lines: Mapping[str, str], by_test: Mapping[str, Failure]) -> Finding:
    evidence = tuple(
        Evidence(text=line, at=by_test[test].at, worker=by_test[test].worker, test=test, source=by_test[test].source)
        for test, line in list(lines.items())[:5]
    )
    return Finding(
        cause=pattern.cause,
        title=f"{pattern.title} (pattern {pattern.name})",
        confidence=WORDS_ALONE,
        tests=tuple(lines),
        evidence=evidence,
        remedy=pattern.remedy or "See the pattern for what is known of it.",
    )


def _words(view: RunView, failure: Failure) -> str:
    """All words about a failure: of its error, what it put out, and the ends of the logs of shared resources."""
    tails = [event.tail or event.error or "" for event in view.record.resources]
    error = failure.error
    return "\n".join([error.message, error.text, *failure.run.output.values(), *tails])


def _tried(pattern: Pattern, example: str) -> str | None:
    kind, colon, rest = example.partition(": ")
    if pattern.kind is None or not colon:
        return pattern.line([example], example)
    return pattern.line([kind], rest)


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise PatternProblem(f"{path.name}: {problem}") from problem


def _pattern(value: Mapping[str, Any], file: str) -> Pattern:
    where = f"{file}: pattern {value.get('name', '(without a name)')!r}"
    if unknown := sorted(set(value) - _FIELDS):
        raise PatternProblem(f"{where}: unknown {', '.join(unknown)}; allowed are {', '.join(sorted(_FIELDS))}")
    if lacking := sorted({"name", "cause", "title"} - set(value)):
        raise PatternProblem(f"{where}: lacks {', '.join(lacking)}")
    if not ({"text", "kind"} & set(value)):
        raise PatternProblem(f"{where}: needs `text` or `kind`, or it would match everything")
    try:
        cause = Cause(value["cause"])
    except ValueError:
        causes = ", ".join(repr(str(cause)) for cause in Cause)
        raise PatternProblem(f"{where}: cause {value['cause']!r} is unknown; allowed are {causes}") from None
    try:
        text, kind = (re.compile(value[name]) if name in value else None for name in ("text", "kind"))
    except re.error as problem:
        raise PatternProblem(f"{where}: {problem}") from problem
    return Pattern(
        name=value["name"],
        cause=cause,
        title=value["title"],
        remedy=value.get("remedy", ""),
        text=text,
        kind=kind,
        matches=tuple(value.get("matches", ())),
        spares=tuple(value.get("spares", ())),
    )


def _known(
    name: str, cause: Cause, title: str, text: str, matches: tuple[str, ...], spares: tuple[str, ...]
) -> Pattern:
    return Pattern(
        name=name, cause=cause, title=title, text=re.compile(text), matches=matches, spares=spares, may_claim=False
    )


BUILT_IN = (
    _known(
        "absent-value",
        Cause.UNINITIALISED,
        "something is used that was never made",
        r"'NoneType' object (has no attribute|is not (callable|subscriptable|iterable))|nil pointer dereference",
        ("AttributeError: 'NoneType' object has no attribute 'get'", "runtime error: nil pointer dereference"),
        ("AttributeError: 'Client' object has no attribute 'get'",),
    ),
    _known(
        "address-in-use",
        Cause.PORT_CLASH,
        "an address was taken already",
        r"(?i)address already in use|port is already allocated|WinError 10048",
        ("OSError: [Errno 98] Address already in use", "Bind for 0.0.0.0:5432 failed: port is already allocated"),
        ("relation already exists",),
    ),
    _known(
        "duplicate-name",
        Cause.NAME_CLASH,
        "a name was taken already",
        r"(?i)duplicate key value|UNIQUE constraint failed"
        r"|\b(relation|database|schema|topic|table|namespace|bucket|queue)\b.{0,80}\balready exists",
        ('duplicate key value violates unique constraint "pk"', 'database "test" already exists'),
        ("Address already in use", "FileExistsError: [Errno 17] File exists"),
    ),
    _known(
        "shutting-down",
        Cause.INFRASTRUCTURE_GONE,
        "a server reported that it shuts down",
        r"(?i)terminating connection due to administrator command|the database system is shutting down"
        r"|server closed the connection unexpectedly|no (such )?container with (ID|name)|out of memory: killed",
        ("FATAL: terminating connection due to administrator command", 'no container with ID or name "db" found'),
        ("connection refused",),
    ),
    _known(
        "starting-up",
        Cause.NOT_READY,
        "something reported that it is not ready",
        r"(?i)database system is starting up|\bnot (yet )?(ready|started|synced)\b|LOADING .*dataset",
        ("FATAL: the database system is starting up", "the cache is not started, can not read objects"),
        ("the database system is shutting down",),
    ),
    _known(
        "six-refused",
        Cause.ADDRESS_FAMILY,
        "an IPv6 address of this machine refused",
        r"(?is)\[?::1\]?[:\s,)'\"]+\d{2,5}.{0,80}refused|refused.{0,80}::1",
        ("dial tcp [::1]:18094: connect: connection refused",),
        ("dial tcp 127.0.0.1:18094: connect: connection refused",),
    ),
    _known(
        "limit-over",
        Cause.TIME_OUT,
        "a limit was over",
        r"(?i)\btimed? ?out\b|deadline exceeded",
        ("TimeoutError: timed out", "context deadline exceeded"),
        ("timetable",),
    ),
)
"""Words of well-known software."""
