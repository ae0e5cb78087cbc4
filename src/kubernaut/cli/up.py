"""`kubernaut up`: the embedded stack, empty, until Ctrl-C."""

from kubernaut.cli.output import say
from kubernaut.cli.stack import DataDirOption, KubeconfigOption, Progress, YesOption, addresses, confirm_cluster, stay


async def up(*, data_dir: DataDirOption = None, kubeconfig: KubeconfigOption = None, yes: YesOption = False) -> int:
    """Run PostgreSQL, Valkey, a Kubernetes API and the three services on this machine until Ctrl-C.

    All state is stored in the data directory and is there again at the next start.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.embedded.stack import StackConfig, open_stack

    confirm_cluster(kubeconfig, yes=yes)
    progress = Progress()
    async with open_stack(StackConfig(directory=data_dir, kubeconfig=kubeconfig), progress.ready) as stack:
        progress.done()
        say("")
        say(addresses(stack))
        await stay(stack)
    return 0
