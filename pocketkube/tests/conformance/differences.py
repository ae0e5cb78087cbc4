"""Where the real servers we test with differ from pocketkube, and why.

`1.36-libs` is a small server made of Kubernetes' own libraries, `1.20.2` an old kube-apiserver; both run without
controllers. A difference that is not listed here fails. A listed one that went away fails too, unless the test would
only wait for something that never comes: those are not run.

A key is the name of a test, or the name with its parameters when not all of them differ.
"""

_NO_CONTROLLERS = "no controllers run beside it: owners collect nothing, and a namespace keeps its contents"
_LATE_OPENAPI = (
    "it describes a custom resource in OpenAPI some time after it is established, and kubectl reads it there"
)
SKIP_REASONS = frozenset({_NO_CONTROLLERS, _LATE_OPENAPI})
"""Reasons for which a test is skipped: what it waits for never happens there, or only sometimes."""

_NO_KIND_RULES = "it validates and defaults no single built-in kinds"
_NO_WATCH_LIST = "its etcd 3.5.1 cannot report progress, which streaming lists need"
_NO_REVIEWS = "it has no reviews"
_OWN_EVENTS = "it keeps the events of each event API apart"
_NO_CUSTOM_OPENAPI = "it describes no custom resources in OpenAPI"

_NO_CEL = "it drops the rules of a definition silently"
_NO_STRICT = "it knows no field validation"
_OLD_KINDS = "it does not have these versions yet"
_OLD_CAUSES = "it names other causes"
_OLD_DISCOVERY = "it knows neither aggregated discovery nor OpenAPI v3"
_OLD_ERRORS = "it answers 500 where newer servers answer 400"
_OLD_OWNERS = "its managed fields do not tell the subresource"
_NO_SELECTABLE = "it knows no selectable fields of custom resources"

_CONTROLLED = (
    "test_dependents_follow_their_owner",
    "test_one_living_owner_is_enough",
    "test_foreground_deletion_ends_with_the_owner",
    "test_orphans_live_on",
    "test_namespace_ends_with_its_contents",
    "test_delete_namespace",
)
_OTHER_CAUSES = (
    "test_status_is_checked",
    "test_schema_is_enforced[spec1-spec.name-FieldValueTooLong]",
    "test_schema_is_enforced[spec4-spec.name-FieldValueTypeInvalid]",
    "test_schema_is_enforced[spec8-spec.count-FieldValueTypeInvalid]",
    "test_schema_is_enforced[spec9-spec.count-FieldValueTypeInvalid]",
    "test_schema_is_enforced[spec11-spec.flag-FieldValueTypeInvalid]",
    "test_schema_is_enforced[spec12-spec.when-FieldValueTypeInvalid]",
    "test_schema_is_enforced[spec14-spec.tags-FieldValueTooMany]",
    "test_schema_is_enforced[spec17-spec.rows[0].k-FieldValueRequired]",
    "test_schema_is_enforced[spec18-spec.map.a-FieldValueTypeInvalid]",
    "test_schema_is_enforced[spec19-spec.map-FieldValueTooMany]",
    "test_schema_is_enforced[spec21-spec.when-FieldValueTypeInvalid]",
)
_RULED = (
    "test_rules_are_enforced",
    "test_rule_names_its_own_field_and_reason",
    "test_rule_about_a_missing_field_fails",
    "test_functions_of_rules[-a-422]",
    "test_functions_of_rules[A-422]",
    "test_functions_of_rules[aaaaaaaaaaaa-422]",
    "test_transition_rules_compare_with_before",
    "test_definition_needs_rules_that_compile",
    "test_definition_is_applied_and_established",
)
_CHECKED = (
    "test_strict_validation_refuses_unknown_fields",
    "test_strict_validation_refuses_doubled_fields",
    "test_unknown_fields_are_warned_of",
    "test_unknown_validation_is_invalid",
)
_SCALED = (
    "test_deployment_is_changed_by_commands",
    "test_scale_is_read",
    "test_scale_is_patched",
    "test_scale_is_replaced",
    "test_negative_scale_is_invalid",
    "test_scale_is_discovered",
)
_DISCOVERED = (
    "test_discovery_in_one_document",
    "test_openapi_version_3_describes_kinds",
    "test_openapi_version_3_describes_custom_kinds",
)

DIFFERENCES: dict[str, dict[str, str]] = {
    "1.36-libs": {
        **dict.fromkeys(_CONTROLLED, _NO_CONTROLLERS),
        "test_name_of_built_in_kind_is_checked": _NO_KIND_RULES,
        "test_secret_text_becomes_data": _NO_KIND_RULES,
        "test_pod_needs_containers": _NO_KIND_RULES,
        "test_both_event_apis_show_the_same": _OWN_EVENTS,
        "test_bookmark_closes_the_initial_events": _NO_WATCH_LIST,
        "test_openapi_version_3_describes_custom_kinds": _NO_CUSTOM_OPENAPI,
        "test_explain_describes_custom_fields": _NO_CUSTOM_OPENAPI,
        "test_token_is_reviewed": _NO_REVIEWS,
        "test_access_is_reviewed": _NO_REVIEWS,
        "test_permissions_are_asked_for": _NO_REVIEWS,
        "test_user_is_named": _NO_REVIEWS,
        **dict.fromkeys(_SCALED, "it has no scale of built-in kinds"),
        "test_events_are_listed": "it prints every kind by name and age only",
    },
    "1.20.2": {
        **dict.fromkeys(_CONTROLLED, _NO_CONTROLLERS),
        **dict.fromkeys(_OTHER_CAUSES, _OLD_CAUSES),
        **dict.fromkeys(_RULED, _NO_CEL),
        **dict.fromkeys(_CHECKED, _NO_STRICT),
        **dict.fromkeys(_DISCOVERED, _OLD_DISCOVERY),
        "test_misspelt_field_is_refused": _LATE_OPENAPI,
        "test_explain_describes_custom_fields": _LATE_OPENAPI,
        "test_newer_resources_are_listed": _OLD_KINDS,
        "test_create_commands_of_newer_kinds_create": _OLD_KINDS,
        "test_user_is_named": "it has no SelfSubjectReview",
        "test_custom_objects_are_selected_by_declared_fields": _NO_SELECTABLE,
        "test_bad_parameters_are_bad_requests": _OLD_ERRORS,
        "test_broken_patch_is_a_bad_request": _OLD_ERRORS,
        "test_status_is_applied_apart": _OLD_OWNERS,
        "test_bookmark_closes_the_initial_events": "it knows no initial events",
        "test_initial_events_need_a_match": "it knows no initial events",
    },
}
