"""What happens with a leak: it is reported, it fails its test, or nobody looks for it.

`muster_leaks` in the settings of pytest, or `--muster-leaks`:

    report                       every leak is listed at the end of the run (the default)
    fail                         and every leak fails the test that left it
    threads, processes, …        and leaks of these kinds fail the test that left them
    off                          leaks are not looked for
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from pytest_muster.leaks.leak import LeakKind

_MODES = ("off", "report", "fail")
_HELP = (
    "what happens with leaks of tests (threads, processes, sockets, …): `report` lists them at the end of the run, "
    "`fail` also fails the test, kinds of leaks separated by commas fail the test for these, `off` looks for none"
)


@dataclass(frozen=True, kw_only=True)
class LeakPolicy:
    is_on: bool
    fatal: frozenset[LeakKind]
    """Leaks of these kinds fail the test that left them."""


def add_options(parser: pytest.Parser) -> None:
    parser.getgroup("muster").addoption("--muster-leaks", metavar="off|report|fail|KINDS", help=_HELP)
    parser.addini("muster_leaks", f"{_HELP} (default: report)", default="report")


def policy_of(config: pytest.Config) -> LeakPolicy:
    """The policy that the command line or else the settings name. Raises `pytest.UsageError`."""
    return _parsed(config.getoption("--muster-leaks") or config.getini("muster_leaks"))


def _parsed(value: str | Sequence[str]) -> LeakPolicy:
    words = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if len(words) == 1 and words[0] in _MODES:
        (mode,) = words
        return LeakPolicy(is_on=mode != "off", fatal=frozenset(LeakKind) if mode == "fail" else frozenset())
    unknown = [word for word in words if word not in list(LeakKind)]
    if unknown or not words:
        raise pytest.UsageError(
            f"muster_leaks: {unknown[0] if unknown else ''!r} is not allowed; use {', '.join(_MODES)}, "
            f"or kinds of leaks: {', '.join(LeakKind)}"
        )
    return LeakPolicy(is_on=True, fatal=frozenset(map(LeakKind, words)))


def allow_leaks(*kinds: str, why: str) -> pytest.MarkDecorator:
    """Say that a test may leave leaks of these kinds, and why; of all kinds if none is named."""
    return pytest.mark.muster_leaks(*kinds, why=why)


def check_mark(item: pytest.Item, mark: pytest.Mark) -> None:
    """Raises `pytest.UsageError` for a kind that does not exist, or without a reason."""
    unknown = [one for one in mark.args if one not in list(LeakKind)]
    if unknown:
        known = ", ".join(LeakKind)
        raise pytest.UsageError(f"{item.nodeid}: there is no kind of leak {unknown[0]!r}; there are {known}")
    if not str(mark.kwargs.get("why", "")).strip():
        raise pytest.UsageError(f'{item.nodeid}: give the reason for allowed leaks: muster_leaks("threads", why="…")')


def allowed_for(item: pytest.Item) -> set[LeakKind]:
    marks = list(item.iter_markers("muster_leaks"))
    if any(not mark.args for mark in marks):
        return set(LeakKind)
    return {LeakKind(one) for mark in marks for one in mark.args}
