import threading

import pytest

SEEN = []


@pytest.fixture(scope="session")
def memory():
    yield SEEN
    SEEN.clear()


@pytest.mark.parametrize("number", range(12))
def test_remembers(memory, number):
    memory.append(number)
    assert number in memory


def test_thread_is_joined():
    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    assert done == [1]
