"""What `demo` and `up` share: options, progress while the stack comes up, and the addresses it prints."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.output import say

if TYPE_CHECKING:
    from kubernaut.embedded.stack import Stack

DataDirOption = Annotated[
    Path | None, cyclopts.Parameter(name="--data-dir", help="Where everything is kept; it must be empty or ours")
]
KubeconfigOption = Annotated[
    Path | None,
    cyclopts.Parameter(
        name="--kubeconfig",
        env_var="KUBECONFIG",
        help="Use this cluster; else KUBEBUILDER_ASSETS' kube-apiserver; else the embedded API server",
    ),
]


class Progress:
    """One line per part as it becomes ready, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def ready(self, what: str) -> None:
        say(f"{time.monotonic() - self._began:6.2f} s  {what}")

    def done(self) -> None:
        self.ready("all up")
        sys.stdout.flush()


def addresses(stack: "Stack") -> str:
    """What to paste where."""
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
    """Until Ctrl-C or SIGTERM, or until a part of the stack dies, which is raised."""
    from kubernaut.ops.shutdown import stop_requested

    say("\nCtrl-C stops it.")
    sys.stdout.flush()
    with stop_requested() as stop:
        stopping, failing = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(stack.failed())
        try:
            done, _ = await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
            if failing in done:
                failing.result()
        finally:
            stopping.cancel()
            failing.cancel()
