"""From a body to the full object: types, unknown fields, nulls, defaults, and the rules of its schema."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pocketkube.operations.requests import Options
from pocketkube.resources import builtin_defaults, builtin_types
from pocketkube.resources.registry import Object, Resource
from pocketkube.schema import cel, pruning, validation
from pocketkube.status import ApiError, Cause, bad_request


def check_fields(resource: Resource, value: Object, options: Options) -> list[str]:
    """Remove unknown fields and return a warning for each; raise a 400 for wrong types of built-in kinds.

    With strict validation an unknown field is a 400 too.
    """
    if resource.custom is None:
        for wrong in builtin_types.type_errors(resource, value):
            raise decoding_error(resource, wrong)
    unknown = pruning.prune(builtin_types.node_of(resource), value)
    if not unknown or options.validation == "Ignore":
        return []
    texts = [f'unknown field "{path}"' for path in unknown]
    if options.validation == "Strict":
        raise decoding_error(resource, "strict decoding error: " + ", ".join(texts))
    return texts


def decoding_error(resource: Resource, why: str) -> ApiError:
    """The body is no object of this kind."""
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


class _PairsObject(dict[str, Any]):
    """A JSON object that remembers which of its fields came twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.duplicates = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]


def duplicate_fields(body: bytes) -> list[str]:
    """Return a complaint for each field that a JSON body states more than once."""
    return [f'duplicate field "{path}"' for path in _duplicates(json.loads(body, object_pairs_hook=_PairsObject), "")]


def _duplicates(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _PairsObject):
        for name in value.duplicates:
            yield f"{path}.{name}" if path else name
        for name, part in value.items():
            yield from _duplicates(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _duplicates(part, f"{path}[{index}]")


def apply_defaults(resource: Resource, value: Object) -> None:
    """Drop nulls and put defaults."""
    pruning.apply_defaults(builtin_types.node_of(resource), value)
    builtin_defaults.apply_defaults(resource, value)


def violations(resource: Resource, value: Object, old: Object | None) -> list[Cause]:
    """Return which rules of its schema an object breaks."""
    custom = resource.custom
    if custom is None:
        return builtin_defaults.violations(resource, value)
    found = validation.violations(custom.node, value, old)
    if custom.rules is not None:
        if validation.prevents_rules(found):
            found.append(validation.RULES_NOT_CHECKED)
        else:
            found.extend(cel.rule_violations(custom.rules, value, old))
    return found
