import socket

import pytest


@pytest.mark.xfail(reason="nobody is there")
def test_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.xfail(raises=AttributeError, strict=True)
def test_nothing():
    assert None.name == "nothing"


@pytest.mark.skip(reason="another day")
def test_another_day():
    raise AssertionError


def test_run_time_skip():
    pytest.skip("not here")


@pytest.mark.parametrize("number", range(4))
def test_fine(number):
    assert number < 4
