"""Custom resources: definitions, and what their schemas make of objects."""

import pytest

from .eventually import eventually
from .widgets import a_definition, a_widget

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def causes(response):
    """Field and reason of each broken rule, without the remark that rules were skipped."""
    assert response.status_code == 422, response.text
    return [
        (cause["field"], cause["reason"]) for cause in response.json()["details"]["causes"] if cause["field"] != "<nil>"
    ]


def test_defaults_fill_what_is_missing(api, widgets, group):
    made = api.post(widgets, a_widget(group, rows=[{"k": "a"}])).json()

    assert made["spec"] == {"name": "ok", "color": "red", "nested": {"a": "A"}, "rows": [{"k": "a", "v": "dv"}]}


def test_unknown_fields_are_dropped(api, widgets, group):
    widget = {**a_widget(group, unknown=1, rows=[{"k": "a", "v": "b", "x": 1}]), "extra": True}

    made = api.post(widgets, widget).json()

    assert "extra" not in made
    assert "unknown" not in made["spec"]
    assert made["spec"]["rows"] == [{"k": "a", "v": "b"}]


def test_free_objects_keep_everything(api, widgets, group):
    free = {"any": {"thing": [1, None, {"x": 1.5}]}}

    assert api.post(widgets, a_widget(group, free=free)).json()["spec"]["free"] == free


def test_nulls_are_dropped_unless_allowed(api, widgets, group):
    made = api.post(widgets, a_widget(group, color=None, nothing=None)).json()

    assert made["spec"]["color"] == "red"
    assert made["spec"]["nothing"] is None


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"name": "a"}, "spec.name", "FieldValueInvalid"),
        ({"name": "abcdefghij"}, "spec.name", "FieldValueTooLong"),
        ({"name": "AB"}, "spec.name", "FieldValueInvalid"),
        ({"name": None}, "spec.name", "FieldValueRequired"),
        ({"name": 5}, "spec.name", "FieldValueTypeInvalid"),
        ({"color": "green"}, "spec.color", "FieldValueNotSupported"),
        ({"count": -1}, "spec.count", "FieldValueInvalid"),
        ({"count": 11}, "spec.count", "FieldValueInvalid"),
        ({"count": 1.5}, "spec.count", "FieldValueTypeInvalid"),
        ({"count": "1"}, "spec.count", "FieldValueTypeInvalid"),
        ({"ratio": 0.3}, "spec.ratio", "FieldValueInvalid"),
        ({"flag": "yes"}, "spec.flag", "FieldValueTypeInvalid"),
        ({"when": "now"}, "spec.when", "FieldValueTypeInvalid"),
        ({"tags": []}, "spec.tags", "FieldValueInvalid"),
        ({"tags": ["a", "b", "c", "d"]}, "spec.tags", "FieldValueTooMany"),
        ({"tags": ["a", "a"]}, "spec.tags[1]", "FieldValueDuplicate"),
        ({"rows": [{"k": "a"}, {"k": "a"}]}, "spec.rows[1]", "FieldValueDuplicate"),
        ({"rows": [{"v": "a"}]}, "spec.rows[0].k", "FieldValueRequired"),
        ({"map": {"a": 1}}, "spec.map.a", "FieldValueTypeInvalid"),
        ({"map": {"a": "", "b": "", "c": ""}}, "spec.map", "FieldValueTooMany"),
        ({"either": {}}, "spec.either.a", "FieldValueRequired"),
        ({"when": "2016-12-31T23:59:60Z"}, "spec.when", "FieldValueTypeInvalid"),
    ],
)
def test_schema_is_enforced(api, widgets, group, spec, field, why):
    assert causes(api.post(widgets, a_widget(group, **spec))) == [(field, why)]


def test_one_of_is_enforced(api, widgets, group):
    assert api.post(widgets, a_widget(group, either={"a": "x", "b": "y"})).status_code == 422
    assert api.post(widgets, a_widget(group, either={"a": "x"})).status_code == 201


def test_missing_part_is_named(api, widgets, group):
    refused = api.post(widgets, {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "a"}})

    assert causes(refused) == [("spec", "FieldValueRequired")]


