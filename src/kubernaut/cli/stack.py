"""What `demo` and `up` share: options, progress while the stack starts, and the addresses it prints."""

import os
import shlex
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import note, say
from kubernaut.cli.reading import read_line
from kubernaut.ops.logins import without_login
from kubernaut.ops.shutdown import stop_requested
from kubernaut.ops.tasks import background
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.embedded.stack import Stack, StackConfig

AN_ALERT = '{"alerts":[{"labels":{"alertname":"TryMe","severity":"critical","namespace":"default"}}]}'
"""The smallest notification that becomes a signal."""

DataDirOption = Annotated[
    Path | None,
    cyclopts.Parameter(name="--data-dir", help="Data directory: new, empty, or that of an earlier run"),
]


@cyclopts.Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OtherCluster:
    """An existing cluster; without an option a Kubernetes API of our own, never the cluster of $KUBECONFIG."""

    kubeconfig: Path | None = None
    """Use the cluster of this file, after a question; without it and --context a Kubernetes API of its own, never the
    cluster of $KUBECONFIG."""

    context: str | None = None
    """Use the cluster of this context, after a question: of --kubeconfig, else of the files of $KUBECONFIG, else of
    ~/.kube/config."""

    yes: Annotated[bool, cyclopts.Parameter(name=["--yes", "-y"], negative="")] = False
    """Use that cluster without a question."""

    @property
    def files(self) -> tuple[Path, ...] | None:
        """The kubeconfig files that were asked for; None when no other cluster was."""
        if self.kubeconfig is not None:
            return (self.kubeconfig,)
        if not self.context:
            return None
        # Lazy import, see kubernaut.cli.app.
        from kubernaut.kube.kubeconfig import DEFAULT_KUBECONFIG, default_kubeconfigs

        return default_kubeconfigs(os.environ) or (DEFAULT_KUBECONFIG.expanduser(),)


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


async def stack_config(data_dir: Path | None, other: OtherCluster | None, *, temporary: bool = False) -> "StackConfig":
    """What to start; asks before anything is created in an existing cluster.

    Raises CommandError unless the answer is yes, and Misconfigured for a cluster that no file describes.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.embedded.stack import StackConfig

    other = other or OtherCluster()
    files, context = other.files, other.context or None
    if files is not None:
        # The same.
        from kubernaut.kube.credentials import read_config

        config = read_config(files, context)
        context = config.context_name  # another one may be current by the time the answer is there
        server = visible(f"context {context}, {without_login(config.cluster.server)}")
        if not other.yes:
            await _confirm(f"This creates CRDs, a namespace and objects in another cluster: {server}")
    return StackConfig(directory=data_dir, kubeconfig=files, context=context, temporary=temporary)


async def _confirm(text: str) -> None:
    note(text)
    if not sys.stdin.isatty():
        raise CommandError("this cluster was not confirmed", code=2, hint="the same command with --yes")
    sys.stderr.write("Continue? [y/N] ")
    sys.stderr.flush()
    answer = await read_line()
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("this cluster was not confirmed", code=2)


def addresses(stack: "Stack") -> str:
    """The addresses, and commands to try with them, quoted for a shell."""
    program = _program()
    # A directory that this terminal has on its PATH, another one has only if it is no virtual environment's.
    path = [] if _is_installed(program) else [f'export PATH={shlex.quote(str(program.parent))}:"$PATH"']
    kubernaut = shlex.quote(program.name)
    curl = [f"curl -H 'content-type: application/json' -d '{AN_ALERT}' \"$WEBHOOK\""] if shutil.which("curl") else []
    kubectl = ["kubectl get sp -A -o wide"] if shutil.which("kubectl") else []
    return "\n".join(
        [
            "In another terminal:",
            "",
            f"export KUBECONFIG={shlex.quote(str(stack.kubeconfig))}",
            f"export KUBERNAUT_DATASTORAGE_URL={shlex.quote(stack.datastorage_url)}",
            f"export WEBHOOK={shlex.quote(stack.webhook)}",
            f"export POLICY={shlex.quote(str(stack.policy))}",
            f"export KUBERNAUT_CONTROLLER_URL={shlex.quote(stack.controller_url)}",
            *path,
            "",
            *curl,
            f"{kubernaut} signals list",
            f"{kubernaut} audit query",
            f"{kubernaut} audit verify",
            *kubectl,
            "",
            "WEBHOOK is the address for an Alertmanager; POLICY is read again when it changes.",
            f"Data and logs: {stack.directory}",
        ]
    )


def command() -> str:
    """What to type for this program in this directory, quoted for a shell."""
    program = _program()
    if _is_installed(program):
        return shlex.quote(program.name)
    cwd = Path.cwd()
    return shlex.quote(str(program.relative_to(cwd) if program.is_relative_to(cwd) else program))


def _program() -> Path:
    """The file that was started."""
    return Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()


def _is_installed(program: Path) -> bool:
    """Whether every terminal finds it: `uvx`, `pipx run` and an activated environment have a PATH of their own."""
    is_temporary = sys.prefix != sys.base_prefix and program.is_relative_to(sys.prefix)
    return shutil.which(program.name) == str(program) and not is_temporary


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
