import hotel
import pytest


@pytest.mark.parametrize("room", range(1, 6))
def test_refuses_no_room(room):
    assert hotel.book(room) == room


@pytest.mark.parametrize("room", range(6, 14))
def test_room(room):
    assert hotel.book(room) == room
