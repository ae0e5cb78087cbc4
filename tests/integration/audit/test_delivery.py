"""Delivery against a store that speaks HTTP and misbehaves in every way that a store can."""

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from kubernaut.api.problems import Slug
from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, StoreClosed, open_audit
from support.audit import an_event, number_of, open_fake_datastorage, problem_response
from support.eventually import eventually
from support.logs import capture_logs


def a_config(tmp_path, url, **more):
    return AuditConfig(
        spool=SpoolConfig(directory=tmp_path / "spool"),
        client=ClientConfig(url=url, timeout=5),
        retry=RetryConfig(initial_delay=0.01, max_delay=0.05),
        **{"flush_interval": 0.01, "drain_timeout": 10, **more},
    )


@asynccontextmanager
async def opened(tmp_path, **more):
    async with open_fake_datastorage() as server, open_audit(a_config(tmp_path, server.url, **more), "test") as store:
        yield server, store


def times(count, answer):
    """Give that answer so many times, then store."""
    left = [count]

    def decide(events, body):
        left[0] -= 1
        return answer() if left[0] >= 0 else None

    return decide


async def test_events_arrive_once_in_order_and_in_full_batches(tmp_path):
    async with opened(tmp_path, batch_size=100) as (server, store):
        for number in range(1000):
            store.record([an_event(number)])
        flushed = await store.flush(10)

        assert flushed.is_complete
        assert flushed.delivered == 1000
        assert server.numbers == list(range(1000))
        assert max(server.batches) == 100


@pytest.mark.requirement("LESSON-13")
async def test_an_event_is_delivered_without_a_flush(tmp_path):
    async with opened(tmp_path) as (server, store):
        store.record([an_event(7)])

        await eventually(lambda: server.numbers == [7])


async def test_a_batch_keeps_to_its_bytes(tmp_path):
    async with opened(tmp_path, max_batch_bytes=4096) as (server, store):
        sizes = []
        server.respond = lambda events, body: sizes.append(len(body))
        store.record([an_event(number, data={"number": number, "text": "x" * 1000}) for number in range(20)])

        assert (await store.flush(10)).delivered == 20
        assert max(sizes) <= 4096
        assert server.numbers == list(range(20))


@pytest.mark.parametrize("status", [500, 502, 504, 401, 403, 404, 408, 302])
async def test_a_failure_that_may_pass_is_tried_until_it_passes(tmp_path, status):
    async with opened(tmp_path) as (server, store):
        server.respond = times(3, lambda: Response(status_code=status))
        store.record([an_event(number) for number in range(5)])

        assert (await store.flush(10)).delivered == 5
        assert server.numbers == list(range(5))
        assert store.quarantined == 0


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_store_is_asked_again_after_the_time_it_names(tmp_path, status):
    async with opened(tmp_path) as (server, store):
        asked = []

        def answer(events, body):
            asked.append(asyncio.get_running_loop().time())
            return Response(status_code=status, headers={"retry-after": "1"}) if len(asked) == 1 else None

        server.respond = answer
        store.record([an_event()])

        assert (await store.flush(10)).delivered == 1
        assert asked[1] - asked[0] >= 1  # a promise, not a speed: never earlier


