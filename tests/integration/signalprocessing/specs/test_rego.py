"""The policy decides, within limits, and never loses a signal."""

import asyncio

import pytest

from kubernaut.api.vocabulary import EventType
from support.suite.specs import custom_labels, environment, payload, priority
from support.suite.worker import suite_policy

spec = pytest.mark.spec
LABELS = "# --- labels"


def policy_with(labels: str) -> str:
    """The suite's policy with another rule for the custom labels."""
    head, marker, _ = suite_policy().partition(LABELS)
    return f"{head}{marker}\n\n{labels}\n"


@spec("RG-01", "BR-SP-051")
async def test_policy_decides_production(suite):
    """The policy reads the namespace's label `production`."""
    shop = await suite.namespace("rego", "production")

    assert environment(await suite.completed(target=("Pod", "p", shop))) == ("Production", "namespace-labels")


@spec("RG-02", "BR-SP-070")
async def test_policy_decides_p0(suite):
    """Production and critical: P0 by the policy."""
    shop = await suite.namespace("rego", "production")

    assert priority(await suite.completed(target=("Pod", "p", shop))) == ("P0", "rego-policy")


@spec("RG-03", "BR-SP-102", "BR-SP-072")
async def test_labels_rule_is_loaded(suite, policies):
    """A labels rule that is written to the policy file answers for the next signal."""
    shop = await suite.namespace("rego")
    await policies.apply(policy_with('labels := {"loaded": ["true"]}'))

    done = await suite.completed(target=("Pod", "p", shop))

    assert custom_labels(done) == {"loaded": ["true"]}


@spec("RG-04", "BR-SP-051")
async def test_policy_decides_staging(suite):
    """The policy reads the namespace's label `staging`."""
    shop = await suite.namespace("rego", "staging")

    assert environment(await suite.completed(target=("Pod", "p", shop))) == ("Staging", "namespace-labels")


@spec("RG-05", "BR-SP-070")
async def test_policy_decides_p3(suite):
    """Development and warning: P3 by the policy."""
    shop = await suite.namespace("rego", "development")

    assert priority(await suite.completed("warning", target=("Pod", "p", shop))) == ("P3", "rego-policy")


@spec("RG-06", "BR-SP-102")
async def test_label_with_several_values(suite, policies):
    """A custom label may have several values, which keep their order."""
    shop = await suite.namespace("rego")
    await policies.apply(policy_with('labels := {"team": ["platform", "infrastructure"], "cost-center": ["eng"]}'))

    done = await suite.completed(target=("Pod", "p", shop))

    assert custom_labels(done) == {"cost-center": ["eng"], "team": ["platform", "infrastructure"]}


@spec("RG-07", "BR-SP-104")
async def test_reserved_labels_are_stripped(suite, policies):
    """Both sets of reserved keys are left out in whatever case; the others stay."""
    shop = await suite.namespace("rego")
    reserved = ["kubernaut.ai/internal", "KUBERNAUT.ai/x", "system/test", "environment", "Priority", "component"]
    reserved += ["signal_type", "severity"]
    pairs = ", ".join(f'"{key}": ["injected"]' for key in reserved)
    await policies.apply(policy_with(f'labels := {{{pairs}, "custom": ["kept"]}}'))

    done = await suite.completed(target=("Pod", "p", shop))

    assert custom_labels(done) == {"custom": ["kept"]}


@spec("RG-08", "BR-SP-071", "BR-SP-110")
async def test_policy_that_fails_at_run_time_falls_back(suite, policies):
    """A conflict in the priority rule: the signal completes with the priority of its severity, and condition, audit
    event and counter say that the policy failed."""
    shop = await suite.namespace("rego", "production")
    conflict = 'priority := {"priority": "P3"} if input.signal.name == "Conflict"'
    await policies.apply(f"{suite_policy()}\n{conflict}\n")
    fallbacks = suite.controller.sample("signalprocessing_policy_fallback_total", rule="priority")

    done = await suite.completed("critical", target=("Pod", "p", shop), name="Conflict")
    (event,) = await suite.audited(done, EventType.CLASSIFICATION_DECISION)

    assert priority(done) == ("P1", "fallback-severity")
    assert done.status.condition("ClassificationComplete").reason == "PolicyFallback"
    assert payload(event)["decided_priority_source"] == "fallback-severity"
    assert suite.controller.sample("signalprocessing_policy_fallback_total", rule="priority") == fallbacks + 1


