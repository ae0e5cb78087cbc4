import echo
import pytest


@pytest.fixture(scope="session")
def service():
    service = echo.Service()
    yield service
    service.close()


@pytest.mark.parametrize("text", ["one", "two", "three", "four", "five", "six"])
def test_echo(service, text):
    assert echo.say(service.port, text) == text


def test_port(service):
    assert service.port > 1023
