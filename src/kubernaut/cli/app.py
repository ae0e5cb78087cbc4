"""The command `kubernaut`: a noun and a verb, and four exit codes.

0 success, 1 a finding (something did not verify, decide or match), 2 wrong usage, 3 something could not be reached.
Commands are registered by name and imported when they are called, and a command imports what it needs inside its
function: `kubernaut --help` is fast and needs none of the extras.
"""

import asyncio
import codecs
import io
import locale
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, NoReturn

import cyclopts
from cyclopts.panel import CycloptsPanel

from kubernaut.cli.errors import CommandError, command_error
from kubernaut.ops import logs
from kubernaut.ops.logins import without_login
from kubernaut.ops.visible_text import visible

_ERRNO = re.compile(r"\[Errno -?\d+\] ?")
"""What Python writes before the operating system's words."""

SUCCESS, FINDING, USAGE, UNREACHABLE = 0, 1, 2, 3
HELP = frozenset({"--help", "-h"})

app = cyclopts.App(
    name="kubernaut",
    help="Enriches and ranks Kubernetes alerts by rules you own, with a tamper-evident audit log of every decision.",
    version=version("kubernaut-signalprocessing"),
)
app.command("kubernaut.cli.demo:demo", help="Run the whole system on this machine and show how it decides six alerts.")
app.command("kubernaut.cli.up:up", help="Run the whole system on this machine until Ctrl-C; prints its addresses.")
app.command("kubernaut.cli.services:controller", help="Run the SignalProcessing controller.")
app.command("kubernaut.cli.services:datastorage", help="Run DataStorage, the audit service.")
app.command("kubernaut.cli.services:gateway", help="Run the gateway, which receives Alertmanager webhooks.")
app.command("kubernaut.cli.services:migrate", help="Apply pending migrations to DataStorage's PostgreSQL schema.")
app.command("kubernaut.cli.services:crd", help="Print the CRD manifests.")
app.command("kubernaut.cli.oncall:oncall", help="Serve a page of the open signals on this machine until Ctrl-C.")
app.command("kubernaut.cli.process:process", help="Decide alerts offline, against a folder of manifests.")

app.command("kubernaut.cli.version:version", help="Print the version of this program and of Python.")
app.command("kubernaut.cli.completion:completion", help="Print the completion script of a shell.")

config = cyclopts.App(name="config", help="Show and check the configuration of a service.")
config.command("kubernaut.cli.config:show", help="Print the whole configuration, with defaults and without secrets.")
config.command("kubernaut.cli.config:check", help="Check a configuration without starting the service.")
app.command(config)

signals = cyclopts.App(name="signals", help="List, show and explain signals.")
signals.command("kubernaut.cli.signals:list_signals", name="list", help="List signals.")
signals.command("kubernaut.cli.signals:show", help="Show one signal: context, decision, conditions.")
signals.command("kubernaut.cli.explain:explain", help="Explain a decision: rule, inputs, what would change it.")
signals.command("kubernaut.cli.signal_watch:watch", help="Print each signal whenever it changes, until Ctrl-C.")
signals.command("kubernaut.cli.signal_watch:timeline", help="Show all audit events of a signal, in causal order.")
app.command(signals)

policy = cyclopts.App(name="policy", help="Check, evaluate, test and compare policies.")
policy.command("kubernaut.cli.policy:check", help="Find the faults of a policy, each with place and hint.")
policy.command("kubernaut.cli.policy_eval:evaluate", name="eval", help="Print the whole decision about an input.")
policy.command("kubernaut.cli.policy_test:test", help="Run the tests of a policy: *_test.rego and tables of cases.")
policy.command("kubernaut.cli.policy_replay:replay", help="Decide past signals by another policy.")
policy.command("kubernaut.cli.policy_replay:diff", help="Compare two policies: text and answers.")
policy.command("kubernaut.cli.policy_shadow:shadow", help="List what a controller's shadow policy decides otherwise.")
policy.command("kubernaut.cli.policy_format:fmt", help="Bring a policy into the form of OPA, with the opa command.")
policy.command("kubernaut.cli.policy_text:show", help="Print the text of a policy by its hash.")
app.command(policy)

