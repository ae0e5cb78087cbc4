"""`kubernaut signals explain`: why a signal was decided as it was, from what was recorded then."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
import msgspec

from kubernaut.api.vocabulary import EventType
from kubernaut.cli.cluster import ClusterOptions
from kubernaut.cli.columns import Table
from kubernaut.cli.connection import ConnectionOptions, open_store
from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import Output, OutputOption, emit, note, say, table
from kubernaut.cli.policy_text import find
from kubernaut.cli.signals import bare, find_signal
from kubernaut.ops.visible_text import visible

if TYPE_CHECKING:
    from kubernaut.signalprocessing.explanation.record import Export, RecordedDecision
    from kubernaut.signalprocessing.explanation.result import Answer, DefinitionResult, Explanation

MAX_DEFINITION_CHARS = 80
"""Characters of a definition in a table; `-o json` has more."""
INPUTS = Table(heads=("  input", "value", "from", "for"), details=("for",), droppable=("from",), both_ends=("  input",))
DEFINITIONS = Table(heads=("  place", "definition", "what it said"), both_ends=("  place",), wrapped=True)

ExportOption = Annotated[
    list[Path] | None,
    cyclopts.Parameter(help="File that `kubernaut audit export` wrote; neither DataStorage nor cluster is asked then"),
]
PolicyOption = Annotated[
    Path | None, cyclopts.Parameter(help="policy.rego or its folder, where the text is not in the audit log")
]


async def explain(
    name: str,
    /,
    *,
    namespace: Annotated[
        str, cyclopts.Parameter(name=["--namespace", "-n"], help="Namespace of the signal; default: all")
    ] = "",
    export: ExportOption = None,
    policy: PolicyOption = None,
    output: OutputOption = Output.TABLE,
    cluster: ClusterOptions | None = None,
    connection: ConnectionOptions | None = None,
) -> int:
    """Explain a decision: rule and line, the inputs it read, and what would have changed the priority.

    Answers from what was recorded with the decision, by the policy that decided, also for signals that are gone.
    Exit code 1 when deciding again gives another answer than the record has.

    Parameters
    ----------
    name
        Name of the SignalProcessing object, or of its RemediationRequest.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.explainer import open_explainer

    exports = [_read_export(path) for path in export or []]
    name = bare(name)
    found = _in_exports(exports, name, namespace) if export else await _recorded(name, namespace, cluster, connection)
    if found.facts is None:
        text = f"{name}: decided by an earlier version, which did not record what the policy was given"
        raise CommandError(text, hint=f"kubernaut audit timeline -- {shlex.quote(found.correlation_id)}")
    rules = await find(found.policy_hash, policy, exports, None if export else connection or ConnectionOptions())
    async with open_explainer(rules) as explainer:
        explained = await explainer.explain(found.facts, found.answers)
    explained = msgspec.structs.replace(
        explained,
        signal=found.name,
        namespace=found.namespace,
        correlation_id=found.correlation_id,
        decided_at=found.decided_at,
    )
    if not emit(explained, output, [found.name]):
        _show(explained, found.place)
    for difference in explained.differs:
        note(visible(f"not as recorded: {difference}"))
    return 1 if explained.differs else 0


def _read_export(path: Path) -> "Export":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.record import InvalidRecord, read_export

    try:
        return read_export(path)
    except InvalidRecord as error:
        raise CommandError(str(error), code=2, hint="kubernaut audit export --help") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", code=2) from error


def _in_exports(exports: "Sequence[Export]", name: str, namespace: str) -> "RecordedDecision":
    for export in exports:
        for decision in reversed(export.decisions):
            if name in (decision.name, decision.correlation_id) and namespace in ("", decision.namespace):
                return decision
    raise CommandError(f"the export has no decision about {name!r}")


