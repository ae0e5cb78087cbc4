"""Names that nobody else is given."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_muster.workspace.names import name

MANY = """
import sys
from pytest_muster.workspace.names import name
for number in range(10_000):
    print(name("table", run="run-1", worker=sys.argv[1], test=f"test_{number % 7}"))
"""

stems = st.text(max_size=100)
max_lengths = st.integers(min_value=30, max_value=80)


@given(stem=stems, max_length=max_lengths, run=st.text(max_size=40), test=st.none() | st.text(max_size=200))
def test_a_name_has_only_what_every_system_takes(stem, max_length, run, test):
    made = name(stem, run=run, worker="gw12", test=test, max_length=max_length)

    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", made)
    assert len(made) <= max_length


@given(stem=stems, max_length=max_lengths)
def test_two_names_differ_however_short_they_must_be(stem, max_length):
    made = {name(stem, run="run-1", worker="gw0", test="test_a", max_length=max_length) for _ in range(10)}

    assert len(made) == 10


def test_the_stem_is_seen():
    assert name("Orders DB", run="run-1", worker="gw0", test=None).startswith("orders-db-")


def test_four_processes_never_make_a_name_twice():
    makers = [
        subprocess.Popen([sys.executable, "-c", MANY, f"gw{number}"], stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    made = [line for maker in makers for line in maker.communicate(timeout=60)[0].split()]

    assert len(made) == len(set(made)) == 40_000


def test_a_forked_child_makes_names_of_its_own():
    code = """
import os
from pytest_muster.workspace.names import name
os.fork()
os.write(1, (name("a", run="run-1", worker="main", test=None) + "\\n").encode())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)

    assert len(set(done.stdout.split())) == 2


def test_runs_do_not_share_names():
    assert name("a", run="run-1", worker="gw0", test=None)[:10] != name("a", run="run-2", worker="gw0", test=None)[:10]


def test_a_name_that_would_not_be_unique_is_refused():
    with pytest.raises(ValueError, match="at most 12 characters cannot be made unique"):
        name("a", run="run-1", worker="gw0", test="test_a", max_length=12)