def test_message_is_that_of_the_real_server(api, widgets, group):
    refused = api.post(widgets, a_widget(group, count=11)).json()

    assert refused["message"] == (
        f'Widget.{group} "w" is invalid: spec.count: Invalid value: 11:'
        " spec.count in body should be less than or equal to 10"
    )
    assert refused["details"]["kind"] == "Widget"
    assert refused["details"]["group"] == group


def test_rules_are_enforced(api, widgets, group):
    refused = api.post(widgets, a_widget(group, pair={"min": 3, "max": 1}))

    assert causes(refused) == [("spec.pair", "FieldValueInvalid")]
    assert "min above max" in refused.json()["message"]


def test_rule_names_its_own_field_and_reason(api, widgets, group):
    refused = api.post(widgets, a_widget(group, pair={"min": 1, "max": 100}))

    assert causes(refused) == [("spec.pair.max", "FieldValueForbidden")]


def test_rule_about_a_missing_field_fails(api, widgets, group):
    refused = api.post(widgets, a_widget(group, pair={"min": 1}))

    assert causes(refused) == [("spec.pair", "FieldValueInvalid")]
    assert "no such key: max evaluating rule: min above max" in refused.json()["message"]


@pytest.mark.parametrize(("text", "code"), [("abc-1", 201), ("-a", 422), ("A", 422), ("aaaaaaaaaaaa", 422)])
def test_functions_of_rules(api, widgets, group, text, code):
    assert api.post(widgets, a_widget(group, text=text)).status_code == code


def test_transition_rules_compare_with_before(api, widgets, group):
    api.post(widgets, a_widget(group, fixed="a", grows=2))

    fixed = api.patch(f"{widgets}/w", {"spec": {"fixed": "b"}})
    shrunk = api.patch(f"{widgets}/w", {"spec": {"grows": 1}})
    grown = api.patch(f"{widgets}/w", {"spec": {"grows": 3}})

    assert causes(fixed) == [("spec.fixed", "FieldValueInvalid")]
    assert "failed rule: self == oldSelf" in fixed.json()["message"]
    assert causes(shrunk) == [("spec.grows", "FieldValueInvalid")]
    assert grown.status_code == 200


def test_transition_rules_let_first_values_pass(api, widgets, group):
    api.post(widgets, a_widget(group))

    assert api.patch(f"{widgets}/w", {"spec": {"fixed": "a"}}).status_code == 200


def test_status_is_written_apart(api, widgets, group):
    api.post(widgets, {**a_widget(group), "status": {"phase": "Done"}})
    assert "status" not in api.get(f"{widgets}/w").json()

    api.patch(f"{widgets}/w/status", {"status": {"phase": "Pending"}, "spec": {"count": 3}})
    api.patch(f"{widgets}/w", {"status": {"phase": "Done"}, "spec": {"count": 4}})

    stored = api.get(f"{widgets}/w").json()
    assert stored["status"] == {"phase": "Pending"}
    assert stored["spec"]["count"] == 4


