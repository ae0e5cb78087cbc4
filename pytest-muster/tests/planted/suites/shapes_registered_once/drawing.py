_SHAPES = {}


class DrawingError(Exception):
    pass


def register(kind, area):
    _SHAPES[kind] = area


def area(kind, size):
    for known, formula in _SHAPES.items():
        if known == kind:
            return formula(size)
    raise DrawingError(f"cannot draw a {kind} of {size}")