audit = cyclopts.App(name="audit", help="Query and verify the audit log.")
audit.command("kubernaut.cli.audit:query", help="Find audit events, newest first.")
audit.command("kubernaut.cli.audit:timeline", help="Show all events of one correlation id, in causal order.")
audit.command("kubernaut.cli.audit:verify", help="Verify that no event was edited, removed or reordered.")
audit.command("kubernaut.cli.ledger:receipt", help="Print the proof that the signed ledger holds an event.")
keys = cyclopts.App(name="keys", help="Make and show the keys that sign the ledger.")
keys.command("kubernaut.cli.ledger:new_key", name="new", help="Add a new private key to a file or a Secret.")
keys.command("kubernaut.cli.ledger:show_keys", name="show", help="Print the public keys of a file.")
audit.command("kubernaut.cli.holds:export", help="Write events with proofs to a file that can be checked offline.")
audit.command("kubernaut.cli.holds:erase", help="Erase the payloads of events by order.")
hold = cyclopts.App(name="hold", help="Keep all events of a correlation id, whatever their retention is.")
hold.command("kubernaut.cli.holds:place", help="Place a legal hold on a correlation id.")
hold.command("kubernaut.cli.holds:list_holds", name="list", help="List the legal holds in force.")
hold.command("kubernaut.cli.holds:release", help="End the legal hold on a correlation id.")
audit.command(hold)
audit.command(keys)
dlq = cyclopts.App(name="dlq", help="List, replay and drop acknowledged events that could not be stored.")
dlq.command("kubernaut.cli.dead_letters:list_dead_letters", name="list", help="List them, each with the reason.")
dlq.command("kubernaut.cli.dead_letters:replay", help="Put them back into the queue, to be stored once more.")
dlq.command("kubernaut.cli.dead_letters:drop", help="Delete them for good.")
audit.command(dlq)

spool = cyclopts.App(name="spool", help="Show and repair the events that wait on disk for DataStorage.")
spool.command("kubernaut.cli.spool:status", help="Show how much waits, is in quarantine or is damaged.")
spool.command("kubernaut.cli.spool:list_events", name="list", help="List the events in the spool.")
spool.command("kubernaut.cli.spool:export", help="Print the events in the spool as JSON lines.")
spool.command("kubernaut.cli.spool:replay", help="Send events of the quarantine again.")
spool.command("kubernaut.cli.spool:repair", help="Move damaged files aside and keep what can be read.")
audit.command(spool)
app.command(audit)


def main() -> NoReturn:
    """The console script: runs a command, and turns an error into a message and an exit code."""
    _open_closed_streams()
    _use_utf8()
    if os.environ.get("NO_COLOR") is None and not sys.stdout.isatty():
        os.environ["NO_COLOR"] = "1"
    if os.environ.get("TERM", "dumb") == "dumb" and sys.stdout.isatty():
        # Whatever a dumb terminal says, rich takes it for 80 columns, unless both are set.
        size = shutil.get_terminal_size()
        os.environ |= {"COLUMNS": str(size.columns), "LINES": str(size.lines)}
    # A service configures its logs again from its settings; other commands log warnings only, to standard error.
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    code = run(sys.argv[1:], is_last=True)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        code = report(CommandError(f"standard output: {error.strerror}", code=UNREACHABLE))
    sys.exit(code)


