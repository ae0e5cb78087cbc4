class Cart:
    def __init__(self, *weights):
        self.weights = weights

    def weight(self):
        return sum(self.weights)

    def shipping(self):
        return 5 if self.weight() > 10 else 2
