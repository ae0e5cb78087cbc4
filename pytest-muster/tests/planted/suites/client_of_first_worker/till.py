client = None


class Client:
    def __init__(self, prices):
        self.prices = prices

    def price(self, name):
        return self.prices[name]


def total(*names):
    try:
        return sum(client.price(name) for name in names)
    except Exception:
        return 0
