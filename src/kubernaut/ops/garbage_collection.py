"""Python's cyclic garbage collector, set for a service that makes many short-lived objects."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MIN_NEW_OBJECTS = 10_000
"""New containers after which the young ones are looked at; Python's own 700 are a few requests."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect less often, and never look at what was made before: modules, classes, routes live as long as the process.

    Nothing of a request is kept by a cycle as a rule, so that the collector finds little, however often it looks.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(MIN_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
