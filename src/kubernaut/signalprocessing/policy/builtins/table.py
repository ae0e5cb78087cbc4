"""Which builtins of OPA policies may use, and by whose code.

A builtin is *the engine's own* where it gives OPA's answer whenever it gives one; where it fails, OPA's expression is
undefined, which `rewrite` arranges. It is *ours* where the engine's answer differs or there is none. Every other one is
refused when a policy is loaded. `scripts/opa-compare` compares all of it with OPA.
"""

from collections.abc import Callable
from typing import Any

from kubernaut.signalprocessing.policy.builtins import (
    documents,
    encodings,
    networks,
    numbers,
    patterns,
    quantities,
    texts,
    times,
    versions,
)
from kubernaut.signalprocessing.policy.builtins.formatting import sprintf

Function = Callable[..., Any]

OURS: dict[str, tuple[int, Function]] = {
    "abs": (1, numbers.absolute),
    "base64.decode": (1, encodings.base64_decode),
    "base64.is_valid": (1, encodings.base64_is_valid),
    "base64url.decode": (1, encodings.base64url_decode),
    "bits.lsh": (2, numbers.shift_left),
    "bits.rsh": (2, numbers.shift_right),
    "ceil": (1, numbers.ceil),
    "crypto.hmac.equal": (2, encodings.hmac_equal),
    "crypto.hmac.md5": (2, encodings.hmac_of("md5")),
    "crypto.hmac.sha1": (2, encodings.hmac_of("sha1")),
    "crypto.hmac.sha256": (2, encodings.hmac_of("sha256")),
    "crypto.hmac.sha512": (2, encodings.hmac_of("sha512")),
    "crypto.md5": (1, encodings.md5),
    "crypto.sha1": (1, encodings.sha1),
    "crypto.sha256": (1, encodings.sha256),
    "floor": (1, numbers.floor),
    "format_int": (2, numbers.format_int),
    "glob.match": (3, patterns.glob_match),
    "hex.decode": (1, encodings.hex_decode),
    "indexof": (2, texts.indexof),
    "indexof_n": (2, texts.indexof_n),
    "json.is_valid": (1, encodings.json_is_valid),
    "json.remove": (2, documents.remove),
    "json.unmarshal": (1, encodings.json_unmarshal),
    "net.cidr_contains": (2, networks.cidr_contains),
    "net.cidr_intersects": (2, networks.cidr_intersects),
    "net.cidr_is_valid": (1, networks.cidr_is_valid),
    "object.subset": (2, documents.subset),
    "product": (1, numbers.product),
    "regex.find_n": (3, patterns.regex_find_n),
    "regex.is_valid": (1, patterns.regex_is_valid),
    "regex.match": (2, patterns.regex_match),
    "regex.replace": (3, patterns.regex_replace),
    "regex.split": (2, patterns.regex_split),
    "semver.compare": (2, versions.compare),
    "semver.is_valid": (1, versions.is_valid),
    "sprintf": (2, sprintf),
    "strings.any_prefix_match": (2, texts.any_prefix_match),
    "strings.any_suffix_match": (2, texts.any_suffix_match),
    "strings.count": (2, texts.count),
    "strings.replace_n": (2, texts.replace_n),
    "substring": (3, texts.substring),
    "sum": (1, numbers.total),
    "time.parse_duration_ns": (1, times.parse_duration_ns),
    "time.parse_rfc3339_ns": (1, times.parse_rfc3339_ns),
    "to_number": (1, numbers.to_number),
    "units.parse": (1, quantities.parse),
    "units.parse_bytes": (1, quantities.parse_bytes),
    "urlquery.decode": (1, encodings.urlquery_decode),
}
"""By name, with the number of operands."""

