"""`kubernaut policy eval`: the whole decision about one input."""

from pathlib import Path
from typing import Annotated, Any

import cyclopts

from kubernaut.cli.columns import Table
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.cli.policy import PolicyArgument, sources_of
from kubernaut.cli.policy_inputs import decide, read_inputs
from kubernaut.cli.process import RecursiveOption
from kubernaut.ops.visible_text import visible

ANSWERS = Table(heads=("rule", "answer", "source"), droppable=("source",))


async def evaluate(
    policy: PolicyArgument,
    /,
    *,
    path: Annotated[
        Path,
        cyclopts.Parameter(
            name=["--input", "-i"],
            allow_leading_hyphen=True,
            help="An input document, an Alertmanager payload or a SignalProcessing object, JSON or YAML; - for stdin",
        ),
    ],
    cluster: Annotated[
        Path | None, cyclopts.Parameter(help="Folder of manifests, with which alerts are enriched")
    ] = None,
    recursive: RecursiveOption = False,
    output: OutputOption = Output.TABLE,
) -> int:
    """Print the whole decision that a policy takes; exit code 1 when a rule failed.

    The checks at load are those of the controller, so a policy that it would refuse is refused here. A document of an
    input is evaluated as it is; `fallbackEnvironment` and empty names are added where it leaves them out.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy.live import open_policy

    async with open_policy(sources_of(policy)) as version:
        inputs = await read_inputs(path, cluster, version, recursive=recursive)
        decided = [await decide(version, each) for each in inputs]
    single = len(inputs) == 1 and inputs[0].document is not None
    if not emit(decided[0] if single else decided, output, [each["priority"] for each in decided]):
        for number, each in enumerate(decided):
            if number:
                say("")
            _show(each, named=not single)
    return 1 if any(each["failures"] for each in decided) else 0


def _show(decided: dict[str, Any], *, named: bool) -> None:
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy.outcome import text_of

    if named:
        say(visible(decided["name"]))
    rule = decided["policyName"]
    rows = [
        ("environment", decided["environment"], decided["environmentSource"]),
        ("severity", decided["severity"], decided["severitySource"]),
        ("priority", decided["priority"], decided["prioritySource"] + (f" ({rule})" if rule else "")),
        ("labels", text_of(decided["labels"]), ""),
        ("cluster", decided["cluster"], ""),
        ("business", text_of(decided["business"]), ""),
    ]
    table(ANSWERS, rows)
    for failure in decided["failures"]:
        note(f"{visible(failure['rule'])} failed: {visible(failure['message'])}")
    for warning in decided["warnings"]:
        note(f"warning: {visible(warning)}")
