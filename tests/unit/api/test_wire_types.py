"""Every type that crosses a process boundary can be decoded, and comes back as it was sent."""

import importlib
import inspect
import pkgutil

import msgspec
import pytest

from kubernaut import api
from kubernaut.api.events import ABSENT, GatewayPayload, SignalPayload
from kubernaut.api.policies import PolicyFile, PolicyPayload
from kubernaut.api.vocabulary import EventType, Phase


def wire_types() -> list[type[msgspec.Struct]]:
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(api.__path__, f"{api.__name__}.")]
    found = {
        each
        for module in modules
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, msgspec.Struct) and each.__module__.startswith(api.__name__)
    }
    return sorted(found, key=lambda each: (each.__module__, each.__qualname__))


@pytest.mark.parametrize("wire_type", wire_types(), ids=lambda each: each.__qualname__)
def test_every_type_has_a_decoder(wire_type: type[msgspec.Struct]):
    if not wire_type.__struct_config__.tag and getattr(wire_type, "__parameters__", ()):
        pytest.skip("generic: its users give the type")

    assert msgspec.json.Decoder(wire_type).type is wire_type


PAYLOADS = [
    *(
        SignalPayload(event_type=event_type, phase=phase, signal="x", facts=facts)
        for event_type in EventType
        for phase in Phase
        for facts in (ABSENT, msgspec.Raw(b'{"a":[1,null]}'))
    ),
    *(
        GatewayPayload(event_type=each, signal_type="alert", signal_name="x", namespace="", fingerprint="0" * 64)
        for each in EventType
    ),
    *(
        PolicyPayload(
            event_type=each, policy_hash="0" * 64, form="unified", reason="changed", change="", replica="a",
            files=[PolicyFile(name="policy.rego", text="package signalprocessing\n")], part=1, parts=1,
        )
        for each in EventType
    ),
]  # fmt: skip


def test_every_payload_comes_back_as_it_was_sent():
    for payload in PAYLOADS:
        sent = msgspec.json.encode(payload)

        received = msgspec.json.decode(sent, type=type(payload))

        assert received == payload
        assert msgspec.json.encode(received) == sent