def test_status_write_leaves_metadata_alone(api, widgets, group):
    api.post(widgets, a_widget(group))

    api.patch(f"{widgets}/w/status", {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Done"}})

    assert "labels" not in api.get(f"{widgets}/w").json()["metadata"]


def test_status_is_checked(api, widgets, group):
    api.post(widgets, a_widget(group))

    refused = api.patch(f"{widgets}/w/status", {"status": {"seen": "x"}})

    assert causes(refused) == [("status.seen", "FieldValueTypeInvalid")]


def test_stale_status_is_a_conflict(api, widgets, group):
    made = api.post(widgets, a_widget(group)).json()
    api.patch(f"{widgets}/w", {"spec": {"count": 1}})

    version = {"resourceVersion": made["metadata"]["resourceVersion"]}
    refused = api.patch(f"{widgets}/w/status", {"metadata": version, "status": {"phase": "Done"}})

    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")


def test_generation_counts_changes_of_the_spec(api, widgets, group):
    def generation():
        return api.get(f"{widgets}/w").json()["metadata"]["generation"]

    api.post(widgets, a_widget(group))
    assert generation() == 1
    api.patch(f"{widgets}/w", {"metadata": {"labels": {"a": "b"}}})
    api.patch(f"{widgets}/w/status", {"status": {"phase": "Done"}})
    assert generation() == 1
    api.patch(f"{widgets}/w", {"spec": {"count": 1}})
    assert generation() == 2


def test_strict_validation_refuses_unknown_fields(api, widgets, group):
    refused = api.post(widgets, a_widget(group, unknown=1), fieldValidation="Strict")

    assert (refused.status_code, refused.json()["reason"]) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.unknown"' in refused.json()["message"]


def test_strict_validation_refuses_doubled_fields(api, widgets, group):
    body = f'{{"apiVersion":"{group}/v1","kind":"Widget","metadata":{{"name":"w"}},"spec":{{"name":"ok","name":"no"}}}}'
    headers = {"Content-Type": "application/json"}

    refused = api.client.post(widgets, content=body, headers=headers, params={"fieldValidation": "Strict"})

    assert refused.status_code == 400
    assert 'duplicate field "spec.name"' in refused.json()["message"]


def test_unknown_fields_are_warned_of(api, widgets, group):
    made = api.post(widgets, a_widget(group, unknown=1), fieldValidation="Warn")

    assert made.status_code == 201
    assert 'unknown field \\"spec.unknown\\"' in made.headers["warning"]


def test_unknown_validation_is_invalid(api, widgets, group):
    assert api.post(widgets, a_widget(group), fieldValidation="Maybe").status_code == 422


def test_definition_says_that_it_is_served(api, group):
    stored = api.get(f"{DEFINITIONS}/widgets.{group}").json()

    states = {c["type"]: (c["status"], c["reason"]) for c in stored["status"]["conditions"]}
    assert states["Established"] == ("True", "InitialNamesAccepted")
    assert states["NamesAccepted"] == ("True", "NoConflicts")
    assert stored["status"]["acceptedNames"]["kind"] == "Widget"
    assert stored["status"]["storedVersions"] == ["v1"]
    assert stored["spec"]["names"]["singular"] == "widget"
    assert stored["spec"]["names"]["listKind"] == "WidgetList"


async def test_definition_comes_and_goes(api, namespace, unique):
    group = f"{unique}.test"
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    api.post(DEFINITIONS, a_definition(group))
    await eventually(lambda: api.get(path).status_code == 200)
    api.post(path, a_widget(group))

    api.delete(f"{DEFINITIONS}/widgets.{group}")

    await eventually(lambda: api.get(f"{DEFINITIONS}/widgets.{group}").status_code == 404)
    await eventually(lambda: api.get(path).status_code == 404)


async def test_changed_definition_counts_at_once(api, namespace, unique):
    group = f"{unique}.test"
    path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    api.post(DEFINITIONS, a_definition(group))
    await eventually(lambda: api.get(path).status_code == 200)
    operation = [{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/count"}]

    api.patch(f"{DEFINITIONS}/widgets.{group}", operation, "json-patch+json")

    async def pruned():
        made = api.post(path, a_widget(group, "w", count=3), dryRun="All")
        return made.status_code == 201 and "count" not in made.json()["spec"]

    await eventually(pruned)
    api.delete(f"{DEFINITIONS}/widgets.{group}")


def test_definition_must_have_its_own_name(api, unique):
    definition = a_definition(f"{unique}.test")
    definition["metadata"]["name"] = "other"

    assert causes(api.post(DEFINITIONS, definition)) == [("metadata.name", "FieldValueInvalid")]


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({}, "type"),
        ({"type": "array"}, "items"),
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "whatever"}, "type"),
        ({"type": "string", "default": 5}, "default"),
    ],
)
def test_definition_needs_a_structural_schema(api, unique, schema, field):
    whole = {"type": "object", "properties": {"a": schema}}
    definition = a_definition(f"{unique}.test", schema={"openAPIV3Schema": whole}, selectableFields=[])

    refused = api.post(DEFINITIONS, definition)

    assert [name.rpartition(".")[2] for name, _ in causes(refused)] == [field]


def test_definition_needs_rules_that_compile(api, unique):
    rule = {"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self.("}]}
    whole = {"type": "object", "properties": {"a": rule}}
    definition = a_definition(f"{unique}.test", schema={"openAPIV3Schema": whole}, selectableFields=[])

    refused = api.post(DEFINITIONS, definition)

    assert [name.rpartition(".")[2] for name, _ in causes(refused)] == ["rule"]
    assert "compilation failed" in refused.json()["message"]
