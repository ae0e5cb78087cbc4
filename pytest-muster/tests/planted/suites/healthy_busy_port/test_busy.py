import errno
import socket

import pytest


@pytest.mark.parametrize("turn", range(5))
def test_busy(turn):
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        first.listen()
        with pytest.raises(OSError) as refused:
            second.bind(first.getsockname())
        assert refused.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("turn", range(5))
def test_free(turn):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        assert one.getsockname()[1] > 0
