"""The order of events that have to wait for a clock."""


class PostponedEvents:
    """The events of one correlation that were moved behind all others of the spool.

    In the end all are sent in the order in which they were recorded, together with what was recorded while they were
    being moved: an event goes behind the others as long as an older one of its correlation stands behind it.
    """

    def __init__(self) -> None:
        self._recorded: dict[int, int] = {}  # their numbers now, to those under which they were recorded

    def must_move(self, seq: int) -> bool:
        recorded = self._recorded.get(seq, seq)
        return any(number > seq and older < recorded for number, older in self._recorded.items())

    def stands_behind(self, seq: int) -> bool:
        return any(number > seq for number in self._recorded)

    def forget(self, before: int) -> None:
        """Forget what stood before that number and is done."""
        self._recorded = {number: recorded for number, recorded in self._recorded.items() if number >= before}

    def moved(self, old: int, new: int) -> None:
        self._recorded[new] = self._recorded.pop(old, old)
