class HotelError(Exception):
    pass


REASONS = {
    1: "connection refused by the guest's bank",
    2: "address already in use by another guest",
    3: "timed out waiting for the deposit",
    4: "room 7 already exists in the booking",
    5: "the cache is not started",
}


def book(room):
    if room in REASONS:
        raise HotelError(REASONS[room])
    return room
