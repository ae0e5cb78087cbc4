"""The time of day for the record, which tests can neither move nor notice.

Tests freeze or move time with libraries that replace `time.time`, some of which count how often it is asked. What
observes such a test asks a clock that they leave alone, and adds what it was ahead of the time of day at the beginning.
"""

import time

_CLOCK = (time.perf_counter,)  # in a tuple: a library that looks for names of the function in modules does not find it
_OFFSET = time.time() - _CLOCK[0]()


def now() -> float:
    """Seconds since the epoch."""
    return _OFFSET + _CLOCK[0]()
