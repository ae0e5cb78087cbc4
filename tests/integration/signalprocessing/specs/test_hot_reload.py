"""The policy file is changed while the controller runs (BR-SP-072)."""

import asyncio

import pytest

from support.suite.polling import eventually
from support.suite.specs import custom_labels
from support.suite.worker import REJECTED, suite_policy

spec = pytest.mark.spec
RELOADS = "signalprocessing_policy_reload_total"
ERRORS = "signalprocessing_policy_reload_errors_total"


def policy(version: str) -> str:
    """The suite's policy; its custom labels tell the version."""
    return f'{suite_policy().partition("# --- labels")[0]}\nlabels := {{"version": ["{version}"]}}\n'


@spec("HR-01", "BR-SP-072")
async def test_changed_file_is_noticed(suite, policies):
    """v1 decides, v2 is written, v2 decides; exactly two loads are counted."""
    shop = await suite.namespace("reload")
    loads = suite.controller.sample(RELOADS)
    await policies.apply(policy("v1"))
    first = await suite.completed(target=("Pod", "p", shop))
    await policies.apply(policy("v2"))
    second = await suite.completed(target=("Pod", "p", shop))

    assert (custom_labels(first), custom_labels(second)) == ({"version": ["v1"]}, {"version": ["v2"]})
    assert suite.controller.sample(RELOADS) == loads + 2


@spec("HR-02", "BR-SP-072")
async def test_new_version_decides_from_then_on(suite, policies):
    """alpha, then beta: each signal names the hash of the version that decided it."""
    shop = await suite.namespace("reload")
    hashes = []
    for version in ("alpha", "beta"):
        await policies.apply(policy(version))
        done = await suite.completed(target=("Pod", "p", shop))
        assert custom_labels(done) == {"version": [version]}
        hashes.append(done.status.signal_classification.policy_hash)

    assert len(set(hashes)) == 2


@spec("HR-03", "BR-SP-072")
async def test_broken_version_changes_nothing(suite, policies):
    """After a version that is no Rego the one before it decides; the rejection is counted once."""
    shop = await suite.namespace("reload")
    await policies.apply(policy("prod"))
    errors = suite.controller.sample(ERRORS)
    first = await suite.completed(target=("Pod", "p", shop))
    await policies.reject("package signalprocessing\nlabels := {{{")
    second = await suite.completed(target=("Pod", "p", shop))

    assert custom_labels(first) == custom_labels(second) == {"version": ["prod"]}
    assert suite.controller.sample(ERRORS) == errors + 1


@spec("HR-04", "BR-SP-072")
async def test_signals_while_the_policy_changes(suite, policies):
    """Five signals beside a change: each is decided by the old or by the new version, as its hash says."""
    shop = await suite.namespace("reload")
    await policies.apply(policy("old"))
    old = suite.controller.service.policy.current.hash

    changing = asyncio.create_task(policies.apply(policy("new")))
    keys = await asyncio.gather(*(suite.signal(target=("Pod", "p", shop)) for _ in range(5)))
    done = await suite.all_completed(keys)
    await changing

    for signal in done:
        is_old = signal.status.signal_classification.policy_hash == old
        assert custom_labels(signal) == {"version": ["old" if is_old else "new"]}


@spec("HR-05", "BR-SP-072")
async def test_file_that_is_deleted_and_made_again(suite, policies):
    """Without its file the version in force goes on; the file that is made again takes its place."""
    shop = await suite.namespace("reload")
    await policies.apply(policy("before"))
    policies.file.unlink()
    await eventually(lambda: suite.controller.sample(REJECTED) == 0, description="the missing policy is reported")
    between = await suite.completed(target=("Pod", "p", shop))
    await policies.apply(policy("after"))
    after = await suite.completed(target=("Pod", "p", shop))

    assert (custom_labels(between), custom_labels(after)) == ({"version": ["before"]}, {"version": ["after"]})
