import decimal


def length(*parts):
    return sum(map(decimal.Decimal, parts), decimal.Decimal())


def estimate(*parts):
    decimal.getcontext().prec = 2
    return length(*parts)