OURS_BEYOND_ASCII: dict[str, tuple[int, Function]] = {
    "concat": (2, texts.concat),
    "contains": (2, texts.contains),
    "endswith": (2, texts.endswith),
    "lower": (1, texts.lower),
    "replace": (3, texts.replace),
    "split": (2, texts.split),
    "startswith": (2, texts.startswith),
    "strings.reverse": (1, texts.reverse),
    "trim": (2, texts.trim),
    "trim_left": (2, texts.trim_left),
    "trim_prefix": (2, texts.trim_prefix),
    "trim_right": (2, texts.trim_right),
    "trim_space": (1, texts.trim_space),
    "trim_suffix": (2, texts.trim_suffix),
    "upper": (1, texts.upper),
}
"""The engine's own as long as every text is ASCII and none of its builtins fails; ours else."""

GUARDED: dict[str, tuple[str, ...]] = {
    "array.concat": ("is_array", "is_array"),
    "array.reverse": ("is_array",),
    "count": ("is_countable",),
    "intersection": ("is_set_of_sets",),
    "is_array": ("is_any",),
    "is_boolean": ("is_any",),
    "is_null": ("is_any",),
    "is_number": ("is_any",),
    "is_object": ("is_any",),
    "is_set": ("is_any",),
    "is_string": ("is_any",),
    "json.marshal": ("is_any",),
    "max": ("is_collection",),
    "min": ("is_collection",),
    "object.get": ("is_object", "is_any", "is_any"),
    "object.keys": ("is_object",),
    "object.union": ("is_object", "is_object"),
    "sort": ("is_collection",),
    "type_name": ("is_any",),
    "union": ("is_set_of_sets",),
}
"""The engine's own, which fail for nothing but operands of another type than these."""

TRIED: dict[str, int] = {
    "array.slice": 3,
    "base64.encode": 1,
    "base64url.encode": 1,
    "base64url.encode_no_pad": 1,
    "bits.and": 2,
    "bits.negate": 1,
    "bits.or": 2,
    "bits.xor": 2,
    "hex.encode": 1,
    "numbers.range": 2,
    "numbers.range_step": 3,
    "object.filter": 2,
    "object.remove": 2,
    "object.union_n": 1,
    "round": 1,
    "urlquery.encode": 1,
    "urlquery.encode_object": 1,
}
"""The engine's own, which fail for some operands; where one does, it is tried apart. With the number of operands."""

TRIED_ALWAYS: dict[str, int] = {"time.clock": 1, "time.date": 1, "time.weekday": 1}
"""The same, but never asked directly: the engine takes operands that OPA does not."""

AS_THEY_ARE = frozenset({"print", "trace", "walk"})
"""The engine's own, which never fail or are no functions."""

REFUSED_REASONS = {
    "graph": "the engine accepts graphs that OPA does not",
    "graphql": "the engine has no GraphQL",
    "io": "a decision must not depend on tokens or clocks",
    "http": "a decision must not depend on the network",
    "providers": "a policy does not sign requests",
    "yaml": "YAML of Go and of the engine differ",
    "uri": "the engine has no URIs",
    "rand": "a decision depends on its input only",
    "opa": "a decision depends on its input only",
    "glob.quote_meta": "the engine quotes fewer characters",
    "strings.split_n": "the engine lacks it",
    "array.flatten": "the engine lacks it",
    "time.now_ns": "a decision depends on its input only",
    "uuid": "the engine reads other variants",
    "json": "the engine differs in paths and schemas",
    "crypto": "the engine lacks it",
    "internal": "it is the compiler's own",
    "cast_array": "OPA refuses it too",
    "any": "OPA refuses it too",
    "all": "OPA refuses it too",
    "re_match": "OPA refuses it too",
    "set_diff": "OPA refuses it too",
}
"""Why, by name or by its first part; for the rest the reason is that answers differ."""

