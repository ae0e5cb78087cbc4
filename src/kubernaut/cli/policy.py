"""`kubernaut policy …`: check, evaluate, test and compare policies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.signalprocessing.policy.sources import Sources

PolicyArgument = Annotated[Path, cyclopts.Parameter(help="policy.rego, or the folder that holds a policy")]


def sources_of(policy: Path | None) -> "Sources":
    """The policy of a file or folder, or the built-in one for None."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy import sources

    if policy is not None and not policy.exists():
        raise CommandError(f"{policy}: no such file or folder", code=2)
    return sources.read(policy.parent, policy.name) if policy and policy.is_file() else sources.read(policy)


async def check(
    policy: PolicyArgument,
    /,
    *,
    seed: Annotated[int, cyclopts.Parameter(help="Of the random combinations of inputs")] = 0,
    output: OutputOption = Output.TABLE,
) -> int:
    """Find the faults of a policy before it decides: place and hint of each; exit code 1 when there is one.

    The text is analysed, and the policy is evaluated for a table of inputs that is made of the values with which it
    compares them. The `*_test.rego` files of a folder are analysed too.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy import checking, sources

    read = sources_of(policy)
    folder = policy if policy.is_dir() else None
    tests = [(path.name, sources.read_file(path)) for path in sorted(folder.glob("*_test.rego"))] if folder else []
    result = await checking.check(read, tests, seed=seed)
    if not emit(result.findings, output, [str(finding) for finding in result.findings]):
        for finding in result.findings:
            say(visible(str(finding)))
            if finding.hint:
                say(f"    hint: {visible(finding.hint)}")
        names = ", ".join(file for file, _ in read.files)
        faults = f"{len(result.findings)} finding{'s' * (len(result.findings) != 1)}"
        note(f"{visible(names)}: {faults if result.findings else 'no fault'}; {result.evaluated} inputs evaluated")
    return 1 if result.findings else 0
