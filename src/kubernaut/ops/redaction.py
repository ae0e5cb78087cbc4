"""What looks like a secret never reaches an object, a log, a Kubernetes Event or the audit trail.

A secret is recognised by its own form, by the name that it is assigned to, or by the place in which it stands, such as
the credentials of a URL. What is left are names and shape, so that a reader still sees what there was.
"""

import functools
import re
from collections.abc import Mapping

import re2  # type: ignore[import-untyped]  # the module has no annotations

from kubernaut.ops.secret_patterns import NAMES, PREFIXED, SUFFIXES, TOKENS

REDACTED = "[REDACTED]"
MAX_ANNOTATION_CHARS = 2048
"""Longer annotations of an object hold somebody's data, not facts about the object, and are left out."""

DROPPED_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "control-plane.alpha.kubernetes.io/leader",
        "objectset.rio.cattle.io/applied",
        "banzaicloud.com/last-applied",
    }
)
"""Annotations that repeat whole objects, secrets included."""

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 64 * 2**20


def _compiled(pattern: str) -> re.Pattern[str]:
    """RE2's pattern, which has the methods of the library's."""
    compiled: re.Pattern[str] = re2.compile(pattern, options=_OPTIONS)
    return compiled


_TOKEN = _compiled("|".join(TOKENS.values()))
_IN_URL = _compiled(rf"((?:{'|'.join(PREFIXED)}))[\w@/+:.-]*\w[\w@/+:.-]*")
_CREDENTIALS = _compiled(r"""(://)(?:[^\s/:@"'<>\[\]]*:[^\s/"'<>]+|[0-9a-f]{32,}(?::[0-9a-f]+)?)(@)""")
_QUERY = _compiled(r"""([?&;](?:sig|signature|key|code|access_token|auth|password|pw)=)([^\s"'&#;]{4,})""")
_ASSIGNED = _compiled(
    rf"""(?i)([\w./-]*(?:{NAMES}){SUFFIXES}\\*["']?\s*(?:=>|:=|==|=|:)\s*)"""
    r"""(?:(\\*")([^"\n]+?)(\\*")|(')([^'\n]+)(')|(\\*["']?)([^\s"',;&\\](?:[^\s"',;&\\]|\\[^"'])*))"""
)
_OPTION = _compiled(rf"""(?i)((?:^|\s)--?[\w-]*(?:{NAMES}|pass)\s+["']?)([^\s"'=-][^\s"']*)""")
_HEADER = _compiled(
    r"""(?i)(\b(?:bearer|basic|digest|negotiate|token|apikey|geniekey|splunk|ssws|bot)\s+)([\w.~+/=:-]{8,})"""
)
_COMMAND = _compiled(
    r"""(\b(?:curl|wget|httpie?|ab)\b[^\n]*?\s(?:-u|-U|--user|--proxy-user)[ =]?["']?[^\s"':]*:)([^\s"']+)"""
    r"""|(\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n]*?\s-p)([^\s"']+)"""
    r"""|(\b(?:sshpass|redis-cli|smbclient)\b[^\n]*?\s-[ap]\s?)([^\s"']+)"""
)
_ENCODED_AUTH = _compiled(r"""("auths?"\s*:\s*")([A-Za-z0-9+/]{8,}={0,2})""")
_SECRET_NAME = _compiled(rf"(?i)(?:{NAMES}){SUFFIXES}$")
_OBJECT_NAME = _compiled(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")

_MIN_LENGTH = 6
"""The shortest text with a secret is `pwd=x1`."""

_MAX_CACHED_LENGTH = 200

_HARMLESS = frozenset(
    {"", "true", "false", "yes", "no", "none", "null", "nil", "enabled", "disabled", "0", "1", "unknown", "missing"}
)
_NAMES_OF_OBJECTS = frozenset({"secret", "exported_secret", "secret_name"})
"""Labels that kube-state-metrics and others give the name of a Secret, which is none."""


def redact(text: str) -> str:
    """The text with everything replaced that looks like a secret; names stay."""
    if len(text) < _MIN_LENGTH:
        return text
    return _redact(text) if len(text) > _MAX_CACHED_LENGTH else _redact_cached(text)


def _redact(text: str) -> str:
    text = _TOKEN.sub(REDACTED, text)
    if "/" in text:
        text = _CREDENTIALS.sub(rf"\1{REDACTED}\2", _IN_URL.sub(rf"\1{REDACTED}", text))
    if "=" in text:
        text = _QUERY.sub(rf"\1{REDACTED}", text)
    if "=" in text or ":" in text:
        text = _ASSIGNED.sub(_assigned, text)
        text = _ENCODED_AUTH.sub(rf"\1{REDACTED}", text)
    if " " in text:
        text = _OPTION.sub(_option, text)
        text = _HEADER.sub(_header, text)
        text = _COMMAND.sub(_command, text)
    return text


# Labels of alerts are few and repeat.
_redact_cached = functools.lru_cache(maxsize=8192)(_redact)


def redact_labels(values: Mapping[str, str]) -> dict[str, str]:
    """Labels as they may be stored."""
    return {key: _value(key, value) for key, value in values.items()}


def redact_annotations(values: Mapping[str, str]) -> dict[str, str]:
    """Annotations of an object as they may be stored."""
    return {
        key: _value(key, value)
        for key, value in values.items()
        if key not in DROPPED_ANNOTATIONS and len(value) <= MAX_ANNOTATION_CHARS
    }


def _value(key: str, value: str) -> str:
    if value.lower() in _HARMLESS or key.startswith("kubernaut.ai/"):
        return value
    if not _SECRET_NAME.search(key):
        return redact(value)
    return value if key in _NAMES_OF_OBJECTS and _OBJECT_NAME.search(value) else REDACTED


def _assigned(found: re.Match[str]) -> str:
    name, *groups = found.groups()
    groups = [group or "" for group in groups] + [""]
    for before, value, after in (groups[0:3], groups[3:6], groups[6:9]):
        if value:
            return found[0] if _is_harmless(value) else f"{name}{before}{REDACTED}{after}"
    return found[0]


def _option(found: re.Match[str]) -> str:
    return found[0] if _is_harmless(found[2]) else found[1] + REDACTED


def _is_harmless(value: str) -> bool:
    """A word that says there is none, a reference to a variable, or what was replaced before."""
    if value.lower().strip(".()[]{}<>") in _HARMLESS or value.startswith(("$", "%", "*", "{{", REDACTED, "REDACTED")):
        return True
    return value.startswith("<") and value.endswith(">")


def _header(found: re.Match[str]) -> str:
    """Prose such as `basic authentication` is no header: credentials have digits, capitals or padding."""
    value = found[2]
    is_prose = value.isalpha() and (value.islower() or value.istitle() or value.isupper())
    return found[0] if is_prose or _is_harmless(value) else found[1] + REDACTED


def _command(found: re.Match[str]) -> str:
    prefix = found[1] or found[3] or found[5]
    value = found[2] or found[4] or found[6]
    return found[0] if _is_harmless(value) else prefix + REDACTED
