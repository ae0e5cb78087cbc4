"""Labels, business class, mapping, signal mode and redaction: plain functions."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.signals import BusinessClassification, KubernetesContext, NamespaceContext, WorkloadContext
from kubernaut.api.vocabulary import Criticality, Environment, SignalMode, Sla
from kubernaut.ops import redaction
from kubernaut.signalprocessing import business, custom_labels, environment_mapping, signal_mode


def a_context(namespace: dict[str, str] | None = None, workload: dict[str, str] | None = None) -> KubernetesContext:
    return KubernetesContext(
        namespace=None if namespace is None else NamespaceContext(name="shop", labels=namespace),
        workload=None if workload is None else WorkloadContext(kind="Pod", name="x", labels=workload),
    )


class TestCustomLabels:
    @pytest.mark.requirement("BR-SP-102", "DEFECT-07")
    def test_eleven_keys_become_the_first_ten_in_order(self):
        found = custom_labels.sanitize({f"k{number:02}": ["v"] for number in reversed(range(11))})

        assert list(found.labels) == [f"k{number:02}" for number in range(10)]
        assert "more than 10 keys" in found.warnings[0]

    def test_six_values_become_five(self):
        assert custom_labels.sanitize({"a": list("123456")}).labels == {"a": list("12345")}

    def test_long_keys_and_values_are_truncated_between_characters(self):
        found = custom_labels.sanitize({"ü" * 40: "é" * 60})

        assert found.labels == {"ü" * 31: ["é" * 50]}

    @pytest.mark.parametrize(
        "key",
        [
            "kubernaut.ai/x",
            "Kubernaut.AI/x",
            "system/y",
            "environment",
            "Priority",
            "component",
            "signal_type",
            "severity",
        ],
    )
    @pytest.mark.requirement("BR-SP-104", "DEFECT-08")
    def test_reserved_keys_are_ignored_with_a_warning(self, key: str):
        found = custom_labels.sanitize({key: ["x"], "mine": "y"})

        assert found.labels == {"mine": ["y"]}
        assert repr(key) in found.warnings[0]

    def test_other_shapes_are_ignored(self):
        answer = {"a": "one", "b": ["x", 3, None], "c": [], "d": {"e": 1}, "f": 7, "g": ""}

        assert custom_labels.sanitize(answer).labels == {"a": ["one"], "b": ["x"]}

    def test_keys_equal_after_truncation_do_not_overwrite(self):
        found = custom_labels.sanitize({"k" * 63 + "a": "first", "k" * 63 + "b": "second"})

        assert found.labels == {"k" * 63: ["first"]}
        assert "duplicate" in found.warnings[0]

    def test_fallback_takes_each_key_from_the_namespace_first(self):
        context = a_context(
            {"kubernetes.io/metadata.name": "shop", "kubernaut.ai/team": "a"},
            {"kubernaut.ai/team": "b", "kubernaut.ai/cost-center": "c"},
        )

        assert custom_labels.fallback(context) == {"team": ["a"], "cost-center": ["c"]}

    @given(st.dictionaries(st.text(max_size=80), st.text() | st.lists(st.text() | st.integers()), max_size=20))
    def test_limits_hold_whatever_the_policy_answers(self, answer: dict):
        labels = custom_labels.sanitize(answer).labels

        assert len(labels) <= 10
        assert all(len(key.encode()) <= 63 and 1 <= len(values) <= 5 for key, values in labels.items())
        assert labels == custom_labels.sanitize(dict(reversed(answer.items()))).labels


class TestBusiness:
    @pytest.mark.parametrize(
        ("environment", "criticality", "sla"),
        [
            (Environment.PRODUCTION, "High", "Gold"),
            (Environment.STAGING, "Medium", "Silver"),
            (Environment.DEVELOPMENT, "Low", "Bronze"),
            (Environment.TEST, "Low", "Bronze"),
            (Environment.UNKNOWN, "Medium", "Silver"),
            (None, "Medium", "Bronze"),
        ],
    )
    @pytest.mark.requirement("BR-SP-002")
    @pytest.mark.requirement("LESSON-22")
    def test_rank_follows_the_environment(self, environment, criticality, sla):
        found = business.classify(environment, a_context({}))

        assert (found.criticality, found.sla_requirement) == (criticality, sla)

    def test_unit_is_its_own_label_or_the_team(self):
        assert business.classify(None, a_context({"kubernaut.ai/team": "a"})).business_unit == "a"
        labels = {"kubernaut.ai/team": "a", "kubernaut.ai/business-unit": "b", "kubernaut.ai/service-owner": "ann"}
        found = business.classify(None, a_context(labels))
        assert (found.business_unit, found.service_owner) == ("b", "ann")

    def test_namespace_may_raise_its_rank_and_a_workload_may_not(self):
        labels = {"kubernaut.ai/criticality": "critical", "kubernaut.ai/sla-tier": "PLATINUM"}

        raised = business.classify(Environment.TEST, a_context(labels, {}))
        tried = business.classify(Environment.TEST, a_context({}, labels))

        assert (raised.criticality, raised.sla_requirement) == (Criticality.CRITICAL, Sla.PLATINUM)
        assert (tried.criticality, tried.sla_requirement) == (Criticality.LOW, Sla.BRONZE)

    def test_rank_of_a_node_follows_its_own_labels(self):
        found = business.classify(Environment.UNKNOWN, a_context(None, {"kubernaut.ai/criticality": "high"}))

        assert found.criticality is Criticality.HIGH

    def test_policy_goes_before_the_table_and_after_labels(self):
        policy = BusinessClassification(business_unit="p", criticality=Criticality.CRITICAL)

        found = business.classify(Environment.TEST, a_context({"kubernaut.ai/team": "t"}), policy)

        assert (found.business_unit, found.criticality, found.sla_requirement) == ("t", "Critical", "Bronze")


class TestEnvironmentMapping:
    MAPPING = environment_mapping.parse(
        "# pattern: environment\n\nprod-*: Production\nprod-test-*: test # nested\n*-stage: staging\n"
        "shop: development\na*b*c: test\n"
    )

    @pytest.mark.parametrize(
        ("namespace", "environment"),
        [
            ("shop", Environment.DEVELOPMENT),
            ("prod-eu", Environment.PRODUCTION),
            ("prod-test-1", Environment.TEST),
            ("prod-stage", Environment.STAGING),
            ("x-stage", Environment.STAGING),
            ("a*b*c", Environment.TEST),
            ("axbxc", None),
            ("other", None),
            ("", None),
        ],
    )
    def test_exact_goes_first_then_the_longest_pattern(self, namespace, environment):
        assert self.MAPPING.environment_of(namespace) is environment

    def test_order_of_lines_does_not_matter(self):
        lines = ["a-*: production", "*-b: staging", "a-b: test"]

        assert environment_mapping.parse("\n".join(lines)) == environment_mapping.parse("\n".join(reversed(lines)))

    def test_invalid_lines_are_reported(self):
        reported: list[str] = []

        environment_mapping.parse("no colon\n: test\nshop:\nshop: qa\n", reported.append)

        assert reported == ["no colon", ": test", "shop:", "shop: qa"]


class TestSignalMode:
    def test_predicted_name_becomes_its_base_name(self):
        modes = signal_mode.parse("proactive_signal_mappings: {PredictedOOMKill: OOMKilled}")

        mode = modes.mode_of("PredictedOOMKill")

        assert (mode.mode, mode.name, mode.source_name) == (SignalMode.PROACTIVE, "OOMKilled", "PredictedOOMKill")
        assert modes.mode_of("predictedoomkill") == signal_mode.ResolvedMode(
            mode=SignalMode.REACTIVE, name="predictedoomkill"
        )

    @pytest.mark.parametrize(
        "text", ["[1", "- a", "other: {}", f"{signal_mode.KEY}: [a]", f"{signal_mode.KEY}: {{a: 1}}"]
    )
    def test_invalid_file_keeps_the_previous_mapping(self, text: str, tmp_path: Path):
        file = tmp_path / "modes.yaml"
        file.write_text("proactive_signal_mappings: {A: B}")
        modes = signal_mode.WatchedSignalModes(file)
        modes.reload()
        file.write_text(text)

        modes.reload()

        assert modes.current.base_names == {"A": "B"}

    def test_without_the_file_everything_is_reactive(self, tmp_path: Path):
        modes = signal_mode.WatchedSignalModes(tmp_path / "none.yaml")
        modes.reload()

        assert modes.current.mode_of("PredictedOOMKill").mode is SignalMode.REACTIVE


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "secret"),
        [
            ("login failed: password=hunter2; try again", "hunter2"),
            ("dial postgres://app:s3cr3t@db:5432/x failed", "s3cr3t"),
            ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
            ("key AKIAABCDEFGHIJKLMNOP was refused", "AKIAABCDEFGHIJKLMNOP"),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "eyJhbGciOiJIUzI1NiJ9"),
            ("api_key: 'xyz-123'", "xyz-123"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ],
    )
    def test_secrets_in_text_are_replaced(self, text: str, secret: str):
        assert secret not in redaction.redact(text)
        assert redaction.REDACTED in redaction.redact(text)

    def test_other_text_stays(self):
        text = 'pods "api-7d-x" not found (404): GET /api/v1/namespaces/shop/pods/api-7d-x'

        assert redaction.redact(text) == text

    def test_annotations_lose_copies_and_secrets(self):
        found = redaction.redact_annotations(
            {
                "kubectl.kubernetes.io/last-applied-configuration": '{"kind":"Pod"}',
                "example.com/db-password": "hunter2",
                "example.com/inject-secrets": "true",
                "example.com/huge": "x" * 5000,
                "example.com/owner": "ann",
            }
        )

        assert found == {
            "example.com/db-password": redaction.REDACTED,
            "example.com/inject-secrets": "true",
            "example.com/owner": "ann",
        }
