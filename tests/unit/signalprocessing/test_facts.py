"""What a decision was made from, as its audit event keeps it."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.events import ABSENT, SignalPayload
from kubernaut.api.facts import MAX_BYTES
from kubernaut.api.signals import (
    EnvironmentClassification,
    FallbackEnvironment,
    KubernetesContext,
    NamespaceContext,
    SignalStatus,
    WorkloadContext,
)
from kubernaut.api.vocabulary import Environment, EnvironmentSource, EventType, Phase
from kubernaut.signalprocessing import facts
from kubernaut.signalprocessing.policy.input import PolicyInput, encode
from kubernaut.signalprocessing.policy.sources import Form
from support.signals import EARLY, a_context, a_signal


def decided(context: KubernetesContext, fallback: FallbackEnvironment | None, **more):
    """A signal that was decided with this context."""
    classification = EnvironmentClassification(
        environment=Environment.TEST, source="x", classified_at=EARLY, fallback=fallback
    )
    return a_signal(status=SignalStatus(kubernetes_context=context, environment_classification=classification), **more)


UNKNOWN = FallbackEnvironment(environment=Environment.UNKNOWN, source=EnvironmentSource.DEFAULT)
STAGING = FallbackEnvironment(environment=Environment.STAGING, source=EnvironmentSource.CONFIGMAP)


def test_policy_gets_the_same_input_from_the_record_as_at_the_time():
    for fallback, mapped in ((UNKNOWN, None), (STAGING, Environment.STAGING)):
        signal = decided(a_context(labels={"kubernaut.ai/team": "a"}), fallback, labels={"alertname": "x"})
        then = PolicyInput(
            signal=signal.spec.signal, context=signal.status.kubernetes_context, mapped_environment=mapped
        )
        found = facts.facts_of(signal)

        assert found is not None
        for form in Form:
            assert encode(facts.policy_input(found), form) == encode(then, form)


def test_signal_of_an_earlier_version_has_no_facts():
    assert facts.recorded(decided(a_context(), None)) is None


def test_secrets_of_the_senders_labels_are_not_recorded():
    found = facts.recorded(decided(a_context(), UNKNOWN, labels={"password": "hunter22"}))

    assert found is not None
    assert b"hunter22" not in bytes(found)


texts = st.text(max_size=20) | st.text(max_size=4).map(lambda text: text * 5000) | st.just("\0")
maps = st.dictionaries(texts, texts, max_size=40)


@settings(max_examples=30, deadline=None)
@given(maps, maps, maps)
def test_facts_stay_within_their_limit_and_name_what_they_leave_out(labels, annotations, sent):
    context = KubernetesContext(
        namespace=NamespaceContext(name="shop", labels=labels, annotations=annotations),
        workload=WorkloadContext(kind="Pod", name="api", labels=labels, annotations=annotations),
    )
    raw = facts.recorded(decided(context, UNKNOWN, labels=sent))

    assert raw is not None
    assert len(bytes(raw)) <= MAX_BYTES
    assert b"\\u0000" not in bytes(raw)
    found = facts.read(raw)
    for name, kept in (
        ("signal.labels", found.signal.labels),
        ("kubernetesContext", found.kubernetes_context.namespace),
    ):
        assert (name in found.omitted) == (not kept and bool(sent if name == "signal.labels" else context.namespace))
    assert msgspec.json.encode(json.loads(bytes(raw)))


def test_audit_event_without_facts_is_as_it_was_and_one_with_them_is_read_back():
    for raw in (ABSENT, facts.recorded(decided(a_context(), UNKNOWN))):
        payload = SignalPayload(
            event_type=EventType.CLASSIFICATION_DECISION, phase=Phase.CLASSIFYING, signal="x", facts=raw
        )
        encoded = msgspec.json.encode(payload)

        assert ("facts" in json.loads(encoded)) == (raw is not ABSENT)
        assert msgspec.json.decode(encoded, type=SignalPayload) == payload
