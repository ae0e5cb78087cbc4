import time

from kinds import kind_of, register_kinds


def test_kinds_can_be_registered():
    register_kinds()
    time.sleep(0.5)

    assert kind_of("shop.manifest") == "application/x-manifest"


def test_pages_have_a_kind():
    assert kind_of("index.html") == "text/html"


def test_manifests_have_a_kind():
    assert kind_of("api.manifest") == "application/x-manifest"
