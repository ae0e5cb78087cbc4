"""The spool against a model, with crashes: whatever is done to it, it holds what was committed, in order, once."""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolFull
from kubernaut.audit.spool import open_spool
from kubernaut.audit.spool_file import EncodedEvent
from kubernaut.audit.spool_record import OVERHEAD

LIMIT = 4000


class SpoolMachine(RuleBasedStateMachine):
    """`waiting` and `quarantine` are the model: lists of bodies in order."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.waiting: list[bytes] = []
        self.quarantine: list[bytes] = []
        self.count = 0
        self.copies = 0

    def run(self, what):
        return self.runner.run(what)

    @initialize()
    def open(self):
        self.stack = AsyncExitStack()
        config = SpoolConfig(directory=self.directory / "spool", max_bytes=LIMIT)
        self.spool = self.run(self.stack.enter_async_context(open_spool(config)))

    def settle(self):
        self.run(self.spool.synced())

    @rule(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=6))
    def append(self, sizes):
        entries = []
        for size in sizes:
            self.count += 1
            entries.append(EncodedEvent(UUID(int=self.count).bytes, b"%d:%s" % (self.count, b"x" * size)))
        held = sum(len(body) + OVERHEAD for body in [*self.waiting, *self.quarantine])
        fits = held + sum(len(entry.body) + OVERHEAD for entry in entries) <= LIMIT
        try:
            self.spool.append(entries)
        except SpoolFull:
            assert not fits
        else:
            assert fits
            self.waiting += [entry.body for entry in entries]
            self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def append_again(self, data):
        body = data.draw(st.sampled_from(self.waiting))
        try:
            self.spool.append([EncodedEvent(UUID(int=int(body.split(b":")[0])).bytes, body)])
        except SpoolFull:
            return
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(most=st.integers(1, 10), max_bytes=st.integers(1, LIMIT))
    def deliver(self, most, max_bytes):
        batch = self.run(self.spool.head(most, max_bytes))
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(event.size for event in batch) <= max_bytes
        assert [event.body for event in batch] == self.waiting[: len(batch)]
        self.spool.ack(batch)
        del self.waiting[: len(batch)]

    @precondition(lambda self: self.waiting)
    @rule()
    def set_aside(self):
        (event,) = self.run(self.spool.head(1, 1))
        self.spool.quarantine(event, "poison")
        self.quarantine.append(self.waiting.pop(0))

    @rule()
    def reopen(self):
        self.run(self.stack.aclose())
        self.open()

    @rule()
    def crash(self):
        """What a killed process leaves: the files as they are between two writes."""
        self.settle()
        self.copies += 1
        left = self.directory / f"left-{self.copies}"
        shutil.copytree(self.directory / "spool", left)
        self.run(self.stack.aclose())
        shutil.rmtree(self.directory / "spool")
        left.rename(self.directory / "spool")
        self.open()

    @invariant()
    def agrees(self):
        if not hasattr(self, "spool"):
            return
        events = self.run(self.spool.head(1000, 10**6))
        assert [event.body for event in events] == self.waiting
        assert self.spool.waiting == len(self.waiting)
        assert self.spool.quarantined == len(self.quarantine)
        assert self.spool.bytes == sum(len(body) + OVERHEAD for body in [*self.waiting, *self.quarantine])

    def teardown(self):
        if hasattr(self, "spool"):
            self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
