"""Looking at the modules of a project never fails, whatever changes them meanwhile."""

import gc
import sys
import types

import pytest

from pytest_muster.records.module_state import _items


class Finalized:
    """Garbage that the collector finds, and that changes a dictionary when it does, again and again."""

    def __init__(self, changed, left):
        self.me = self
        self.changed = changed
        self.left = left

    def __del__(self):
        if self.changed and self.left:
            self.changed.popitem()
            Finalized(self.changed, self.left - 1)


@pytest.fixture
def collected_at_each_allocation():
    before = gc.get_threshold()
    gc.collect()
    yield lambda: gc.set_threshold(1)
    gc.set_threshold(*before)


def test_a_collection_of_garbage_may_change_what_is_looked_at(collected_at_each_allocation):
    for _ in range(50):
        members = {f"name_{number}": number for number in range(500)}
        Finalized(members, 5)
        collected_at_each_allocation()
        found = len(list(_items(members)))

        assert 490 < found < 500


def test_modules_and_classes_can_be_looked_at():
    module = types.ModuleType("shop")
    module.price = 3

    assert dict(_items(vars(module)))["price"] == 3
    assert "left" not in dict(_items(vars(Finalized)))
    assert dict(_items(sys.modules))["gc"] is gc
