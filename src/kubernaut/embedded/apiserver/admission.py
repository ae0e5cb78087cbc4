"""From a body to the full object: types, unknown fields, nulls, defaults, and the rules of its schema."""

from kubernaut.embedded.apiserver import kinds, pruning, rules, typed, validation
from kubernaut.embedded.apiserver.requests import Options
from kubernaut.embedded.apiserver.resources import Object, Resource
from kubernaut.embedded.apiserver.status import ApiError, Cause, bad_request


def check_fields(resource: Resource, value: Object, options: Options) -> list[str]:
    """Remove unknown fields and return a warning for each; raise a 400 for wrong types of built-in kinds.

    With strict validation an unknown field is a 400 too.
    """
    if resource.custom is None:
        for wrong in typed.type_errors(resource, value):
            raise cannot_handle(resource, wrong)
    unknown = pruning.prune(typed.node_of(resource), value)
    if not unknown or options.validation == "Ignore":
        return []
    texts = [f'unknown field "{path}"' for path in unknown]
    if options.validation == "Strict":
        raise cannot_handle(resource, "strict decoding error: " + ", ".join(texts))
    return texts


def cannot_handle(resource: Resource, why: str) -> ApiError:
    """The body is no object of this kind."""
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def fill_in(resource: Resource, value: Object) -> None:
    """Drop nulls and put defaults."""
    pruning.fill_in(typed.node_of(resource), value)
    kinds.prepare_any(resource, value)


def violations(resource: Resource, value: Object, old: Object | None) -> list[Cause]:
    """Return which rules of its schema an object breaks."""
    custom = resource.custom
    if custom is None:
        return kinds.violations(resource, value)
    found = validation.violations(custom.node, value, old)
    if custom.rules is not None:
        if validation.blocks_rules(found):
            found.append(validation.NOT_CHECKED)
        else:
            found.extend(rules.broken_rules(custom.rules, value, old))
    return found
