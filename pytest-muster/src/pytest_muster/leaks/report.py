"""The section of the terminal summary that lists the leaks of all workers."""

import pytest

from pytest_muster.leaks.leak import Leak, LeakKind

MAX_LINES = 40


class LeakSection:
    """Collects leaks from the reports of tests; lists each place once."""

    def __init__(self) -> None:
        self.leaks: dict[tuple[str, str], tuple[Leak, list[str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for plain in getattr(report, "muster", {}).get("leaks", ()):
            leak = Leak(kind=LeakKind(plain["kind"]), description=plain["description"], source=plain["source"])
            # What is created at one place is one thing to repair, however often.
            _, tests = self.leaks.setdefault((leak.kind, leak.source or leak.description), (leak, []))
            tests.append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.leaks:
            return
        terminalreporter.section("leaks", yellow=True)
        for leak, tests in list(self.leaks.values())[:MAX_LINES]:
            more = len(set(tests)) - 1
            terminalreporter.write_line(str(leak))
            terminalreporter.write_line(f"    by {tests[0]}" + (f" and {more} more" if more else ""))
        if len(self.leaks) > MAX_LINES:
            terminalreporter.write_line(
                f"and {len(self.leaks) - MAX_LINES} more; the record of the run has all of them"
            )
