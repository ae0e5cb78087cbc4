import pytest
import report


@pytest.mark.parametrize("count", range(1, 13))
def test_rows(count):
    assert report.build([[number] for number in range(count)]) == count
