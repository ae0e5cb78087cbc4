"""What a policy is evaluated for: an input document, an alert payload or a SignalProcessing object in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kubernaut.api.signals import KIND
from kubernaut.cli.errors import CommandError
from kubernaut.cli.process import content_of, read_manifests, signals_of

if TYPE_CHECKING:
    from kubernaut.signalprocessing.policy.input import PolicyInput
    from kubernaut.signalprocessing.policy.live import PolicyVersion


@dataclass(frozen=True, kw_only=True)
class NamedInput:
    """One input, and what it is called in the output."""

    name: str
    policy_input: "PolicyInput"
    document: dict[str, Any] | None = None
    """The document as it was given; None for what was made of a signal."""


async def read_inputs(
    path: Path, cluster: Path | None, policy: "PolicyVersion", *, recursive: bool = False
) -> list[NamedInput]:
    """The inputs of a file, `-` for standard input. Raises CommandError when it holds none."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.kube.manifests import Manifests
    from kubernaut.signalprocessing import offline
    from kubernaut.signalprocessing.policy.contract import PER_DIMENSION_FIELDS
    from kubernaut.signalprocessing.policy.documents import InvalidDocument, policy_input_of

    content = await content_of(path)
    if not isinstance(content, dict) or content.get("kind") == KIND:
        try:
            found = read_manifests(cluster, recursive=recursive) if cluster else Manifests()
            manifests = offline.of(found)
            signals = await signals_of(content, path, found)
            inputs = [await offline.policy_input(each, manifests, policy) for each in signals]
        except offline.ManifestError as error:
            raise CommandError(str(error), code=2) from error
        return [
            NamedInput(name=each.metadata.name or each.spec.signal.name, policy_input=policy_input)
            for each, policy_input in zip(signals, inputs, strict=True)
        ]
    if not content.keys() & PER_DIMENSION_FIELDS.keys():
        known = ", ".join(f"`{name}`" for name in ("signal", "namespace", "workload"))
        text = f"{path}: no input of a policy (none of {known}), no alert payload and no {KIND} object"
        raise CommandError(text, code=2)
    try:
        return [NamedInput(name="input", policy_input=policy_input_of(content), document=content)]
    except InvalidDocument as error:
        raise CommandError(f"{path}: {error}", code=2) from error


async def decide(policy: "PolicyVersion", each: NamedInput) -> dict[str, Any]:
    """The outcome for one input, beside the document that it was decided from."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.signalprocessing.policy.input import encode
    from kubernaut.signalprocessing.policy.outcome import outcome

    encoded = encode(each.policy_input, policy.sources.form)
    document = encoded
    if each.document is not None:
        # What the document leaves out and a controller always sends is added; nothing that it says is changed.
        document = msgspec.json.encode({**msgspec.json.decode(encoded), **each.document})
    decided = await policy.decide_document(document, each.policy_input)
    return {"name": each.name, **outcome(decided), "input": msgspec.json.decode(document)}
