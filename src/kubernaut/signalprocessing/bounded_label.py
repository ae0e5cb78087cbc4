"""Values of a metric's label that come from outside, and of which there may be any number."""

from kubernaut.ops.visible_text import visible

OTHER = "other"
NONE = "none"
MAX_CHARS = 63


class BoundedLabel:
    """Lets the first `max_values` different values through; every further one is `other`."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._known: set[str] = set()

    def value(self, text: str) -> str:
        """The label's value for a text, `none` for an empty one."""
        if not text:
            return NONE
        text = visible(text)[:MAX_CHARS]
        if text not in self._known:
            if len(self._known) >= self._max_values:
                return OTHER
            self._known.add(text)
        return text
