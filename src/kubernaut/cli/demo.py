"""`kubernaut demo`: the embedded stack, the shop's alerts, and their decisions on a terminal."""

from typing import Annotated

import cyclopts

from kubernaut.cli.output import say
from kubernaut.cli.stack import (
    DataDirOption,
    OtherCluster,
    Progress,
    addresses,
    command,
    stack_config,
    stay,
)
from kubernaut.ops.visible_text import visible

NEXT_STEPS = """\
Try next:
  Keep it running, with a webhook for your Alertmanager:
    {kubernaut} demo --keep
  Decide one alert offline, on a folder of manifests:
    {kubernaut} process --help
  Start the same stack empty, and keep its data:
    {kubernaut} up"""


async def demo(
    *,
    keep: Annotated[bool, cyclopts.Parameter(help="Keep the stack running until Ctrl-C")] = False,
    data_dir: DataDirOption = None,
    other: OtherCluster | None = None,
) -> int:
    """Run the whole system on this machine: decide six alerts, change a rule, and find an edited row.

    Exit code 1 when a decision is not the expected one, or when verification finds too little or too much.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.embedded.stack import open_stack

    config = await stack_config(data_dir, other, temporary=data_dir is None)
    progress = Progress()
    async with open_stack(config, progress.ready) as stack:
        progress.done()
        # Most of it is loaded by then, and nothing waits for it.
        from kubernaut.cli.demo_display import Display
        from kubernaut.embedded.demo import runner
        from kubernaut.embedded.demo.scenario import EXPECTED

        result = await runner.run(stack, Display([*EXPECTED]))
        for problem in result.problems:
            say(f"UNEXPECTED  {visible(problem)}")
        say("")
        if keep:
            say(addresses(stack))
            await stay(stack)
        else:
            say(NEXT_STEPS.format(kubernaut=command()))
    return 1 if result.problems else 0
