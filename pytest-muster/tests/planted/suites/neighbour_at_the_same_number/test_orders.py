import office
import pytest


@pytest.fixture(scope="session")
def port():
    orders = office.serve("127.0.0.1", "orders")
    port = orders.server_address[1]
    bills = office.serve("::1", "bills", port)
    yield port
    for server in (orders, bills):
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("turn", range(5))
def test_orders(port, turn):
    assert office.ask(["::1", "127.0.0.1"], port) == "orders"


def test_bills(port):
    assert office.ask(["::1"], port) == "bills"