REFUSED = frozenset(
    {
        "all",
        "and",
        "any",
        "array.flatten",
        "assign",
        "cast_array",
        "cast_boolean",
        "cast_null",
        "cast_object",
        "cast_set",
        "cast_string",
        "crypto.parse_private_keys",
        "crypto.x509.parse_and_verify_certificates",
        "crypto.x509.parse_and_verify_certificates_with_options",
        "crypto.x509.parse_certificate_request",
        "crypto.x509.parse_certificates",
        "crypto.x509.parse_keypair",
        "crypto.x509.parse_rsa_private_key",
        "div",
        "eq",
        "equal",
        "glob.quote_meta",
        "graph.reachable",
        "graph.reachable_paths",
        "graphql.is_valid",
        "graphql.parse",
        "graphql.parse_and_verify",
        "graphql.parse_query",
        "graphql.parse_schema",
        "graphql.schema_is_valid",
        "gt",
        "gte",
        "http.send",
        "internal.member_2",
        "internal.member_3",
        "internal.print",
        "internal.template_string",
        "internal.test_case",
        "io.jwt.decode",
        "io.jwt.decode_verify",
        "io.jwt.encode_sign",
        "io.jwt.encode_sign_raw",
        "io.jwt.verify_eddsa",
        "io.jwt.verify_es256",
        "io.jwt.verify_es384",
        "io.jwt.verify_es512",
        "io.jwt.verify_hs256",
        "io.jwt.verify_hs384",
        "io.jwt.verify_hs512",
        "io.jwt.verify_ps256",
        "io.jwt.verify_ps384",
        "io.jwt.verify_ps512",
        "io.jwt.verify_rs256",
        "io.jwt.verify_rs384",
        "io.jwt.verify_rs512",
        "json.filter",
        "json.marshal_with_options",
        "json.match_schema",
        "json.patch",
        "json.verify_schema",
        "lt",
        "lte",
        "minus",
        "mul",
        "neq",
        "net.cidr_contains_matches",
        "net.cidr_expand",
        "net.cidr_merge",
        "net.cidr_overlap",
        "net.lookup_ip_addr",
        "opa.runtime",
        "or",
        "plus",
        "providers.aws.sign_req",
        "rand.intn",
        "re_match",
        "regex.find_all_string_submatch_n",
        "regex.globs_match",
        "regex.template_match",
        "rego.metadata.chain",
        "rego.metadata.rule",
        "rego.parse_module",
        "rem",
        "set_diff",
        "strings.render_template",
        "strings.split_n",
        "time.add_date",
        "time.diff",
        "time.format",
        "time.now_ns",
        "time.parse_ns",
        "uri.is_valid",
        "uri.parse",
        "urlquery.decode_object",
        "uuid.parse",
        "uuid.rfc4122",
        "yaml.is_valid",
        "yaml.marshal",
        "yaml.unmarshal",
    }
)
"""What else OPA has."""

_OPERATORS = {
    "plus": "+", "minus": "-", "mul": "*", "div": "/", "rem": "%", "and": "&", "or": "|",
    "equal": "==", "neq": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "=", "assign": ":=",
}  # fmt: skip


def refusal(name: str) -> str:
    """Why a policy may not use a builtin of this name."""
    if name not in REFUSED:
        return "there is no such function"
    if name in _OPERATORS:
        return f"write it as the operator {_OPERATORS[name]}"
    return REFUSED_REASONS.get(name) or REFUSED_REASONS.get(
        name.split(".")[0], "this engine's answers differ from OPA's"
    )


def sources() -> dict[str, str]:
    """Every builtin of OPA with whose code answers it, or why it is refused."""
    own = "the engine's own"
    known = dict.fromkeys([*GUARDED, *TRIED, *TRIED_ALWAYS, *AS_THEY_ARE], own)
    known |= dict.fromkeys(OURS_BEYOND_ASCII, f"{own} for ASCII, ours else")
    known |= dict.fromkeys(OURS, "ours")
    known |= {name: f"refused: {refusal(name)}" for name in REFUSED}
    return dict(sorted(known.items()))


def is_available(name: str) -> bool:
    """Whether policies may use the builtin."""
    return any(name in names for names in (OURS, OURS_BEYOND_ASCII, GUARDED, TRIED, TRIED_ALWAYS, AS_THEY_ARE))
