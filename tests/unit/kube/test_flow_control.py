import asyncio

from kubernaut.kube.flow_control import TokenBucket


async def passed(bucket: TokenBucket, count: int, seconds: float) -> int:
    """How many of `count` callers have passed after so many seconds."""
    done = 0

    async def caller() -> None:
        nonlocal done
        await bucket.acquire()
        done += 1

    tasks = [asyncio.create_task(caller()) for _ in range(count)]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done


async def test_a_burst_passes_at_once_and_the_others_at_the_rate():
    assert await passed(TokenBucket(rate=1, burst=5), 50, 0.0) == 5
    started = asyncio.get_running_loop().time()
    bucket = TokenBucket(rate=100, burst=5)
    for _ in range(25):
        await bucket.acquire()

    assert asyncio.get_running_loop().time() - started >= 0.19


async def test_whoever_gives_up_takes_nothing_from_the_others():
    bucket = TokenBucket(rate=20, burst=1)
    assert await passed(bucket, 500, 0.0) == 1

    async with asyncio.timeout(2):
        await bucket.acquire()


async def test_without_a_rate_everybody_passes():
    assert await passed(TokenBucket(rate=0, burst=1), 500, 1.0) == 500
