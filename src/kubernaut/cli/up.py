"""`kubernaut up`: the embedded stack, empty, until Ctrl-C."""

from kubernaut.cli.output import say
from kubernaut.cli.stack import DataDirOption, OtherCluster, Progress, addresses, stack_config, stay


async def up(*, data_dir: DataDirOption = None, other: OtherCluster | None = None) -> int:
    """Run PostgreSQL, Valkey, a Kubernetes API and the three services on this machine until Ctrl-C.

    All state is stored in the data directory and is there again at the next start.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.embedded.stack import open_stack

    config = await stack_config(data_dir, other)
    progress = Progress()
    async with open_stack(config, progress.ready) as stack:
        progress.done()
        say("")
        say(addresses(stack))
        await stay(stack)
    return 0
