"""How a command reaches the Kubernetes API."""

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.errors import CommandError

if TYPE_CHECKING:
    from kubernaut.kube.client import Client


NamespaceOption = Annotated[
    str | None,
    cyclopts.Parameter(
        name=["--namespace", "-n"], help="Namespace of the signals, or of what they are about; default: all"
    ),
]
AllNamespacesOption = Annotated[
    bool, cyclopts.Parameter(name=["--all-namespaces", "-A"], negative="", help="All namespaces, as without -n")
]


def check_namespaces(namespace: str | None, *, everywhere: bool) -> None:
    """Raise CommandError when one namespace is asked for, and all."""
    if everywhere and namespace is not None:
        raise CommandError("-A and -n exclude each other", code=2)


@cyclopts.Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which cluster."""

    kubeconfig: Path | None = None
    """File; default: the files of $KUBECONFIG, merged as kubectl does, then ~/.kube/config."""

    context: str | None = None
    """Context of it; default: the current one."""


def open_cluster(options: ClusterOptions | None) -> AbstractAsyncContextManager["Client"]:
    """A client of that cluster. Raises KubeError."""
    # Lazy import, see kubernaut.cli.app.
    import stamina

    # The same.
    from kubernaut.kube.client import ClientConfig, open_client
    from kubernaut.kube.kubeconfig import default_kubeconfigs

    # Somebody who waits for an answer reads the last failure, not each attempt.
    stamina.instrumentation.set_on_retry_hooks([])
    options = options or ClusterOptions()
    files = (options.kubeconfig,) if options.kubeconfig else default_kubeconfigs(os.environ)
    return open_client(ClientConfig(kubeconfig=files, context=options.context))
