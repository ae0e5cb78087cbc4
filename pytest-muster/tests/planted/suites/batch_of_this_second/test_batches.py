import batches
import pytest


@pytest.mark.parametrize("count", range(1, 17))
def test_batch(database, count):
    assert batches.run(database, range(count)) == count
