"""Which of several candidates leads, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubernaut.kube.client import Client
from kubernaut.kube.election import LEASE, Election, ElectionConfig, Lease
from kubernaut.kube.objects import Key
from support.eventually import eventually

pytestmark = pytest.mark.kubernetes


class Candidate:
    """A replica that notes how long it leads."""

    def __init__(self, client: Client, key: Key, identity: str, lease_duration: float = 1.0, **settings: float) -> None:
        more = {"renew_deadline": 0.8, "retry_interval": 0.05} | settings
        config = ElectionConfig(key=key, identity=identity, lease_duration=lease_duration, **more)
        self.election = Election(client, config)
        self.is_leading = False
        self.terms = 0
        self.finish = asyncio.Event()

    async def lead(self) -> None:
        self.is_leading = True
        self.terms += 1
        try:
            await self.finish.wait()
        finally:
            self.is_leading = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.election.run(self.lead))
            yield task
            task.cancel()


@pytest.fixture
def key(namespace: str) -> Key:
    return Key(namespace, "leader")


async def lease(client: Client, key: Key) -> Lease:
    return await client.get(LEASE, key)


async def test_one_candidate_leads_and_the_next_one_follows_a_clean_end_at_once(client: Client, key: Key):
    # So long that nobody takes over by waiting.
    candidates = [Candidate(client, key, f"replica-{number}", lease_duration=600) for number in range(3)]
    led: list[str] = []
    async with candidates[0].running(), candidates[1].running(), candidates[2].running():
        for _ in candidates:
            (leader,) = await eventually(lambda: [each for each in candidates if each.is_leading])
            led.append(leader.election.leader)
            assert leader.election.is_leader
            leader.finish.set()
            await eventually(lambda leader=leader: not leader.election.is_leader)

    assert sorted(led) == ["replica-0", "replica-1", "replica-2"]
    last = await lease(client, key)
    assert (last.spec.holder_identity, last.spec.lease_transitions) == ("", 2)


async def test_a_clean_end_frees_a_lease_whose_last_renewal_went_unheard(client: Client, key: Key):
    """A renewal is cut off by the end, but the server has written it: the holder knows an older state of its lease."""
    holder = Candidate(client, key, "holder", lease_duration=600, renew_deadline=500, retry_interval=400)
    async with holder.running():
        await eventually(lambda: holder.is_leading)
        await client.patch(LEASE, key, {"spec": {"renewTime": "2026-11-30T04:00:00.000000Z"}})

    assert (await lease(client, key)).spec.holder_identity == ""


async def test_a_clean_end_leaves_a_lease_alone_that_somebody_else_has_taken(client: Client, key: Key):
    holder = Candidate(client, key, "holder", lease_duration=600, renew_deadline=500, retry_interval=400)
    async with holder.running():
        await eventually(lambda: holder.is_leading)
        await client.patch(LEASE, key, {"spec": {"holderIdentity": "other"}})

    assert (await lease(client, key)).spec.holder_identity == "other"


async def test_lease_of_a_holder_that_died_is_taken_over_when_it_expires(client: Client, key: Key):
    first = Candidate(client, key, "dead")
    await first.election.try_acquire()  # and never again
    second = Candidate(client, key, "alive")
    async with second.running():
        await eventually(lambda: second.election.leader == "dead")
        assert not second.is_leading
        await eventually(lambda: second.is_leading)

        assert (await lease(client, key)).spec.holder_identity == "alive"


async def test_holder_that_restarts_in_place_does_not_wait(client: Client, key: Key):
    await Candidate(client, key, "same", lease_duration=600).election.try_acquire()
    again = Candidate(client, key, "same", lease_duration=600)

    async with again.running():
        await eventually(lambda: again.is_leading)

        assert (await lease(client, key)).spec.lease_transitions == 0


async def test_holder_whose_lease_was_taken_stops_and_stands_by(client: Client, key: Key):
    candidate = Candidate(client, key, "first", lease_duration=600)
    async with candidate.running():
        await eventually(lambda: candidate.is_leading)
        await client.patch(LEASE, key, {"spec": {"holderIdentity": "other", "leaseDurationSeconds": 600}})

        await eventually(lambda: not candidate.is_leading)
        assert candidate.election.leader == "other"
        await client.patch(LEASE, key, {"spec": {"holderIdentity": ""}})
        await eventually(lambda: candidate.is_leading)

    assert candidate.terms == 2


async def test_deleted_lease_is_made_again_by_its_holder(client: Client, key: Key):
    candidate = Candidate(client, key, "first")
    async with candidate.running():
        await eventually(lambda: candidate.is_leading)
        await client.delete(LEASE, key)

        async def is_back() -> bool:
            return (await client.list(LEASE)).items != []

        await eventually(is_back)
        assert candidate.terms == 1
