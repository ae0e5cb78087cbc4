"""The command `kubernaut`: a noun and a verb, and four exit codes.

0 fine, 1 a finding (something did not verify, decide or match), 2 wrong usage, 3 something could not be reached.
Commands are named here and imported when they are called, so that `--help` needs none of the extras.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import cyclopts

from kubernaut.cli.failures import Failed, explain
from kubernaut.ops import logs

FINE, FINDING, USAGE, UNREACHABLE = 0, 1, 2, 3

app = cyclopts.App(
    name="kubernaut",
    help="Alerts enriched and ranked by rules you own, with a record that can be proven.",
    version=version("kubernaut-signalprocessing"),
    help_epilogue="Start with: kubernaut demo",
)
app.command("kubernaut.cli.demo:demo", help="The whole system on this machine, six alerts in, a verified trail out.")
app.command("kubernaut.cli.up:up", help="The same stack, empty, until Ctrl-C; prints addresses and a KUBECONFIG.")
app.command("kubernaut.cli.services:controller", help="Run the SignalProcessing controller.")
app.command("kubernaut.cli.services:datastorage", help="Run DataStorage, the audit service.")
app.command("kubernaut.cli.services:gateway", help="Run the gateway that takes Alertmanager's webhooks.")
app.command("kubernaut.cli.services:migrate", help="Bring DataStorage's PostgreSQL schema up to date.")
app.command("kubernaut.cli.services:crd", help="Print the CRD manifests.")
app.command("kubernaut.cli.process:process", help="Decide alerts offline, against a folder of manifests.")

signals = cyclopts.App(name="signals", help="What became of a signal.")
signals.command("kubernaut.cli.signals:list_signals", name="list", help="List signals.")
signals.command("kubernaut.cli.signals:show", help="Show one signal: facts, decision, conditions.")
app.command(signals)

audit = cyclopts.App(name="audit", help="The trail.")
audit.command("kubernaut.cli.audit:query", help="Find audit events, newest first.")
audit.command("kubernaut.cli.audit:timeline", help="Every event of one correlation, in the order of the ledger.")
audit.command("kubernaut.cli.audit:verify", help="Prove that nothing was edited, removed or reordered.")
app.command(audit)


def main() -> NoReturn:
    """The console script: runs a command and turns what went wrong into a sentence and an exit code."""
    _open_closed_streams()
    if os.environ.get("NO_COLOR") is None and not sys.stdout.isatty():
        os.environ["NO_COLOR"] = "1"
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_output()
        code = report(Failed(f"standard output: {error.strerror}", code=UNREACHABLE))
    sys.exit(code)


def _open_closed_streams() -> None:
    """Give print somewhere to write to where cron or an init script has closed the streams."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - it lives as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - it lives as long as the process


def _give_up_output() -> None:
    """Drop what is still buffered, so that the interpreter does not fail on it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors go to standard error."""
    # A service sets this up anew from its configuration; any other command has only warnings to tell, off its answer.
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=True)
        answer = command(*bound.args, **bound.kwargs)
        if asyncio.iscoroutine(answer):
            answer = _await(answer)
        return answer if isinstance(answer, int) else FINE
    except cyclopts.CycloptsError:
        print("See: kubernaut --help", file=sys.stderr)  # noqa: T201 - the command line speaks to people
        return USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _give_up_output()  # the reader of it has gone
        return FINE
    except BaseException as error:
        failure = explain(error)
        if failure is None:
            raise
        return report(failure)


def _await(answer: Coroutine[Any, Any, object]) -> object:
    try:
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            return runner.run(_stoppable(answer))
    finally:
        # Everything is closed; a late signal must not turn the exit code into that of a killed process.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


async def _stoppable(answer: Coroutine[Any, Any, object]) -> object:
    """Run a command so that the first Ctrl-C or SIGTERM closes what it has opened, and a second one changes nothing."""
    loop, command = asyncio.get_running_loop(), asyncio.ensure_future(answer)
    asked: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        asked.append(number)
        if len(asked) == 1:
            command.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await command
    except asyncio.CancelledError:
        if not asked:
            raise
        return 128 + asked[0]


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # it comes with the services' extras
        return None
    return uvloop.new_event_loop


def report(failure: Failed) -> int:
    """Say what failed and which command helps."""
    print(f"kubernaut: {failure}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
    if failure.helps:
        print(f"try: {failure.helps}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
    return failure.code
