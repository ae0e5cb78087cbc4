"""Readiness: what fails, and what only degrades."""

from kubernaut.ops.health import Check, Health


def answering(reason: str | None) -> Check:
    async def check() -> str | None:
        return reason

    return check


async def test_degraded_service_is_ready():
    health = Health({"database": answering(None)}, degraded={"queue": answering("unreachable"), "b": answering(None)})

    assert await health.not_ready() == {}
    assert await health.degraded() == {"queue": "unreachable"}


async def test_service_with_a_failing_check_is_not_ready():
    health = Health({"database": answering("database_unreachable")}, degraded={"queue": answering("unreachable")})

    assert await health.not_ready() == {"database": "database_unreachable"}
