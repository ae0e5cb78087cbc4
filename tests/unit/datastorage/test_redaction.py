"""Personal data is removed from texts of any length in time that grows with it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.datastorage import redaction
from kubernaut.datastorage.canonical import MAX_BYTES

PLAIN = re.compile(r"([A-Za-z0-9])[A-Za-z0-9._%+-]*@([A-Za-z0-9])[A-Za-z0-9-]*((?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})")
"""An address, from wherever it can be read; slow for a long text without one."""


@given(st.text("ab1.@-%+ ", max_size=40))
def test_addresses_are_found_as_by_the_plain_expression(text: str):
    assert redaction.text(text) == PLAIN.sub(r"\1***@\2***\3", text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["a", "a@", "a.", "1.", "a@a.", "-", ".-", "a@a-", "1.1.1.1", "(1) "])
@pytest.mark.parametrize("before", ["", "a@", "a@a", "1"])
def test_a_long_text_without_an_address_stays(before: str, part: str):
    text = (before + part * MAX_BYTES)[:MAX_BYTES]

    assert redaction.text(text).count("@") == text.count("@")
