"""What `demo` and `up` share: options, progress while the stack starts, and the addresses it prints."""

import shlex
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import note, say
from kubernaut.ops.shutdown import stop_requested
from kubernaut.ops.tasks import background
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.embedded.stack import Stack

DataDirOption = Annotated[
    Path | None,
    cyclopts.Parameter(name="--data-dir", help="Data directory: new, empty, or that of an earlier run"),
]
KubeconfigOption = Annotated[
    Path | None,
    cyclopts.Parameter(
        name="--kubeconfig",
        help="Use the cluster of this file, after a question; default: a Kubernetes API of its own, never the"
        " cluster of $KUBECONFIG",
    ),
]
YesOption = Annotated[bool, cyclopts.Parameter(name=["--yes", "-y"], help="Use that cluster without a question")]


class Progress:
    """One line per component as it becomes ready, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def ready(self, description: str) -> None:
        line = f"{time.monotonic() - self._started:6.2f} s  {visible(description)}"
        say(textwrap.fill(line, shutil.get_terminal_size().columns, subsequent_indent=" " * 10, break_on_hyphens=False))

    def done(self) -> None:
        self.ready("all ready")
        sys.stdout.flush()


def confirm_cluster(kubeconfig: Path | None, *, yes: bool) -> None:
    """Ask before anything is created in an existing cluster. Raises CommandError unless the answer is yes."""
    if kubeconfig is None or yes:
        return
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.credentials import read_config

    config = read_config(kubeconfig)
    server = visible(f"context {config.context_name}, {config.cluster.server}")
    note(f"This creates CRDs, a namespace and objects in another cluster: {server}")
    if not sys.stdin.isatty():
        raise CommandError("this cluster was not confirmed", code=2, hint="the same command with --yes")
    sys.stderr.write("Continue? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("this cluster was not confirmed", code=2)


def addresses(stack: "Stack") -> str:
    """The addresses, and commands to try with them, quoted for a shell."""
    kubernaut = command()
    return "\n".join(
        [
            "In another terminal:",
            "",
            f"export KUBECONFIG={shlex.quote(str(stack.kubeconfig))}",
            f"export KUBERNAUT_DATASTORAGE_URL={shlex.quote(stack.datastorage_url)}",
            f"export WEBHOOK={shlex.quote(stack.webhook)}",
            f"export POLICY={shlex.quote(str(stack.policy))}",
            f"export KUBERNAUT_CONTROLLER_URL={shlex.quote(stack.controller_url)}",
            "",
            f"{kubernaut} signals list",
            f"{kubernaut} audit query",
            f"{kubernaut} audit verify",
            "kubectl get sp -A -o wide",
            "",
            "WEBHOOK is the address for an Alertmanager; POLICY is read again when it changes.",
            f"Data and logs: {stack.directory}",
        ]
    )


def command() -> str:
    """What to type for this program in this directory, quoted for a shell."""
    program = Path(sys.argv[0])
    if not program.is_absolute() or shutil.which(program.name) == str(program):
        return shlex.quote(program.name if program.is_absolute() else str(program))
    cwd = Path.cwd()
    return shlex.quote(str(program.relative_to(cwd) if program.is_relative_to(cwd) else program))


def _report(description: str) -> None:
    note(description)
    sys.stderr.flush()


async def stay(stack: "Stack") -> None:
    """Wait for Ctrl-C or SIGTERM; a process of the stack that exits is restarted, and raises when it keeps exiting."""
    say("\nPress Ctrl-C to stop.")
    sys.stdout.flush()
    with stop_requested() as stop:
        async with background(stack.supervise(_report), "supervise processes"):
            await stop.wait()
