"""CEL rules beyond what the conformance suite asks of every server."""

import pytest

from pocketkube.schema.cel import RuleTree, rule_violations
from pocketkube.schema.cel_expressions import InvalidRule, check_syntax
from pocketkube.schema.structural import compile_schema


def breaks(rule, value, old=None, **schema):
    """Tell whether a value of `spec` breaks one rule."""
    spec = {"x-kubernetes-validations": [rule if isinstance(rule, dict) else {"rule": rule}], **schema}
    tree = RuleTree(compile_schema({"type": "object", "properties": {"spec": spec}}))
    before = None if old is None else {"spec": old}
    return [message for _, message, _ in rule_violations(tree, {"spec": value}, before)]


TEXT = {"type": "string"}
NUMBERS = {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("rule", "value", "schema"),
    [
        ("size(self) == 2", "äö", TEXT),
        ("self.size() == 2 && self != 'size('", "äö", TEXT),
        ("self.split(',').size() == 2", "a,b", TEXT),
        ("self.lowerAscii() == 'äb'", "äB", TEXT),
        ("self.replace('a', 'b') == 'bb'", "ab", TEXT),
        ("self.find('[0-9]+') == '12'", "a12b3", TEXT),
        ("self.findAll('[0-9]').size() == 3", "a12b3", TEXT),
        ("self.substring(1) == 'bc' && self.indexOf('c') == 2", "abc", TEXT),
        ("self.isSorted() && self.sum() == 6", [1, 2, 3], NUMBERS),
        ("self.all(n, n > 0) && self.exists(n, n == 2) && self.exists_one(n, n == 3)", [1, 2, 3], NUMBERS),
        ("self.filter(n, n > 1).map(n, n * 2) == [4, 6]", [1, 2, 3], NUMBERS),
        ("self in ['a', 'b']", "a", TEXT),
        ("self > 0.5", 1, {"type": "number"}),
        ("self < timestamp('2030-01-01T00:00:00Z')", "2026-01-01T00:00:00Z", {**TEXT, "format": "date-time"}),
        ("self >= duration('90s')", "1h30m", {**TEXT, "format": "duration"}),
        ("isURL(self)", "https://example.test/a", TEXT),
    ],
)
def test_rules_that_hold(rule, value, schema):
    assert breaks(rule, value, **schema) == []


def test_names_that_are_no_identifiers_are_escaped():
    schema = {"type": "object", "properties": {"x-y": TEXT, "namespace": TEXT}}

    assert breaks("self.x__dash__y == self.__namespace__", {"x-y": "a", "namespace": "a"}, **schema) == []


def test_undeclared_fields_do_not_exist():
    schema = {"type": "object", "properties": {"a": TEXT}}

    assert breaks("has(self.b)", {"a": "x", "b": "y"}, **schema) == ["Invalid value: failed rule: has(self.b)"]


def test_message_can_be_computed():
    rule = {"rule": "self < 5", "message": "plain", "messageExpression": "'got ' + string(self)"}

    assert breaks(rule, 7, type="integer") == ["Invalid value: 7: got 7"]


def test_broken_message_expression_falls_back():
    rule = {"rule": "self < 5", "message": "plain", "messageExpression": "string(self.nope)"}

    assert breaks(rule, 7, type="integer") == ["Invalid value: 7: plain"]


def test_rule_that_fails_says_why():
    (message,) = breaks("self / 0 == 1", 7, type="integer")

    assert message.startswith('Invalid value: "integer": ')
    assert message.endswith("evaluating rule: self / 0 == 1")


def test_unchanged_value_is_not_judged_again():
    assert breaks("self < 5", 7, old=7, type="integer") == []
    assert breaks("self < 5", 8, old=7, type="integer") != []


def test_transition_rule_judges_unchanged_values_too():
    assert breaks("self > oldSelf", 7, old=7, type="integer") != []


def test_optional_old_value():
    rule = {"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": True}

    assert breaks(rule, 1, type="integer") == []
    assert breaks(rule, 2, type="integer") != []
    assert breaks(rule, 3, old=2, type="integer") == []


def test_items_are_compared_by_their_keys():
    rows = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {
            "type": "object",
            "properties": {
                "k": TEXT,
                "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]},
            },
        },
    }
    tree = RuleTree(compile_schema({"type": "object", "properties": {"rows": rows}}))
    old = {"rows": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]}

    assert rule_violations(tree, {"rows": [{"k": "b", "v": 5}, {"k": "c", "v": 0}, {"k": "a", "v": 2}]}, old) == []
    (cause,) = rule_violations(tree, {"rows": [{"k": "b", "v": 4}]}, old)
    assert cause[2] == "rows[0].v"


def test_bad_syntax_is_told():
    with pytest.raises(InvalidRule, match="Syntax error"):
        check_syntax("self.(")
