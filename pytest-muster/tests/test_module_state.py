"""Looking at the modules of a project never fails, whatever changes them meanwhile."""

import gc
import importlib
import sys
import types

import pytest

from pytest_muster.records.module_state import ModuleState, _items
from pytest_muster.records.project import Project


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
    found = []
    for _ in range(50):
        members = {f"name_{number}": number for number in range(500)}
        Finalized(members, 5)
        collected_at_each_allocation()
        found.append(len(list(_items(members))))

    # The collector may have come between two rounds, when something else was allocated.
    assert 490 < min(found) < 500
    assert max(found) <= 500


def test_modules_and_classes_can_be_looked_at():
    module = types.ModuleType("shop")
    module.price = 3

    assert dict(_items(vars(module)))["price"] == 3
    assert "left" not in dict(_items(vars(Finalized)))
    assert dict(_items(sys.modules))["gc"] is gc


SUITE = """
prices = {"bread": 2}

def helper():
    return 1

def test_one():
    pass

class TestShop:
    open = True

    def test_two(self):
        pass

    def pay(self):
        pass
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A test module whose state has been taken in."""
    (tmp_path / "test_of_state.py").write_text(SUITE)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("test_of_state")
    state = ModuleState(Project(tmp_path))
    state.changes()
    yield state, module
    del sys.modules["test_of_state"]


CHANGES = {
    "nothing": (lambda module: None, []),
    "a test": (lambda module: setattr(module, "test_one", len), []),
    "a helper": (lambda module: setattr(module, "helper", len), ["helper"]),
    "a new name": (lambda module: setattr(module, "region", "north"), ["region"]),
    "a name less": (lambda module: delattr(module, "helper"), ["helper"]),
    "one for another": (lambda module: [delattr(module, "helper"), setattr(module, "help", 1)], ["helper", "help"]),
    "an item": (lambda module: module.prices.update(bread=3), ["prices"]),
    "a method": (lambda module: setattr(module.TestShop, "pay", None), ["TestShop.pay"]),
    "an attribute": (lambda module: setattr(module.TestShop, "open", False), ["TestShop.open"]),
    "a new attribute": (lambda module: setattr(module.TestShop, "till", 1), ["TestShop.till"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_told_once_and_tests_are_no_variables(what, suite):
    state, module = suite
    change, names = CHANGES[what]

    change(module)

    assert sorted(found["name"] for found in state.changes()) == sorted(names)
    assert state.changes() == []


def test_tests_cost_nothing_to_compare(suite):
    state, module = suite
    before = state.values
    for number in range(500):
        setattr(module, f"test_{number}", module.test_one)

    state.changes()

    assert state.values == before
