"""Which proxy the API server is reached through."""

import pytest

from kubernaut.kube.connection import proxy_of

PROXY = "http://proxy.example.com:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_without_variables_there_is_none():
    assert proxy_of("https://10.96.0.1:443") is None


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_used"),
    [
        ("https://10.96.0.1:443", "", True),
        ("https://10.96.0.1:443", "10.96.0.1", False),
        ("https://10.96.0.1:443", "localhost, 10.96.0.0/12", False),  # what clusters set
        ("https://10.96.0.1:443", "10.0.0.0/16,192.168.0.0/16", True),
        ("https://[fd00::1]:443", "fd00::/8", False),
        ("https://api.example.com", ".example.com", False),
        ("https://api.example.com", "10.0.0.0/8", True),
        ("https://api.example.com", "*", False),
        ("https://10.96.0.1:443", "nonsense/99,/", True),
        ("http://127.0.0.1:8001", "", False),  # HTTPS_PROXY is for https
    ],
)
def test_servers_that_no_proxy_names_are_reached_directly(monkeypatch, url, no_proxy, is_used):
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert proxy_of(url) == (PROXY if is_used else None)
