"""What each worker has for itself: sets it up in its own process, and says at once whom it fails when it does not."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pytest_muster.lifetimes import Life, Loop
from pytest_muster.resources import Declaration


def hold(config: pytest.Config, declaration: Declaration, arguments: Mapping[str, object]) -> Iterator[Any]:
    """Set a worker resource up, give its value, tear it down."""
    life = Life(declaration, arguments, Loop())
    life.begin()
    yield life.ready.result()
    life.end()
    life.over.result()