@spec("RG-09", "BR-SP-053")
async def test_namespace_without_anything_is_unknown(suite):
    """No label, no mapping: Completed with environment Unknown."""
    shop = await suite.namespace("rego")

    assert environment(await suite.completed(target=("Pod", "p", shop))) == ("Unknown", "default")


@spec("RG-10", "BR-SP-070")
async def test_ten_evaluations_at_once(suite):
    """Ten signals at once: each is decided, and all alike."""
    shop = await suite.namespace("rego", "production")

    keys = await asyncio.gather(*(suite.signal(target=("Pod", "p", shop)) for _ in range(10)))
    done = await suite.all_completed(keys)

    assert [priority(signal) for signal in done] == [("P0", "rego-policy")] * 10


@spec("RG-11", "BR-SP-072")
async def test_policy_is_changed_while_signals_are_decided(suite, policies):
    """Ten signals while the policy changes: each has the labels of the version whose hash it names."""
    shop = await suite.namespace("rego")
    hashes = {}
    for version in ("v1", "v2"):
        await policies.apply(policy_with(f'labels := {{"version": ["{version}"]}}'))
        hashes[suite.controller.service.policy.current.hash] = [version]

    changing = asyncio.create_task(policies.apply(policy_with('labels := {"version": ["v1"]}')))
    keys = await asyncio.gather(*(suite.signal(target=("Pod", "p", shop)) for _ in range(10)))
    await changing
    keys.append(await suite.signal(target=("Pod", "p", shop)))
    done = await suite.all_completed(keys)

    for signal in done:
        assert custom_labels(signal)["version"] == hashes[signal.status.signal_classification.policy_hash]
    assert custom_labels(done[-1]) == {"version": ["v1"]}


@spec("RG-12", "DD-WORKFLOW-001")
async def test_evaluation_without_end_is_cut_off(suite, policies):
    """A rule that would compute for hours for one signal name: that signal falls back, and the next is decided."""
    shop = await suite.namespace("rego", "production")
    numbers = "numbers.range(1, 100000)"
    endless = f"count([x | some a in {numbers}; some b in {numbers}; x := a * b]) > 0"
    await policies.apply(policy_with(f'labels := {{"slow": ["yes"]}} if {{ input.signal.name == "Slow"; {endless} }}'))

    cut_off = await suite.completed("critical", target=("Pod", "p", shop), name="Slow")
    decided = await suite.completed("critical", target=("Pod", "p", shop))

    assert cut_off.status.condition("ClassificationComplete").reason == "PolicyFallback"
    assert priority(cut_off) == ("P1", "fallback-severity")
    assert priority(decided) == ("P0", "rego-policy")


@spec("RG-13", "DD-WORKFLOW-001")
async def test_long_key_is_truncated(suite, policies):
    """A key of 100 characters becomes one of 63; a short one stays."""
    shop = await suite.namespace("rego")
    await policies.apply(policy_with(f'labels := {{"{"k" * 100}": ["long"], "short": ["key"]}}'))

    done = await suite.completed(target=("Pod", "p", shop))

    assert custom_labels(done) == {"k" * 63: ["long"], "short": ["key"]}


@spec("RG-14", "DD-WORKFLOW-001")
async def test_long_value_is_truncated(suite, policies):
    """A value of 200 characters becomes one of 100."""
    shop = await suite.namespace("rego")
    await policies.apply(policy_with(f'labels := {{"key": ["{"v" * 200}"]}}'))

    done = await suite.completed(target=("Pod", "p", shop))

    assert custom_labels(done) == {"key": ["v" * 100]}


@spec("RG-15", "DD-WORKFLOW-001")
async def test_too_many_keys_are_cut(suite, policies):
    """Of 15 keys the first ten in sorted order are kept, the same every time."""
    shop = await suite.namespace("rego")
    pairs = ", ".join(f'"key-{number:02}": ["v"]' for number in range(15, 0, -1))
    await policies.apply(policy_with(f"labels := {{{pairs}}}"))

    done = await suite.completed(target=("Pod", "p", shop))

    assert list(custom_labels(done)) == [f"key-{number:02}" for number in range(1, 11)]
