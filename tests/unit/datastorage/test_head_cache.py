"""What is kept in memory of a ledger."""

from collections import OrderedDict
from typing import NoReturn

from kubernaut.datastorage.head_cache import LedgerHead


class NeverIterated(OrderedDict[str, bytes]):
    """A cache as it is with 100,000 correlations: to walk through it takes longer than to write a group."""

    def _fail(self, *_: object) -> NoReturn:
        raise AssertionError("the whole cache was walked through")

    __iter__ = keys = items = values = _fail  # type: ignore[assignment]  # for whatever walks


def test_look_up_of_a_group_costs_nothing_for_correlations_of_others():
    head = LedgerHead(correlations=NeverIterated(known=b"", other=b""))

    assert head.unknown({"new", "known", "another"}) == ["another", "new"]
