"""`kubernaut policy test`: the tests of a policy, as `opa test` runs them, and tables of cases."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.columns import Table
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.cli.policy import sources_of
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.signalprocessing.policy.test_run import Coverage, TestReport

FAILED = 2
"""The exit code of `opa test` when a test fails."""
COVERAGE = Table(heads=("place", "rule", "covered"), both_ends=("place", "rule"))


async def test(
    policy: Annotated[Path, cyclopts.Parameter(help="Folder with the policy and its tests, or policy.rego")],
    /,
    *tests: Annotated[Path, cyclopts.Parameter(help="Files of tests; default: those of the policy's folder")],
    verbose: Annotated[bool, cyclopts.Parameter(name=["--verbose", "-v"], negative="", help="List each test")] = False,
    run: Annotated[
        str, cyclopts.Parameter(name=["--run", "-r"], help="Only tests whose path contains this regular expression")
    ] = "",
    coverage: Annotated[bool, cyclopts.Parameter(negative="", help="Show the lines that no test reaches")] = False,
    threshold: Annotated[
        float | None, cyclopts.Parameter(help="Fail when fewer percent of the policy's lines are reached")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Run the tests of a policy: `*_test.rego` as `opa test` does, and tables `*_cases.yaml`; exit code 2 on a failure.

    A rule `test_…` passes when it is true; `todo_test_…` is skipped. Exit code 1 when a file does not
    compile.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy import case_table, sources, test_run
    from kubernaut.signalprocessing.policy.errors import PolicyError

    try:
        pattern = re.compile(run)
    except re.error as error:
        raise CommandError(f"--run {run!r}: not a regular expression: {error}", code=2) from error
    read = sources_of(policy)
    paths = list(tests) or _tests_beside(policy, case_table.PATTERNS)
    try:
        rego = [(path.name, sources.read_file(path)) for path in paths if path.suffix == ".rego"]
        cases = [case for path in paths if path.suffix != ".rego" for case in case_table.read(path)]
        cases = [case for case in cases if pattern.search(f"{case.file}: {case.name}")]
        report = await test_run.run(read, rego, cases, run)
    except PolicyError as error:
        raise CommandError(str(error), code=1) from error
    if not emit(report, output, [f"{each.name}: {each.outcome}" for each in report.tests]):
        _show(report, verbose=verbose)
        if coverage:
            _show_coverage(report.coverage)
    is_low = threshold is not None and report.coverage.percent < threshold
    if is_low:
        note(f"Code coverage threshold not met: got {report.coverage.percent:.2f} instead of {threshold:.2f}")
    has_failed = any(each.outcome in ("fail", "error") for each in report.tests)
    return FAILED if has_failed or is_low else 0


def _tests_beside(policy: Path, patterns: tuple[str, ...]) -> list[Path]:
    folder = policy if policy.is_dir() else policy.parent
    found = [path for pattern in ("*_test.rego", *patterns) for path in sorted(folder.glob(pattern))]
    if not found:
        text = f"{folder}: no tests (*_test.rego, {', '.join(patterns)})"
        raise CommandError(text, code=2, hint="kubernaut policy test --help")
    return found


def _show(report: "TestReport", *, verbose: bool) -> None:
    file = ""
    for each in report.tests:
        if each.outcome == "pass" and not verbose:
            continue
        if each.file != file:
            file = each.file
            say(f"{visible(file)}:")
        outcome = "SKIPPED" if each.outcome == "skip" else each.outcome.upper()
        duration = "" if outcome == "SKIPPED" else f" ({each.seconds * 1000:.3f}ms)"
        say(f"{visible(each.name)}: {outcome}{duration}")
        if each.message:
            say(f"  {visible(each.message)}")
    if any(each.outcome != "pass" or verbose for each in report.tests):
        say("-" * 80)
    total = len(report.tests)
    for outcome, name in (("pass", "PASS"), ("fail", "FAIL"), ("skip", "SKIPPED"), ("error", "ERROR")):
        count = sum(each.outcome == outcome for each in report.tests)
        if count:
            say(f"{name}: {count}/{total}")
    if not total:
        note("no test matches")


def _show_coverage(coverage: "Coverage") -> None:
    say("")
    rows = [(f"{each.file}:{each.line}", each.name, f"{each.percent:g} %") for each in coverage.rules]
    table(COVERAGE, rows)
    for file, lines in coverage.uncovered.items():
        say(f"{visible(file)}: not reached: lines {', '.join(map(str, lines))}")
    say(f"coverage: {coverage.percent:g} %")
