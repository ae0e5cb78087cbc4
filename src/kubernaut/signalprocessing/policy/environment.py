"""When a policy has decided the environment, and when it leaves it open.

The controller and the policy process ask the same question, so the answer is here once.
"""

_KNOWN = frozenset({"production", "staging", "development", "test"})


def is_decided(environment: str, source: str) -> bool:
    """Whether the policy decided: a known environment, or `unknown` with a source other than `default`."""
    name = environment.lower()
    return name in _KNOWN or (name == "unknown" and source not in {"", "default"})
