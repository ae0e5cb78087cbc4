"""The environment of the suite stands before its specs begin."""

import pytest

from kubernaut.kube.errors import NotFound
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.kinds import SIGNAL
from support.signalprocessing import RAW

spec = pytest.mark.spec


@spec("SU-01", "DD-TEST-002")
async def test_each_process_has_a_client_of_its_own(suite):
    """The client of this process reads its controller's namespace from the API server."""
    found = await suite.client.get(RAW["Namespace"], Key("", suite.home))

    assert found["metadata"]["name"] == suite.home


@spec("SU-02", "DD-TEST-002")
async def test_signal_is_created_read_and_deleted(suite):
    """A signal reads back as it was written, and is gone once it is deleted."""
    shop = await suite.namespace("setup-verify")
    parent = await suite.request(severity="info")
    fingerprint = "a1b2c3d4e5f6" * 5 + "a1b2"
    key = await suite.signal(
        "info", target=("Pod", "test-pod", shop), parent=parent, type="kubernetes-event", fingerprint=fingerprint
    )

    found = await suite.cluster.get(key)
    await suite.cluster.delete("SignalProcessing", key)

    assert (found.spec.signal.name, found.spec.signal.fingerprint) == ("TestSignal", fingerprint)
    with pytest.raises(NotFound):
        await suite.client.get(SIGNAL, key)
