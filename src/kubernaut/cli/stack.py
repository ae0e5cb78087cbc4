"""What `demo` and `up` share: options, progress while the stack starts, and the addresses it prints."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.output import say
from kubernaut.ops.shutdown import stop_requested
from kubernaut.ops.tasks import background

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
        env_var="KUBECONFIG",
        help="Existing cluster; default: the kube-apiserver of KUBEBUILDER_ASSETS, else the embedded API server",
    ),
]


class Progress:
    """One line per component as it becomes ready, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def ready(self, description: str) -> None:
        say(f"{time.monotonic() - self._started:6.2f} s  {description}")

    def done(self) -> None:
        self.ready("all ready")
        sys.stdout.flush()


def addresses(stack: "Stack") -> str:
    """The addresses, and commands to try with them."""
    return "\n".join(
        [
            f"export KUBECONFIG={stack.kubeconfig}",
            f"export KUBERNAUT_DATASTORAGE_URL={stack.datastorage_url}",
            "",
            f"Alertmanager webhook: {stack.webhook}",
            f"data and logs:        {stack.directory}",
            "",
            "In another terminal, after the two exports:",
            "  kubectl get sp -A -o wide",
            "  kubernaut signals list",
            "  kubernaut audit verify",
        ]
    )


async def stay(stack: "Stack") -> None:
    """Wait for Ctrl-C or SIGTERM; raises when a process of the stack exits."""
    say("\nPress Ctrl-C to stop.")
    sys.stdout.flush()
    with stop_requested() as stop:
        async with background(stack.raise_on_exit(), "watch processes"):
            await stop.wait()
