"""At the end of a run with failures, a line that says how to triage it; with `--muster-triage`, the triage itself."""

import pytest

from pytest_muster.records.run import RUN, Run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("muster").addoption(
        "--muster-triage",
        action="store_true",
        help="at the end of a run with failures, say what made them, judged by the record alone",
    )


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    failed = any(terminalreporter.stats.get(key) for key in ("failed", "error", "infrastructure"))
    if run is None or not run.owns_shared or not failed:
        return
    if config.getoption("muster_triage"):
        terminalreporter.section("triage")
        terminalreporter.write_line(_answer(run, config))
    terminalreporter.write_line(f"muster triage {run.id}  says what made them fail, after reruns")


def _answer(run: Run, config: pytest.Config) -> str:
    # The runs that need no triage are not to wait for these modules.
    from pytest_muster.records import reader
    from pytest_muster.triage import patterns
    from pytest_muster.triage.engine import triage
    from pytest_muster.triage.reports import terminal

    try:
        record = reader.load(run.directory)
        known = (*patterns.BUILT_IN, *patterns.load(config.rootpath))
    except (reader.RecordError, patterns.PatternProblem) as problem:
        return str(problem)
    return terminal.render(triage(record, patterns=known), record).rstrip("\n")
