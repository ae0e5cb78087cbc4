"""What can be wrong with a policy."""


class PolicyError(Exception):
    """A policy was rejected or could not be evaluated; says where in which file, as far as the engine tells."""

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0, rule: str = "") -> None:
        place = f"{file}:{line}:{column}: " if line else f"{file}: " if file else ""
        super().__init__(place + message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.rule = rule
        """The rule that was being evaluated, where that is known."""


class PolicyMissing(PolicyError):
    """There is no policy where one should be."""


class PolicyTimeout(PolicyError):
    """The evaluation exceeded its time limit; its process was killed."""


class OpaUnavailable(PolicyError):
    """OPA did not answer, or answered something else than OPA does."""


class PolicyUnavailable(PolicyError):
    """The policy process ended or is overloaded, and could not evaluate."""
