import os

RATE = 19


class Cart:
    def count(self):
        return 0


def gross(net):
    return net + net * RATE // 100


def currency():
    return os.environ.get("SHOP_CURRENCY", "EUR")