async def _recorded(
    name: str, namespace: str, cluster: ClusterOptions | None, connection: ConnectionOptions | None
) -> "RecordedDecision":
    """From the audit log, else from the cluster."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import AuditError
    from kubernaut.kube.errors import KubeError
    from kubernaut.signalprocessing.explanation.record import of_signal

    problems: list[str] = []
    try:
        if found := await _in_ledger(name, namespace, connection):
            return found
    except AuditError as error:
        problems.append(str(error))
    try:
        signal = await find_signal(name, namespace, cluster)
        if signal and (decided := of_signal(signal)):
            for problem in problems:
                note(visible(f"audit log not read: {problem}"))
            return decided
        undecided = signal is not None
    except KubeError as error:
        problems.append(str(error))
        undecided = False
    if undecided:
        raise CommandError(f"signal {name!r} is not decided yet", hint=f"kubernaut signals show -- {shlex.quote(name)}")
    text = "; ".join([f"no decision about {name!r} found", *problems])
    raise CommandError(text, code=3 if problems else 1, hint="kubernaut signals list, or kubernaut up")


async def _in_ledger(name: str, namespace: str, connection: ConnectionOptions | None) -> "RecordedDecision | None":
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.explanation.record import of_event

    of_type = {"event_type": EventType.CLASSIFICATION_DECISION.value}
    by_name = of_type | {"detail_key": "signalprocessing_name", "detail_value": name}
    async with open_store(connection) as store:
        for filters in (of_type | {"correlation_id": name.removeprefix("sp-")}, by_name):
            for event in (await store.query(filters)).data:
                place = f"the audit log, event {event.event_id}"
                found = of_event(event.event_data, event.correlation_id, event.event_timestamp, place)
                if name in (found.name, found.correlation_id) and namespace in ("", found.namespace):
                    return found
    return None


def _show(explained: "Explanation", place: str) -> None:
    say(visible(f"Signal:   {explained.namespace}/{explained.signal} (correlation {explained.correlation_id})"))
    at = f"{explained.decided_at:%Y-%m-%d %H:%M:%S} UTC, " if explained.decided_at else ""
    say(visible(f"Decided:  {at}by policy {explained.policy_hash[:12]}"))
    say(visible(f"Record:   {place}"))
    for answer in explained.answers:
        say("")
        _show_answer(answer)
    say("\nInputs that were read:")
    rows = [(f"  {each.path}", _text(each.value), each.origin, ", ".join(each.answers)) for each in explained.inputs]
    table(INPUTS, rows)
    say("\nOne change that would give another priority:")
    for change in explained.changes:
        answers = ", ".join(f"{name} {_text(value)}" for name, value in change.answers.items())
        say(visible(f"  with {change.description}: {answers}".replace("with without", "without")))
    if not explained.changes:
        say(f"  none; {explained.tried} changes of one input were tried")
    for text in explained.notes:
        note(visible(text))


def _show_answer(answer: "Answer") -> None:
    by = f" (by {answer.source})" if answer.source else ""
    say(visible(f"{answer.name}: {_text(answer.value)}{by}"))
    if answer.error:
        say(visible(f"  the rule failed: {answer.error}"))
    rows = [] if answer.rule is None else [_row(answer.rule, "decided")]
    rows += [_row(other, _outcome(other)) for other in answer.others]
    if rows:
        table(DEFINITIONS, rows)


def _row(definition: "DefinitionResult", outcome: str) -> tuple[object, ...]:
    text = definition.text
    short = text if len(text) <= MAX_DEFINITION_CHARS else f"{text[: MAX_DEFINITION_CHARS - 1]}…"
    return f"  {definition.file}:{definition.line}", short, outcome


def _outcome(definition: "DefinitionResult") -> str:
    if definition.error:
        return f"failed: {definition.error}"
    if definition.failed:
        return f"does not hold: line {definition.failed.line}: {definition.failed.text}"
    if definition.decided:
        return f"decided too: {_text(definition.value)}"
    if definition.value is None:
        return "its value is undefined"
    return f"not needed; says {_text(definition.value)}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
