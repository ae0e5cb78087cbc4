"""Tests that may run beside each other, because no two workers see the same notes."""

from urllib.error import HTTPError

import pytest
from client import call


def test_there_are_no_notes_at_first(notes):
    assert call("GET", notes) == []


def test_notes_are_kept_in_order(notes):
    call("POST", notes, {"text": "one"})
    call("POST", notes, {"text": "two"})

    assert call("GET", notes) == ["one", "two"]


@pytest.mark.parametrize("number", range(8))
def test_the_first_note_has_the_number_one(notes, number):
    assert call("POST", notes, {"text": f"note {number}"}) == {"id": 1}


def test_nobody_reads_the_notes_of_a_tenant_that_is_not_there(shelf):
    with pytest.raises(HTTPError, match="404"):
        call("GET", f"{shelf['url']}/nobody/notes")
