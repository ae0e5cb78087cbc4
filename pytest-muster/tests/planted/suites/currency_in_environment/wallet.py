import os


def travel(country):
    os.environ["WALLET_CURRENCY"] = {"ch": "CHF", "gb": "GBP"}[country]
    return label(10)


def label(amount):
    return f"{amount} {os.environ.get('WALLET_CURRENCY', 'EUR')}"
