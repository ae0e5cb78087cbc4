"""The command `muster`: what can be done with the records of runs, and with the code of tests."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS: dict[str, tuple[str, str]] = {
    "replay": ("pytest_muster.schedule.replay", "repeat a recorded run: every worker its tests, in their order"),
    "compare": (
        "pytest_muster.schedule.compare",
        "run a suite with several worker counts: speed-up, utilisation, verdicts",
    ),
    "triage": ("pytest_muster.triage.command", "name what made the tests of a run fail"),
    "check": ("pytest_muster.checking.command", "find in test code what breaks when tests run in parallel"),
    "history": ("pytest_muster.records.history", "show which tests are slow or flaky over the recorded runs"),
    "sweep": ("pytest_muster.workspace.sweep", "clean up after runs that were killed"),
}
"""Name → (module with `add_arguments(parser)` and `run(arguments) -> int`, one line of help)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 fine, 1 a finding, 2 wrong usage, 3 something could not be reached."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="muster", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if arguments[:1] == [name]:  # only the command that runs is imported
            import_module(module).add_arguments(subparser)
    ours, dashes, extra = _split(arguments)
    chosen = parser.parse_args(ours)
    if dashes and not hasattr(chosen, "extra"):
        parser.error(f"{chosen.command} takes no arguments after --")
    if dashes:
        chosen.extra = extra
    return int(import_module(COMMANDS[chosen.command][0]).run(chosen))


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before and after the first `--`; a command with a default for `extra` takes what stands after it."""
    if "--" not in arguments:
        return arguments, False, []
    place = arguments.index("--")
    return arguments[:place], True, arguments[place + 1 :]