async def test_a_batch_that_is_too_large_is_split(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: problem_response(413, Slug.TOO_LARGE) if len(body) > 3000 else None
        store.record([an_event(number) for number in range(200)])

        assert (await store.flush(20)).delivered == 200
        assert server.numbers == list(range(200))
        assert store.quarantined == 0


async def test_a_store_with_a_smaller_batch_size_gets_smaller_batches(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: problem_response(400, Slug.BATCH_SIZE) if len(events) > 100 else None
        store.record([an_event(number) for number in range(1000)])

        assert (await store.flush(20)).delivered == 1000
        assert server.numbers == list(range(1000))
        assert store.quarantined == 0


async def test_one_event_that_is_too_large_alone_does_not_hold_up_the_rest(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: problem_response(413, Slug.TOO_LARGE) if len(body) > 30_000 else None
        events = [an_event(number) for number in range(50)]
        events[20] = an_event(20, data={"number": 20, "text": "x" * 40_000})
        store.record(events)

        flushed = await store.flush(20)
        assert (flushed.delivered, flushed.quarantined, flushed.waiting) == (49, 1, 0)
        assert server.numbers == [number for number in range(50) if number != 20]


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize("poison", [{0}, {99}, {13, 14, 77}, set(range(100))], ids=["first", "last", "three", "all"])
async def test_poison_is_set_aside_and_the_rest_is_delivered_in_order(tmp_path, status, poison):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: (
            problem_response(status, detail="bad parent")
            if any(number_of(event) in poison for event in events)
            else None
        )
        store.record([an_event(number) for number in range(100)])

        flushed = await store.flush(20)
        assert (flushed.delivered, flushed.quarantined, flushed.waiting) == (100 - len(poison), len(poison), 0)
        assert server.numbers == [number for number in range(100) if number not in poison]
        kept = await store._spool.quarantined_events()
        assert [event.reason.rpartition(" ")[2] for event in kept] == ["parent"] * len(poison)


async def test_an_event_that_the_store_names_is_not_searched_for(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.respond = lambda events, body: next(
            (problem_response(400, index=i) for i, event in enumerate(events) if number_of(event) == 70),
            None,
        )
        store.record([an_event(number) for number in range(100)])

        flushed = await store.flush(20)
        assert (flushed.delivered, flushed.quarantined) == (99, 1)
        assert server.batches == [100, 70, 1, 29]


async def test_a_refusal_that_does_not_come_again_costs_no_event(tmp_path):
    async with opened(tmp_path) as (server, store):
        server.respond = times(1, lambda: problem_response(400))
        store.record([an_event(number) for number in range(64)])

        assert (await store.flush(20)).delivered == 64
        assert store.quarantined == 0


async def test_a_cut_connection_doubles_nothing(tmp_path):
    """The store has the batch and the answer is lost: the same ids are sent again, and the store keeps one."""
    seen = Counter()

    async def cut(reader, writer):
        # Pass on to the real server, but drop every second answer.
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1]
        )
        body = await reader.readexactly(length)
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        upstream.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
        answer = await upstream_reader.read()
        seen["requests"] += 1
        if seen["requests"] % 2 == 0:
            writer.write(answer)
        upstream.close()
        writer.close()

    async with open_fake_datastorage() as server:
        proxy = await asyncio.start_server(cut, "127.0.0.1", 0)
        async with proxy:
            url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
            async with open_audit(a_config(tmp_path, url, batch_size=10), "test") as store:
                store.record([an_event(number) for number in range(50)])
                assert (await store.flush(20)).delivered == 50

        assert server.numbers == list(range(50))
        assert seen["requests"] > 5


async def test_an_outage_loses_doubles_and_reorders_nothing(tmp_path):
    async with open_fake_datastorage() as server:
        port = int(server.url.rsplit(":", 1)[1])
    async with open_audit(a_config(tmp_path, f"http://127.0.0.1:{port}", batch_size=200), "test") as store:
        store.record([an_event(number) for number in range(1000)])
        flushed = await store.flush(0.2)
        assert (flushed.delivered, flushed.waiting) == (0, 1000)

        async with open_fake_datastorage(port) as server:
            assert (await store.flush(20)).is_complete
            assert server.numbers == list(range(1000))


async def test_what_is_left_at_the_end_goes_out_at_the_next_start(tmp_path):
    async with open_audit(a_config(tmp_path, "http://127.0.0.1:9", drain_timeout=0), "test") as store:
        store.record([an_event(number) for number in range(10)])

    async with opened(tmp_path) as (server, store):
        assert store.waiting == 10
        store.record([an_event(10)])
        await store.flush(10)

        assert server.numbers == list(range(11))


@pytest.mark.requirement("LESSON-13")
async def test_the_end_delivers_what_is_left(tmp_path):
    async with open_fake_datastorage() as server:
        async with open_audit(a_config(tmp_path, server.url, flush_interval=60), "test") as store:
            store.record([an_event(number) for number in range(10)])

        assert server.numbers == list(range(10))
        with pytest.raises(StoreClosed):
            store.record([an_event()])


async def test_an_error_of_the_caller_comes_out_as_it_is(tmp_path):
    with pytest.raises(KeyError):
        async with open_audit(a_config(tmp_path, "http://127.0.0.1:9", drain_timeout=0), "test"):
            raise KeyError


async def test_pretty_printed_event_data_travels(tmp_path):
    async with opened(tmp_path) as (server, store):
        store.record([an_event(data={"number": 1, "text": "a\nb"})])
        store.record([an_event(data=b'{\n  "number": 2\n}')])

        assert (await store.flush(10)).delivered == 2
        assert server.numbers == [1, 2]


async def test_logs_and_metrics_keep_their_names(tmp_path):
    registry = CollectorRegistry()
    with capture_logs() as lines:
        async with open_fake_datastorage() as server:
            server.respond = times(1, lambda: problem_response(500, Slug.DATABASE, "disk on fire"))
            async with open_audit(a_config(tmp_path, server.url), "gateway", registry) as store:
                store.record([an_event(1), an_event(2)])
                await store.flush(10)

                def figure(name):
                    return registry.get_sample_value(name, {"service": "gateway"})

                assert figure("audit_events_buffered_total") == 2
                assert figure("audit_events_written_total") == 2
                assert figure("audit_events_dropped_total") == 0
                assert figure("audit_batches_failed_total") == 1
                assert figure("audit_write_duration_seconds_count") == 2
                assert figure("audit_buffer_size") == 0
                assert figure("audit_spool_capacity_bytes") == 2**30

    events = [line["event"] for line in lines]
    assert events[0] == "Audit store initialized"
    assert events[-2:] == ["Closing audit store, flushing remaining events", "Audit store closed"]
    (failed,) = [line for line in lines if line["event"] == "Failed to write audit batch"]
    assert (failed["attempt"], failed["batch_size"]) == (1, 2)
    assert failed["error"] == "Data Storage Service returned status 500: Internal Server Error: disk on fire"


async def test_a_stream_of_mixed_trouble_ends_with_every_event_stored_once_in_order(tmp_path):
    chance = random.Random(5)

    def answer(events, body):
        return chance.choice(
            [None, None, Response(status_code=500), Response(status_code=503), problem_response(413, Slug.TOO_LARGE)]
            if len(events) > 10
            else [None, Response(status_code=502)]
        )

    async with opened(tmp_path, batch_size=50) as (server, store):
        server.respond = answer
        for start in range(0, 600, 20):
            store.record([an_event(number, event_id=uuid4()) for number in range(start, start + 20)])
            await asyncio.sleep(0)
        assert (await store.flush(20)).is_complete

        assert server.numbers == list(range(600))
