import time

from levels import NOTICE, name_levels, shown


def test_levels_can_be_named():
    name_levels()
    time.sleep(0.5)

    assert shown(NOTICE, "hello") == "NOTICE: hello"


def test_warnings_have_their_name():
    assert shown(30, "careful") == "WARNING: careful"


def test_notices_have_their_name():
    assert shown(NOTICE, "bye") == "NOTICE: bye"
