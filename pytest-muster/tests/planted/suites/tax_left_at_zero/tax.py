RATE = 19


def gross(net):
    return net + net * RATE // 100
