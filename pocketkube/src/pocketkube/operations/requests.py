"""What a client asks: the path taken apart, the query, the options."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from pocketkube.status import ApiError, bad_request, invalid, path_not_found

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False", ""})


@dataclass(frozen=True, kw_only=True)
class ResourcePath:
    """The resource, namespace, name and subresource that a path names."""

    group: str
    version: str
    plural: str = ""
    namespace: str | None = None
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> ResourcePath:
    """Take a path below /api or /apis apart; raise a 404 for one that cannot be a resource."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api":
        group, rest = "", parts[1:]
    else:
        group, rest = parts[1], parts[2:]
    version, rest = rest[0], rest[1:]
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in {"status", "finalize"}:
        namespace: str | None = rest[1]
        rest = rest[2:]
    else:
        namespace = None
    if len(rest) > 3:
        raise path_not_found()
    plural, name, subresource = (*rest, "", "", "")[:3]
    return ResourcePath(
        group=group, version=version, plural=plural, namespace=namespace, name=name, subresource=subresource
    )


class Query:
    """The query string; booleans follow Go's ParseBool."""

    def __init__(self, raw: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        if raw:
            for key, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
                self._values.setdefault(key, []).append(value)

    def text(self, key: str) -> str:
        """Return the first value, or an empty string."""
        return self._values.get(key, ("",))[0]

    def texts(self, key: str) -> list[str]:
        """Return all values."""
        return self._values.get(key, [])

    def has(self, key: str) -> bool:
        """Tell whether the key was given at all."""
        return key in self._values

    def flag(self, key: str) -> bool:
        """Return a boolean; a missing one is false."""
        value = self.text(key)
        if value in _TRUE:
            return True
        if value in _FALSE:
            # `?watch` alone means yes.
            return key in self._values and value == ""
        raise bad_request(f'strconv.ParseBool: parsing "{value}": invalid syntax')

    def number(self, key: str) -> int:
        """Return an integer; a missing one is 0."""
        value = self.text(key)
        try:
            return int(value or 0)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a write wants to be treated."""

    manager: str
    dry_run: bool = False
    force: bool = False
    validation: str = ""
    """Strict, Warn or Ignore; empty means Warn."""


def parse_options(query: Query, user_agent: str, verb: str) -> Options:
    """Return the options of a write; raise a 422 for values that do not exist."""
    manager = query.text("fieldManager")
    if manager:
        _check_manager(manager, verb)
    dry_run = query.texts("dryRun")
    if dry_run and dry_run != ["All"] and any(dry_run):
        message = 'Unsupported value: ["' + '","'.join(dry_run) + '"]: supported values: "All"'
        raise _invalid_options(verb, ("FieldValueNotSupported", message, "dryRun"))
    validation = query.text("fieldValidation")
    if validation not in {"", "Ignore", "Strict", "Warn"}:
        message = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        raise _invalid_options(verb, ("FieldValueNotSupported", message, "fieldValidation"))
    return Options(
        manager=manager or user_agent.partition("/")[0] or "unknown",
        dry_run=bool(dry_run and any(dry_run)),
        force=query.flag("force"),
        validation=validation,
    )


def _check_manager(manager: str, verb: str) -> None:
    if len(manager) > 128:
        raise _invalid_options(verb, ("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"))
    for position, character in enumerate(manager):
        if not character.isprintable():
            shown = manager.encode("unicode_escape").decode()
            message = f'Invalid value: "{shown}": invalid character U+{ord(character):04X} (at position {position})'
            raise _invalid_options(verb, ("FieldValueInvalid", message, "fieldManager"))


def manager_required() -> ApiError:
    """An apply says who applies."""
    cause = ("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
    return _invalid_options("patch", cause)


def _invalid_options(verb: str, cause: tuple[str, str, str]) -> ApiError:
    kind = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}.get(verb, "DeleteOptions")
    return invalid("", "meta.k8s.io", kind, [cause])
