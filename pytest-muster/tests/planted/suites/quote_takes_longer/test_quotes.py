import pytest
import quotes


@pytest.fixture(scope="session")
def service():
    service = quotes.Service()
    yield service
    service.close()


@pytest.mark.parametrize("count", range(1, 9))
def test_quote(service, count):
    assert quotes.quote(service.port, count) == 3 * count


@pytest.mark.parametrize("count", [200, 300, 400, 500])
def test_bulk_quote(service, count):
    assert quotes.quote(service.port, count) == 3 * count
