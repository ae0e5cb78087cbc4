"""`kubernaut oncall`: the open signals as a page for whoever runs the command."""

import sys
from typing import Annotated

import cyclopts

from kubernaut.cli.cluster import AllNamespacesOption, ClusterOptions, NamespaceOption, check_namespaces, open_cluster
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import say


async def oncall(
    *,
    port: Annotated[int, cyclopts.Parameter(help="Port on 127.0.0.1; 0 takes a free one")] = 0,
    namespace: NamespaceOption = None,
    everywhere: AllNamespacesOption = False,
    cluster: ClusterOptions | None = None,
    connection: ConnectionOptions | None = None,
) -> int:
    """Serve a page of the open signals on 127.0.0.1 until Ctrl-C; prints its address.

    The page reads the cluster and DataStorage with what you may read, and nobody else can guess its address.
    """
    check_namespaces(namespace, everywhere=everywhere)
    if not 0 <= port < 2**16:
        raise CommandError(f"--port {port}: a port is between 1 and 65535, or 0 for a free one", code=2)
    try:
        # Lazy import, see kubernaut.cli.app.
        from kubernaut.oncall.service import open_oncall
        from kubernaut.ops.shutdown import stop_requested
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kubernaut"):
            raise
        hint = "pip install 'kubernaut-signalprocessing[oncall]'"
        raise CommandError(f"the page needs {error.name}, which is not installed", code=2, hint=hint) from error
    connection = connection or ConnectionOptions()
    async with (
        open_store(connection) as store,
        open_cluster(cluster) as client,
        open_oncall(client, store, connection.url, port=port, namespace=namespace) as address,
    ):
        with stop_requested() as stop:
            say(f"Open signals: {address}")
            say("Press Ctrl-C to stop.")
            sys.stdout.flush()
            await stop.wait()
    return 0