def _open_closed_streams() -> None:
    """Use /dev/null where cron or an init script has closed the standard streams.

    Their numbers are taken as well: what is opened next would get them, and uvloop ends a process that closes them.
    """
    for number, mode in enumerate(("r", "w", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.dup2(null, number)
            if null != number:
                os.close(null)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - while the process lives
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


def _use_utf8() -> None:
    """Read and write files as UTF-8 in every locale; what the terminal's own encoding lacks is printed as escapes.

    Python decides that when it starts, so that a process in another encoding starts once more; so do its children.
    """
    encoding = locale.getencoding()
    if not sys.flags.utf8_mode and codecs.lookup(encoding).name != "utf-8":
        printed = {"PYTHONIOENCODING": f"{encoding}:backslashreplace"}
        environment = {**printed, **os.environ, "PYTHONUTF8": "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - this program
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Discard what is still buffered, so that the interpreter does not fail on it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: list[str], *, is_last: bool = False) -> int:
    """Run one command line and return its exit code; errors go to standard error.

    `is_last` says that the process ends with it: then Ctrl-C and SIGTERM do nothing any more once it is done.
    """
    try:
        arguments = _with_help(arguments)
        if not HELP.isdisjoint(arguments):
            describe_whole(app.parse_commands([each for each in arguments if each not in HELP])[1][-1])
        command, bound, _ = app.parse_args(
            arguments, exit_on_error=False, print_error=True, error_formatter=_usage_error
        )
        result = command(*bound.args, **bound.kwargs)
        if asyncio.iscoroutine(result):
            result = _run_async(result, is_last=is_last)
        return result if isinstance(result, int) else SUCCESS
    except cyclopts.CycloptsError as error:
        chain = " ".join(error.command_chain or ())
        print(f"See: kubernaut {f'{chain} ' if chain else ''}--help", file=sys.stderr)  # noqa: T201 - see report
        return USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _discard_output()  # the reader of the pipe has exited
        return SUCCESS
    except BaseException as error:
        known = command_error(error)
        if known is None:
            raise
        return report(known)


def _with_help(arguments: list[str]) -> list[str]:
    """`help signals list` as `signals list --help`, as kubectl, git and go have it."""
    return [*arguments[1:], "--help"] if arguments[:1] == ["help"] else arguments


def describe_whole(command: cyclopts.App) -> None:
    """Have the help of a command say all that its docstring does; a list of commands has a line for each.

    The lines stand here, so that a list imports no command.
    """
    if command.default_command is not None:
        command.help = None


def _usage_error(error: cyclopts.CycloptsError) -> object:
    """The message about a command line, with escapes for the control characters that an argument has."""
    return CycloptsPanel("\n".join(map(visible, _usage_message(error).split("\n"))))


def _usage_message(error: cyclopts.CycloptsError) -> str:
    """What is wrong, in the words of a person at a terminal; cyclopts' own where they are those."""
    tokens = error.unused_tokens or []
    if isinstance(error, cyclopts.UnusedCliTokensError):
        return f"Unexpected argument: {' '.join(tokens)}"
    if isinstance(error, cyclopts.UnknownCommandError) and tokens and tokens[0].startswith("-"):
        return f"{tokens[0]} stands before the command; options come after it, as in: kubernaut signals list -n shop"
    if isinstance(error, cyclopts.UnknownOptionError) and error.token.keyword in {"-w", "--watch"}:
        return f"Unknown option: {error.token.keyword}. To go on watching: kubernaut signals watch"
    if isinstance(error, cyclopts.CoercionError) and error.target_type is int and error.token:
        return f'Invalid value for {error.token.keyword or error.token.value}: "{error.token.value}" is no whole number'
    return str(error)


def _run_async(command: Coroutine[Any, Any, object], *, is_last: bool) -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_cancel_on_signal(command))
    finally:
        # Everything is closed; a late signal must not turn the exit code into that of a killed process.
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_last else handler)


async def _cancel_on_signal(command: Coroutine[Any, Any, object]) -> object:
    """Run a command; the first Ctrl-C or SIGTERM cancels it, so that it closes what it has opened."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(command)
    received: list[signal.Signals] = []

    def cancel(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # optional: it comes with the services' extras
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def report(error: CommandError) -> int:
    """Print the error and the command that helps; returns the exit code."""
    # A message may quote what a service or a file said; only its line breaks are ours.
    text = "\n".join(map(visible, _ERRNO.sub("", without_login(str(error))).splitlines()))
    print(f"kubernaut: {text}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
    if error.hint:
        print(f"try: {visible(error.hint)}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
    return error.code
